//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package lock

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// open makes the file, where the system has no locks that end with their process: what a dead process left is removed.
func open(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		pid, err := strconv.Atoi(holder(path))
		if err != nil || alive(pid) {
			return nil, errBusy
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

func release(l *Lock) error { return errors.Join(os.Remove(l.path), l.file.Close()) }
