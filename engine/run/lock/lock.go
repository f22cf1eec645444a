// Package lock keeps two programs from writing to one folder at the same time.
package lock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrHeld means that another program, or another part of this one, holds the lock.
var ErrHeld = errors.New("in use")

// errBusy is what the system says of a lock that is held.
var errBusy = errors.New("busy")

// Lock is a lock that is held. The system frees it when the process ends, in whatever way.
type Lock struct {
	path string
	file *os.File
}

// Take takes the lock of the file at path, which is made if need be and holds the holder's process number. It does not
// wait: where another holds the lock, it returns ErrHeld with the holder's number at once.
func Take(path string) (*Lock, error) {
	for {
		f, err := open(path)
		if errors.Is(err, errBusy) {
			return nil, held(path)
		}
		if err != nil {
			return nil, err
		}
		// Its holder removes a lock when it is done: what was opened may be gone, and another one in its place.
		is, err1 := f.Stat()
		at, err2 := os.Stat(path)
		if err1 != nil || err2 != nil || !os.SameFile(is, at) {
			f.Close()
			continue
		}
		l := &Lock{path, f}
		if err := f.Truncate(0); err != nil {
			l.Release()
			return nil, err
		}
		if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
			l.Release()
			return nil, err
		}
		return l, nil
	}
}

// Release gives the lock back and removes its file. A nil lock is none.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return release(l)
}

// held says who holds the lock at path.
func held(path string) error {
	pid := ""
	for range 20 { // the holder may be about to write its number
		if pid = holder(path); pid != "" {
			return fmt.Errorf("%w by process %s (%s)", ErrHeld, pid, path)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("%w by another process (%s)", ErrHeld, path)
}

// holder reads the process number in the file at path, "" if there is none.
func holder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return ""
	}
	pid := strings.TrimSpace(string(data))
	if _, err := strconv.ParseUint(pid, 10, 64); err != nil {
		return ""
	}
	return pid
}
