package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"f2pad.example/engine/imageio"
)

// The columns that are taken where others would do, too, in this order.
var (
	imageColumns = []string{"image", "img", "image_bytes", "bytes", "content"}
	pathColumns  = []string{"file_name", "image_path", "path", "image", "img", "filename", "file"}
)

const (
	mostLooked = 16 // values that tell what a column holds
	pageBuffer = 1 << 16
	mostPath   = 1 << 12 // bytes of a path in a row
)

// Column is what was taken for the images of a Parquet file.
type Column struct {
	Path  string // of the file
	Name  string // of the column, with those that it lies in: a.b
	Bytes bool   // it holds the images; otherwise their paths
}

// pictures says where the images of a table are.
type pictures struct {
	name  string
	bytes *leaf // nil: they are files
	path  *leaf // what they are called, nil if nothing says that; or the files
}

// parquet emits the rows of a Parquet file: images, or the paths of images.
func (a *archive) parquet(f input) error {
	t, err := openTable(f, a.size)
	if err != nil {
		return err
	}
	im, err := a.pictures(t)
	if err != nil {
		return err
	}
	if a.in.Took != nil {
		a.in.Took(Column{a.path, im.name, im.bytes != nil})
	}
	n, ok := t.rows()
	a.found = n > 0 || !ok
	listing := a.in.Unlisted != nil
	if listing && !ok {
		a.unlisted()
		return nil
	}
	var data, names *values
	if im.bytes != nil && !listing {
		data = a.values(t, im.bytes)
	}
	if im.path != nil {
		names = a.values(t, im.path)
	}
	for row := int64(0); !listing || row < n; row++ {
		var value, name []byte
		if names != nil {
			name, err = names.next()
		}
		if err == nil && data != nil {
			value, err = data.next()
		}
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = a.row(row, im, string(name[:min(len(name), mostPath+1)]), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) values(t *table, l *leaf) *values {
	return &values{table: t, leaf: *l, most: a.most, buffer: pageBuffer}
}

// row emits an image.
func (a *archive) row(row int64, im pictures, name string, value []byte) error {
	full := rowName(row, name)
	switch {
	case im.bytes == nil:
		return a.file(row, name)
	case a.in.Unlisted != nil:
		return a.emit(full, &unread{a.container})
	case value == nil && im.path != nil && name != "": // as Hugging Face's data sets have images that are elsewhere
		return a.file(row, name)
	case value == nil:
		return a.fails(full, errors.New("no image in this row"))
	case int64(len(value)) > a.most:
		return a.fails(full, fmt.Errorf("%w: %d bytes, at most %d are allowed", imageio.ErrTooLarge, len(value), a.most))
	}
	return a.pass(full, int64(len(value)), func() ([]byte, error) { return bytes.Clone(value), nil })
}

// rowName is what the image in a row is called: by the row's number, from 0 on, which is put behind the path that it may have.
func rowName(row int64, name string) string {
	number := strconv.FormatInt(row, 10)
	if len(name) > mostPath || !utf8.ValidString(name) || strings.Contains(name, "://") {
		return number
	}
	name = strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/")
	if name == "" || !safe(name) {
		return number
	}
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "~" + number + ext
}

// file emits the image that a row names: relative to the folder of the Parquet file.
func (a *archive) file(row int64, name string) error {
	switch {
	case name == "":
		return a.fails(rowName(row, ""), errors.New("no path in this row"))
	case len(name) > mostPath || strings.ContainsRune(name, 0):
		return a.fails(rowName(row, ""), errors.New("no path that can be: it is too long, or has a zero byte"))
	case IsURL(name):
		return a.fails(rowName(row, ""), errors.New("a URL, which a row cannot name: give score a list of them"))
	case a.object != nil:
		return a.object.beside(a.in, name)
	}
	it := Item{Path: filepath.FromSlash(name)}
	if !filepath.IsAbs(it.Path) {
		it.Path = filepath.Join(filepath.Dir(a.path), it.Path)
	}
	if a.in.root == a.path {
		it.ID = a.in.seen.unique(a.in.folders.beside(valid(a.in.id(name))))
	}
	return a.in.emitItem(it, nil)
}

// pictures finds out which column has the images: the one that was asked for, or the only one that has any.
func (a *archive) pictures(t *table) (pictures, error) {
	if want := a.in.Column; want != "" {
		return a.column(t, want)
	}
	var groups, binary, texts []pictures
	var broken error // of a column that may have had some
	for i := range t.leaves {
		l := &t.leaves[i]
		if !l.bytes || l.repeated {
			continue
		}
		switch im, ok := t.group(l); {
		case ok:
			if im.bytes == l {
				groups = append(groups, im)
			}
		default:
			holds, err := a.holds(t, l)
			switch {
			case err != nil && broken == nil:
				broken = fmt.Errorf("column %s: %w", l.name(), err)
			case holds == data:
				binary = append(binary, pictures{l.name(), l, nil})
			case holds == names:
				texts = append(texts, pictures{l.name(), nil, l})
			}
		}
	}
	for _, some := range []struct {
		columns []pictures
		prefer  []string
	}{{groups, imageColumns}, {binary, imageColumns}, {texts, pathColumns}} {
		if len(some.columns) == 1 {
			return some.columns[0], nil
		}
		for _, name := range some.prefer {
			if i := slices.IndexFunc(some.columns, func(im pictures) bool { return im.name == name }); i >= 0 {
				return some.columns[i], nil
			}
		}
		if len(some.columns) > 0 {
			var all []string
			for _, im := range some.columns {
				all = append(all, im.name)
			}
			return pictures{}, fmt.Errorf("several columns with images, say which (--parquet-column): %s", strings.Join(all, ", "))
		}
	}
	if broken != nil {
		return pictures{}, broken
	}
	return pictures{}, fmt.Errorf("no column with images or paths of images; its columns are %s", t.names())
}

// column is the column of that name.
func (a *archive) column(t *table, name string) (pictures, error) {
	for i := range t.leaves {
		l := &t.leaves[i]
		im, ok := t.group(l)
		switch {
		case ok && im.name == name:
			return im, nil
		case l.name() != name:
		case !l.bytes || l.repeated:
			return pictures{}, fmt.Errorf("column %s holds neither images nor paths, one in each row", name)
		default:
			holds, err := a.holds(t, l)
			if err != nil {
				return pictures{}, fmt.Errorf("column %s: %w", name, err)
			}
			if holds == names || holds == neither && l.text {
				return pictures{name, nil, l}, nil
			}
			return pictures{name, l, nil}, nil
		}
	}
	return pictures{}, fmt.Errorf("no column %s; its columns are %s", name, t.names())
}

// group is the group of a leaf if that is of images as Hugging Face's data sets have them: {bytes, path}.
func (t *table) group(l *leaf) (im pictures, ok bool) {
	n := len(l.path) - 1
	if n == 0 {
		return im, false
	}
	im.name = strings.Join(l.path[:n], ".")
	for i := range t.leaves {
		o := &t.leaves[i]
		if len(o.path) != n+1 || !slices.Equal(o.path[:n], l.path[:n]) || !o.bytes || o.repeated {
			continue
		}
		switch o.path[n] {
		case "bytes":
			im.bytes = o
		case "path":
			im.path = o
		}
	}
	return im, im.bytes != nil
}

// What the values of a column are.
const (
	neither = iota
	data
	names
)

// holds says what the first values of a column are.
func (a *archive) holds(t *table, l *leaf) (int, error) {
	v := a.values(t, l)
	for looked := 0; looked < mostLooked; {
		value, err := v.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return neither, err
		}
		if len(value) == 0 {
			continue
		}
		looked++
		if imageio.Recognized(value) {
			return data, nil
		}
		if len(value) <= mostPath && utf8.Valid(value) && imageio.Supported(string(value)) {
			return names, nil
		}
	}
	return neither, nil
}

// names are the names of the columns, as many as a message takes.
func (t *table) names() string {
	const most = 20
	var all []string
	for i := range t.leaves[:min(most, len(t.leaves))] {
		all = append(all, t.leaves[i].name())
	}
	if len(t.leaves) > most {
		all = append(all, "…")
	}
	return strings.Join(all, ", ")
}

// unread is the image of a row that is only listed.
type unread struct{ *container }

func (u *unread) Open() (fs.File, error) { return nil, errReleased }
