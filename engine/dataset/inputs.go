package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// maxLine is the longest path accepted in a list, in bytes.
const maxLine = 1 << 16

// errStop ends a walk whose consumer wants no more.
var errStop = errors.New("stop")

// Inputs yields the images that the arguments name, as they are found: a file; a folder, searched as Folder does; a glob
// pattern, for shells that do not expand them; or "-", a list of files on stdin, one per line, read as images are taken. A
// byte order mark before it is no part of it. A file whose name ends in .tar, .tar.gz, .tgz or .zip is an archive: its members
// that have an image's name follow in its order, each with a Source and the Path ARCHIVE/MEMBER. They are not unpacked, hidden
// ones are skipped, and what is no file, or has a name that leads out of the archive, is an error. So is, once all members before
// it have been yielded, what is wrong with the archive itself; that has the archive's Path. Members that are compressed are, or may be, in memory
// until Item.Release: at most MaxBytes of them (or one) at once. One whose name ends in .parquet is an archive of rows. A URL is an object, the objects
// that match its pattern, or the images below it, if there are Buckets; an archive may be one, too. What cannot be found or listed is yielded as an error "path: reason" with an
// Item that has its Path only, and the rest goes on; the error is ErrNamed if that is one of the arguments or of the list. A
// line of more than 64 KiB goes by its number.
//
// An ID is the path as it was named, without volume, leading slash and leading ".."; if the one argument is a folder, the
// path within it. It is valid UTF-8: a byte that is not stands there as "~" and two hexadecimal digits. Where two IDs would
// give results of one name, the later gets "~2" before its extension, also if there is no image at the first one; of members of archives whose paths would be the same, the archive does. The sequence can be run once if it reads stdin.
func (s Search) Inputs(args []string, stdin io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		in := &inputs{yield: yield, seen: ids{}, folders: archiveFolders{}}
		in.walker = s.walker(in.found)
		if len(args) == 1 {
			in.root = args[0]
			if p, err := placeOf(in.root); err == nil && IsURL(in.root) {
				in.root = p.name()
			}
		}
		for _, arg := range args {
			var err error
			if arg == "-" {
				err = in.list(stdin)
			} else {
				err = in.argument(arg)
			}
			if err != nil { // errStop: all others have been yielded
				return
			}
		}
	}
}

// Inputs is Search.Inputs that leaves out nothing but earlier results.
func Inputs(args []string, stdin io.Reader, ignored func(path string)) iter.Seq2[Item, error] {
	return Search{Ignored: ignored}.Inputs(args, stdin)
}

type inputs struct {
	*walker
	yield   func(Item, error) bool
	seen    ids
	folders archiveFolders
	passing held   // members in memory
	root    string // the one argument, "" if there are several
}

// found yields the image in a folder, or why there is none.
func (in *inputs) found(path string, err error) error {
	if err == nil && in.Ready != nil {
		if info, err := os.Stat(path); err == nil && !in.Ready(path, info) {
			return in.later(path)
		}
	}
	return in.emit(path, err)
}

// later yields what is not ready.
func (in *inputs) later(path string) error {
	return in.missing(path, fmt.Errorf("%s: %w", path, ErrNotReady))
}

// missing yields why there is no image at path where there may be one another time: what others are called does not depend on that.
func (in *inputs) missing(path string, err error) error {
	in.seen.unique(in.folders.beside(valid(in.id(path))))
	return in.emit(path, err)
}

// emit yields the image at path, or why there is none.
func (in *inputs) emit(path string, err error) error { return in.emitItem(Item{Path: path}, err) }

// emitItem yields an item that has no ID yet.
func (in *inputs) emitItem(item Item, err error) error {
	if err == nil && item.ID == "" {
		item.ID = in.seen.unique(in.folders.beside(valid(in.id(item.Path))))
	}
	if !in.yield(item, err) {
		return errStop
	}
	return nil
}

// id is where path lies within the root or, if there is none or path is the root, what path says.
func (in *inputs) id(path string) string {
	if IsURL(path) {
		if below, ok := strings.CutPrefix(path, in.root+"/"); ok && in.root != "" {
			path = below
		} else {
			_, path, _ = strings.Cut(path, "://")
		}
		path = "/" + path
	} else if in.root != "" {
		if rel, err := filepath.Rel(in.root, path); err == nil && rel != "." && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	path = filepath.Clean(path)
	path = filepath.ToSlash(path[len(filepath.VolumeName(path)):])
	for {
		cut := strings.TrimPrefix(strings.TrimPrefix(path, "/"), "../")
		if cut == path {
			return path
		}
		path = cut
	}
}

func (in *inputs) argument(arg string) error {
	if IsURL(arg) {
		return in.url(arg, true)
	}
	if _, err := os.Stat(arg); err == nil || !strings.ContainsAny(arg, "*?[") {
		return in.file(arg, true)
	}
	matches, err := filepath.Glob(arg)
	if err == nil && len(matches) == 0 && !in.Empty {
		err = errors.New("matches nothing")
	}
	if err != nil {
		return in.emit(arg, named{fmt.Errorf("%s: %w", arg, err)})
	}
	for _, m := range matches {
		if err := in.file(m, true); err != nil {
			return err
		}
	}
	return nil
}

// file emits a file or, where folders are welcome, a folder's images.
func (in *inputs) file(path string, folders bool) error {
	if IsURL(path) {
		return in.url(path, folders)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return in.missing(path, named{plain(path, err)})
	case info.IsDir() && !folders:
		return in.emit(path, named{fmt.Errorf("%s: is a folder", path)})
	case info.IsDir():
		return in.walk(path)
	case in.forbidden(path):
		return in.emit(path, named{fmt.Errorf("%s: is where results go", path)})
	case in.Ready != nil && !in.Ready(path, info):
		return in.later(path)
	case kindOf(path) != nil && !in.Whole:
		return in.archive(path, nil)
	}
	return in.emit(path, nil)
}

func (in *inputs) list(stdin io.Reader) error {
	lines := bufio.NewReaderSize(stdin, maxLine+len("\r\n"))
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		for err == bufio.ErrBufferFull {
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return in.emit("-", fmt.Errorf("list on standard input: %w", err))
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		var stop error
		switch {
		case long || len(line) > maxLine:
			name := fmt.Sprintf("line %d on standard input", n)
			stop = in.emit(name, fmt.Errorf("%s: more than %d bytes", name, maxLine))
		case len(line) > 0:
			stop = in.file(string(line), false)
		}
		if stop != nil || err == io.EOF {
			return stop
		}
	}
}
