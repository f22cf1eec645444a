package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// WritableFolder makes a folder and checks that a file can be made in it. Errors read "path: reason".
func WritableFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Worded(err)
	}
	f, err := CreateTemp(dir)
	if err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			err = pe.Err
		}
		return fmt.Errorf("%s: nothing can be written here: %w", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Worded words an error of the operating system as "path: reason". Others stay as they are.
func Worded(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	case *os.LinkError:
		return fmt.Errorf("%s: %w", e.New, e.Err)
	}
	return err
}
