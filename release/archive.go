package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/artifact"
)

// entry is a file in an archive: that at a path, or a text.
type entry struct {
	name       string
	file, text string
	executable bool
}

func (e entry) open() (io.ReadCloser, int64, error) {
	if e.file == "" {
		return io.NopCloser(strings.NewReader(e.text)), int64(len(e.text)), nil
	}
	f, err := os.Open(e.file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (e entry) mode() fs.FileMode {
	if e.executable {
		return 0o755
	}
	return 0o644
}

// writeArchive writes a .tar.gz or .zip of entries in the order of their names, all of one time, and nobody's: the same bytes of
// the same entries.
func writeArchive(path string, entries []entry, at time.Time) error {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		if strings.HasSuffix(path, ".zip") {
			return writeZip(w, entries, at)
		}
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		return errors.Join(writeTar(z, entries, at), z.Close())
	})
}

func writeTar(w io.Writer, entries []entry, at time.Time) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		err := e.copy(func(size int64) (io.Writer, error) {
			return t, t.WriteHeader(&tar.Header{Name: e.name, Size: size, Mode: int64(e.mode()), ModTime: at, Format: tar.FormatPAX})
		})
		if err != nil {
			return err
		}
	}
	return t.Close()
}

func writeZip(w io.Writer, entries []entry, at time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		err := e.copy(func(int64) (io.Writer, error) {
			h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
			h.SetMode(e.mode())
			return z.CreateHeader(h)
		})
		if err != nil {
			return err
		}
	}
	return z.Close()
}

// copy writes the entry's bytes to what begin returns for their number.
func (e entry) copy(begin func(size int64) (io.Writer, error)) error {
	r, size, err := e.open()
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := begin(size)
	if err == nil {
		_, err = io.Copy(w, r)
	}
	return err
}
