package artifact

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// ErrNotFile means that a folder, a device or another thing that is no file is where one was to be written.
var ErrNotFile = errors.New("not a regular file")

// IsTemp reports whether a file of that name is one of CreateTemp's, left over when its process was killed.
func IsTemp(name string) bool {
	hex, ok := strings.CutPrefix(name, ".f2pad-")
	hex, tmp := strings.CutSuffix(hex, ".tmp")
	return ok && tmp && len(hex) == 16 && strings.Trim(hex, "0123456789abcdef") == ""
}

// CreateTemp makes a new hidden file in dir for the time being. os.CreateTemp would leave it unreadable to others; this mode
// respects the umask. Its name comes from the operating system: two processes may write in the same folder.
func CreateTemp(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, fmt.Sprintf(".f2pad-%016x.tmp", rand.Uint64())), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// WriteFileAtomic makes or replaces the file at path with what write writes: all of it or, on any error, nothing. The
// bytes go to a hidden temporary file in the same folder, which is synced and renamed into place. A symbolic link is
// followed; what is not a regular file (a folder, a device) is refused.
func WriteFileAtomic(path string, write func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", path, reason(err))
		}
	}()
	target := path
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%w (%s)", ErrNotFile, info.Mode().Type())
		}
		if target, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	f, err := CreateTemp(filepath.Dir(target))
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() { // also when write panics; after the rename there is nothing left to remove
		f.Close()
		os.Remove(temp)
	}()
	buf := bufio.NewWriterSize(f, 1<<18)
	if err := write(buf); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(temp, target)
}

// reason is what the operating system says without the names of files, which the caller says.
func reason(err error) error {
	switch err := err.(type) {
	case *fs.PathError:
		return err.Err
	case *os.LinkError:
		return err.Err
	}
	return err
}
