package artifact

import (
	"io"
	"os"
	"path/filepath"

	"f2pad.example/engine/internal/openfile"
)

// Place makes the file from appear at to, too, whole or not at all, in a folder that is made if need be: as a hard link, or as a copy where
// that cannot be made or another file is in its place. It reports whether the two are one file.
func Place(from, to string) (linked bool, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return false, Worded(err)
	}
	is, err1 := os.Stat(from)
	at, err2 := os.Stat(to)
	if err1 == nil && err2 == nil && os.SameFile(is, at) {
		return true, nil
	}
	if info, err := os.Lstat(from); err == nil && info.Mode().IsRegular() && os.Link(from, to) == nil {
		return true, nil
	}
	f, _, err := openfile.Regular(from)
	if err != nil {
		return false, Worded(err)
	}
	defer f.Close()
	return false, Worded(WriteFileAtomic(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	}))
}
