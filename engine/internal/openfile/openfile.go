// Package openfile opens the files that are inputs.
package openfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// ErrNotRegular means that a path names a folder, a pipe, a socket or a device.
var ErrNotRegular = errors.New("not a regular file")

// Regular opens the regular file at path for reading, and says how it was found. Anything else is ErrNotRegular, at once:
// opening a pipe would wait for its writer, and opening a device may set it in motion. Links are followed. Errors are
// *fs.PathError.
func Regular(path string) (*os.File, fs.FileInfo, error) {
	return regular(path, os.Stat, open)
}

func open(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|nonblock, 0) }

// In is Regular for a file in a folder that no link leads out of.
func In(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	return regular(name, root.Stat, func(name string) (*os.File, error) { return root.OpenFile(name, os.O_RDONLY|nonblock, 0) })
}

func regular(path string, stat func(string) (fs.FileInfo, error), open func(string) (*os.File, error)) (*os.File, fs.FileInfo, error) {
	info, err := stat(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			pe.Op = "open" // what the caller asked for
		}
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	f, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	// Another file may have taken its place in between.
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// ReadAll is os.ReadFile for a regular file of at most so many bytes.
func ReadAll(path string, most int64) ([]byte, error) {
	f, info, err := Regular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Content(f, info, most)
}

// ErrTooLarge means that a file has more bytes than are read.
var ErrTooLarge = errors.New("file too large")

// Content reads the whole of an open file that has at most so many bytes.
func Content(f *os.File, info fs.FileInfo, most int64) ([]byte, error) {
	if info.Size() > most {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: ErrTooLarge}
	}
	data := make([]byte, info.Size())
	_, err := io.ReadFull(f, data)
	return data, err
}

// Check says whether Regular would open the file at path.
func Check(path string) error {
	f, _, err := Regular(path)
	if err != nil {
		return err
	}
	return f.Close()
}
