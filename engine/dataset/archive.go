package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/fnv"
	"f2pad.example/engine/internal/openfile"
)

// archiveKinds are the kinds of archives: how their names end, and what lists them.
func archiveKinds() []archiveKind {
	return []archiveKind{
		{".tar", (*archive).tar},
		{".tar.gz", (*archive).gzipped},
		{".tgz", (*archive).gzipped},
		{".zip", (*archive).zip},
		{".parquet", (*archive).parquet},
	}
}

type archiveKind struct {
	ending string
	list   func(*archive, input) error
}

// kindOf is the kind of archive that a file's name says it is, nil if it says nothing of the kind.
func kindOf(name string) *archiveKind {
	name = strings.ToLower(path.Base(filepath.ToSlash(name)))
	for _, kind := range archiveKinds() {
		if strings.HasSuffix(name, kind.ending) {
			return &kind
		}
	}
	return nil
}

// notArchive refuses an archive where a folder is to be named.
func notArchive(root string) error {
	if kindOf(root) == nil || isDir(root) {
		return nil
	}
	if _, err := os.Stat(root); err != nil {
		return nil // whoever lists it says so
	}
	return fmt.Errorf("%s: is an archive, which only score reads: unpack it, and name the folder", root)
}

// What is wrong with an archive, or with a member.
var (
	errTruncated = errors.New("truncated archive")
	errChanged   = errors.New("the archive changed while it was read")
	errReleased  = errors.New("the member has passed")
)

// input is a file or an object that is open. What is read of a file one piece after the other may also be sought (io.Seeker).
type input interface {
	fs.File
	io.ReaderAt
}

// container is an archive as it was when it was listed.
type container struct {
	path     string
	object   *object // that it is; nil: it is a file
	size     int64
	modified time.Time
}

// openInput opens the file at path, or the object until done.
func openInput(path string, o *object, done <-chan struct{}) (input, fs.FileInfo, error) {
	if o != nil {
		return o.input(done)
	}
	f, info, err := openfile.Regular(path)
	if err != nil {
		return nil, nil, err // a nil file would be no nil interface
	}
	return f, info, nil
}

// open opens the archive again, if it is still the same.
func (c *container) open() (input, error) {
	f, info, err := openInput(c.path, c.object, nil)
	if err != nil {
		return nil, err
	}
	if info.Size() != c.size || !info.ModTime().Equal(c.modified) {
		f.Close()
		return nil, errChanged
	}
	return f, nil
}

// Archive is the path of the archive that the member lies in.
func (c *container) Archive() string { return c.path }

// memberInfo is how a member is found: its own size, and the time of its archive, since nothing in it changes without that.
type memberInfo struct {
	size     int64
	modified time.Time
}

func (i memberInfo) Name() string       { return "" }
func (i memberInfo) Size() int64        { return i.size }
func (i memberInfo) Mode() fs.FileMode  { return 0o444 }
func (i memberInfo) ModTime() time.Time { return i.modified }
func (i memberInfo) IsDir() bool        { return false }
func (i memberInfo) Sys() any           { return nil }

// section is a member that lies in its archive as it is.
type section struct {
	*container
	at, size int64
}

func (s *section) Open() (fs.File, error) {
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	return &sectionFile{io.NewSectionReader(f, s.at, s.size), f, memberInfo{s.size, s.modified}}, nil
}

type sectionFile struct {
	*io.SectionReader
	archive input
	info    memberInfo
}

func (f *sectionFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *sectionFile) Close() error               { return f.archive.Close() }

// archive is an archive that is being listed.
type archive struct {
	*container
	in    *inputs
	most  int64           // bytes of a member
	names map[uint64]bool // hashes of the members' names
	seen  ids             // of the members in folder
	// folder is where their IDs are, that of no other input; "" if the archive is the only one.
	folder string
	found  bool
}

