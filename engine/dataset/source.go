package dataset

import (
	"bytes"
	"io/fs"
	"os"
	"time"

	"f2pad.example/engine/internal/openfile"
)

// Source is where the bytes of an image are that is no file of its own: a member of an archive, an object of a store, or memory. It is a pointer,
// or otherwise comparable, and safe for concurrent use. The Path of its Item is a name: that of an archive's member begins with
// the archive's path (photos.tar/a.png), so that a run that is continued can tell a member that is gone from one that is only
// left out.
type Source interface {
	// Open opens the bytes for one reader. Size and time of their Stat are what tells a changed image from one that is as it
	// was, without reading it. What is an io.ReaderAt, too, is decoded from where it is; anything else is read into memory first.
	Open() (fs.File, error)
}

// Open opens the image's bytes, and says how they were found: those of its Source, or of the regular file at its Path.
func (it Item) Open() (fs.File, fs.FileInfo, error) {
	if it.Source == nil {
		f, info, err := openfile.Regular(it.Path)
		if err != nil {
			return nil, nil, err // a nil file would be no nil interface
		}
		return f, info, nil
	}
	f, err := it.Source.Open()
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// Release says that the image is not opened any more, so that a Source may free what it holds (with a method Release). Who takes items
// of Search.Inputs calls it for each, in whatever way it is done with; engine.Engine.Score does.
func (it Item) Release() {
	if r, ok := it.Source.(interface{ Release() }); ok {
		r.Release()
	}
}

// Archive is the path of the archive that the image is a member of, or the URL of the prefix below which an object was found; "" if it is
// neither.
func (it Item) Archive() string {
	if in, ok := it.Source.(interface{ Archive() string }); ok {
		return in.Archive()
	}
	return ""
}

// Stat says how the image's bytes are found at the moment. What Open would refuse need not be an error.
func (it Item) Stat() (fs.FileInfo, error) {
	if it.Source == nil {
		return os.Stat(it.Path)
	}
	if s, ok := it.Source.(interface{ Stat() (fs.FileInfo, error) }); ok {
		return s.Stat()
	}
	f, info, err := it.Open()
	if err != nil {
		return nil, err
	}
	return info, f.Close()
}

// Bytes is an image's content in memory, which must not change. modified may be zero.
func Bytes(data []byte, modified time.Time) Source { return &memory{data, modified} }

// memory is its own fs.FileInfo.
type memory struct {
	data     []byte
	modified time.Time
}

func (m *memory) Open() (fs.File, error) { return &memoryFile{bytes.NewReader(m.data), m}, nil }

func (m *memory) Name() string       { return "" }
func (m *memory) Size() int64        { return int64(len(m.data)) }
func (m *memory) Mode() fs.FileMode  { return 0o444 }
func (m *memory) ModTime() time.Time { return m.modified }
func (m *memory) IsDir() bool        { return false }
func (m *memory) Sys() any           { return nil }

type memoryFile struct {
	*bytes.Reader
	of *memory
}

func (f *memoryFile) Stat() (fs.FileInfo, error) { return f.of, nil }
func (f *memoryFile) Close() error               { return nil }