// archive emits the members of an archive, a file or an object, that have an image's name, and then what is wrong with it, if anything is.
func (in *inputs) archive(name string, o *object) error {
	f, info, err := openInput(name, o, in.Done)
	if err != nil {
		return in.emit(name, named{plain(name, err)})
	}
	defer f.Close()
	a := &archive{container: &container{name, o, info.Size(), info.ModTime()}, in: in, most: in.mostBytes(), names: map[uint64]bool{}}
	if in.root != name {
		a.seen, a.folder = ids{}, in.folders.claim(valid(in.id(name)))
	}
	err = kindOf(name).list(a, f)
	switch {
	case errors.Is(err, errStop):
		return errStop
	case err != nil:
		return in.emit(name, plain(name, err))
	case !a.found:
		return in.emit(name, named{fmt.Errorf("%s: no images in this archive", name)})
	}
	return nil
}

// mostBytes is how large a member may be.
func (in *inputs) mostBytes() int64 {
	if in.MaxBytes == 0 {
		return imageio.DefaultMaxBytes
	}
	return in.MaxBytes
}

// unlisted reports whether the archive is not to be read through, which would take as long as scoring it.
func (a *archive) unlisted() bool {
	if a.in.Unlisted == nil {
		return false
	}
	a.in.Unlisted(a.path)
	a.found = true
	return true
}

// wants reports whether a member is an image to be emitted under the name that it returns. One that has an image's name, but
// is not to be opened, is emitted with the reason; others are passed over. what is what it is if it is no file.
func (a *archive) wants(name, what string, size int64) (clean string, ok bool, err error) {
	for _, part := range parts(name) {
		if strings.HasPrefix(part, ".") && part != "." && part != ".." {
			return "", false, nil
		}
	}
	if !imageio.Supported(name) {
		if a.in.Ignored != nil {
			a.in.Ignored(a.path + "/" + name)
		}
		return "", false, nil
	}
	a.found = true
	clean = path.Clean(name)
	hash := fnv.Of(clean)
	switch {
	case !safe(name):
		return "", false, a.fails(name, errors.New("a name that leads out of the archive"))
	case what != "":
		return "", false, a.fails(clean, fmt.Errorf("%s in an archive, which is not followed", what))
	case a.names[hash]:
		return "", false, a.fails(clean, errors.New("another member of the archive has that name"))
	}
	a.names[hash] = true
	if size > a.most {
		return "", false, a.fails(clean, fmt.Errorf("%w: %d bytes, at most %d are allowed", imageio.ErrTooLarge, size, a.most))
	}
	return clean, true, nil
}

// parts are the parts of a path, by the rules of every system.
func parts(name string) []string { return strings.Split(strings.ReplaceAll(name, `\`, "/"), "/") }

// safe reports whether a member's name stays within its archive, by the rules of every system.
func safe(name string) bool {
	p := parts(name)
	if p[0] == "" || slices.Contains(p, "..") || strings.ContainsRune(name, 0) || len(name) > 1 && name[1] == ':' {
		return false
	}
	return filepath.IsLocal(filepath.FromSlash(name))
}

// fails emits a member that is not opened.
func (a *archive) fails(name string, why error) error {
	full := a.path + "/" + name
	return a.in.emit(full, fmt.Errorf("%s: %w", full, why))
}

// emit emits a member that can be opened.
func (a *archive) emit(name string, s Source) error {
	it := Item{Path: a.path + "/" + name, Source: s}
	if a.folder != "" {
		it.ID = a.folder + "/" + a.seen.unique(valid(filepath.ToSlash(name)))
	}
	return a.in.emitItem(it, nil)
}

// pass emits a member that is not read twice: its bytes, which read returns, are in memory until it is released.
func (a *archive) pass(name string, size int64, read func() ([]byte, error)) error {
	if !a.in.passing.take(size, a.most, a.in.Done) {
		return errStop
	}
	data, err := read()
	if err != nil {
		a.in.passing.give(size)
		return err
	}
	return a.emit(name, &passing{container: a.container, size: size, data: data, of: &a.in.passing})
}

// fault words what is wrong with an archive.
func fault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return fmt.Errorf("corrupt archive: %w", err)
}
