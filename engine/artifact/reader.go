package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"f2pad.example/engine/internal/openfile"
)

// File is a verified artifact, wholly in memory. It is safe for concurrent use.
type File struct {
	path     string // for messages; "" if read from memory
	sha256   string
	sections []*section
	byName   map[string]*section
}

// Section describes one section.
type Section struct {
	Name  string
	Kind  string // json, float32, uint8, int32
	Shape []int  // nil for json
	Bytes int64
}

// Open reads and verifies the file at path. Errors wrap ErrNotModel, ErrVersion or ErrCorrupt, or come from the
// operating system; they name the file and the broken part.
func Open(path string) (*File, error) {
	f, info, err := openfile.Regular(path)
	if errors.Is(err, openfile.ErrNotRegular) {
		return nil, (&File{path: path}).fail(ErrNotModel, "not a regular file")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(path, f, info.Size())
}

// Read reads and verifies an artifact of size bytes, as Open does. It allocates no more than a small multiple of size.
func Read(r io.ReaderAt, size int64) (*File, error) { return read("", r, size) }

func read(path string, r io.ReaderAt, size int64) (*File, error) {
	f := &File{path: path, byName: map[string]*section{}}
	d := &decoder{File: f, src: io.NewSectionReader(r, 0, size), size: size, sum: sha256.New()}
	table, count, err := d.header()
	if err != nil {
		return nil, err
	}
	if err := d.table(table, count); err != nil {
		return nil, err
	}
	for _, s := range f.sections {
		if err := d.section(s); err != nil {
			return nil, err
		}
		f.byName[s.name] = s
	}
	if err := d.trailer(); err != nil {
		return nil, err
	}
	return f, nil
}

// decoder reads a file front to back.
type decoder struct {
	*File
	src  io.Reader
	size int64
	pos  int64
	sum  hash.Hash
}

// Read hashes what it reads.
func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.src.Read(p)
	d.pos += int64(n)
	d.sum.Write(p[:n])
	return n, err
}

// take reads the next n bytes, n being known to lie within the file.
func (d *decoder) take(n int64) ([]byte, error) {
	buf := make([]byte, n)
	_, err := io.ReadFull(d, buf)
	return buf, d.short(err)
}

// short turns an end of the source before the promised size into a truncation.
func (d *decoder) short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return d.fail(ErrCorrupt, "truncated: %d of %d bytes", d.pos, d.size)
	}
	if err != nil {
		return fmt.Errorf("%s%w", d.prefix(), err)
	}
	return nil
}

func (f *File) prefix() string {
	if f.path == "" {
		return "artifact: "
	}
	return f.path + ": "
}

func (f *File) fail(sentinel error, format string, args ...any) error {
	return &fault{sentinel, f.prefix() + fmt.Sprintf(format, args...)}
}

// header returns the table's bytes and the number of its entries.
func (d *decoder) header() (table []byte, count int, err error) {
	if d.size <= 0 {
		return nil, 0, d.fail(ErrNotModel, "empty file")
	}
	head, err := d.take(min(d.size, headerSize))
	if err != nil {
		return nil, 0, err
	}
	if !bytes.HasPrefix(head, []byte(magic)) {
		return nil, 0, d.fail(ErrNotModel, "%v: it does not start with %q", ErrNotModel, magic)
	}
	if len(head) < headerSize {
		return nil, 0, d.fail(ErrCorrupt, "truncated: %d bytes, the header alone has %d", len(head), headerSize)
	}
	le := binary.LittleEndian
	if v := le.Uint32(head[8:]); v != Version {
		return nil, 0, d.fail(ErrVersion, "format version %d, this program reads %d", v, Version)
	}
	if crc32.Checksum(head[:36], castagnoli) != le.Uint32(head[36:]) || !zeros(head[40:]) {
		return nil, 0, d.fail(ErrCorrupt, "header: checksum mismatch")
	}
	sections, size, tableSize := le.Uint32(head[12:]), le.Uint64(head[16:]), le.Uint64(head[24:])
	switch {
	case size > min(MaxFileSize, math.MaxInt):
		return nil, 0, d.fail(ErrCorrupt, "header: %d bytes, at most %d are allowed", size, int64(MaxFileSize))
	case int64(size) > d.size:
		return nil, 0, d.fail(ErrCorrupt, "truncated: %d of %d bytes", d.size, size)
	case int64(size) < d.size:
		return nil, 0, d.fail(ErrCorrupt, "%d bytes after the end", d.size-int64(size))
	case size < headerSize+trailerSize:
		return nil, 0, d.fail(ErrCorrupt, "header: file size %d", size)
	case sections > MaxSections:
		return nil, 0, d.fail(ErrCorrupt, "header: %d sections, at most %d are allowed", sections, MaxSections)
	case tableSize > min(size-headerSize-trailerSize, maxTable):
		return nil, 0, d.fail(ErrCorrupt, "header: section table of %d bytes", tableSize)
	}
	if table, err = d.take(int64(tableSize)); err != nil {
		return nil, 0, err
	}
	if crc32.Checksum(table, castagnoli) != le.Uint32(head[32:]) {
		return nil, 0, d.fail(ErrCorrupt, "section table: checksum mismatch")
	}
	return table, int(sections), nil
}

// table checks every entry against the one layout that a file of this size can have, before any section is read.
func (d *decoder) table(table []byte, count int) error {
	end := d.pos
	name := ""
	for i := range count {
		s, rest, err := entry(table)
		if err != nil {
			return d.fail(ErrCorrupt, "section table: entry %d: %v", i, err)
		}
		switch {
		case i > 0 && s.name == name:
			return d.fail(ErrCorrupt, "section %q: duplicate", s.name)
		case i > 0 && s.name < name:
			return d.fail(ErrCorrupt, "section %q: out of order, after %q", s.name, name)
		case s.offset != align(end):
			return d.fail(ErrCorrupt, "section %q: at offset %d, want %d", s.name, s.offset, align(end))
		case s.length < 0 || s.length > d.size-trailerSize-s.offset:
			return d.fail(ErrCorrupt, "section %q: %d bytes at offset %d exceed the file", s.name, s.length, s.offset)
		}
		if err := s.checkSize(); err != nil {
			return d.fail(ErrCorrupt, "section %q: %v", s.name, err)
		}
		d.sections = append(d.sections, s)
		end, name, table = s.offset+s.length, s.name, rest
	}
	if len(table) > 0 {
		return d.fail(ErrCorrupt, "section table: %d bytes after its last entry", len(table))
	}
	if end != d.size-trailerSize {
		return d.fail(ErrCorrupt, "%d bytes between the last section and the trailer", d.size-trailerSize-end)
	}
	return nil
}

// entry splits the first entry off the table.
func entry(table []byte) (*section, []byte, error) {
	if len(table) < 3 {
		return nil, nil, errors.New("cut short")
	}
	nameLen, k, dims := int(table[0]), kind(table[1]), int(table[2])
	if k >= kinds {
		return nil, nil, fmt.Errorf("unknown kind %d", k)
	}
	if dims > MaxDims {
		return nil, nil, fmt.Errorf("%d extents, at most %d are allowed", dims, MaxDims)
	}
	if len(table) < entryFixed+nameLen+8*dims {
		return nil, nil, errors.New("cut short")
	}
	s := &section{name: string(table[3 : 3+nameLen]), kind: k}
	if err := checkName(s.name); err != nil {
		return nil, nil, err
	}
	table = table[3+nameLen:]
	next := func() uint64 {
		v := binary.LittleEndian.Uint64(table)
		table = table[8:]
		return v
	}
	for range dims {
		d := next()
		if d > math.MaxInt {
			return nil, nil, fmt.Errorf("extent %d", d)
		}
		s.shape = append(s.shape, int(d))
	}
	s.offset, s.length = int64(next()), int64(next()) // negative if beyond 2^63: the layout check refuses them
	s.crc = binary.LittleEndian.Uint32(table)
	return s, table[4:], nil
}

// checkSize compares length and shape.
func (s *section) checkSize() error {
	if s.kind == kindJSON {
		if len(s.shape) != 0 || s.length > MaxJSON {
			return fmt.Errorf("%d bytes of JSON with %d extents, at most %d with 0 are allowed", s.length, len(s.shape), MaxJSON)
		}
		return nil
	}
	if s.length%s.kind.width() != 0 {
		return fmt.Errorf("%d bytes of %s", s.length, s.kind)
	}
	return checkShape(s.shape, s.length/s.kind.width())
}

// section reads and verifies the data of the next section.
func (d *decoder) section(s *section) error {
	pad, err := d.take(s.offset - d.pos)
	if err != nil {
		return err
	}
	if !zeros(pad) {
		return d.fail(ErrCorrupt, "section %q: padding before it is not zero", s.name)
	}
	crc := crc32.New(castagnoli)
	if err := d.short(s.decode(io.TeeReader(d, crc))); err != nil {
		return err
	}
	if crc.Sum32() != s.crc {
		return d.fail(ErrCorrupt, "section %q: checksum mismatch", s.name)
	}
	switch data := s.data.(type) {
	case []float32:
		if err := checkFinite(data); err != nil {
			return d.fail(ErrCorrupt, "section %q: %v", s.name, err)
		}
	case []byte:
		if s.kind == kindJSON && !json.Valid(data) {
			return d.fail(ErrCorrupt, "section %q: invalid JSON", s.name)
		}
	}
	return nil
}

// trailer verifies the hash of the whole.
func (d *decoder) trailer() error {
	want := d.sum.Sum(nil)
	got, err := d.take(trailerSize)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return d.fail(ErrCorrupt, "file hash mismatch")
	}
	d.sha256 = hex.EncodeToString(d.sum.Sum(nil))
	return nil
}

func zeros(p []byte) bool {
	return !slices.ContainsFunc(p, func(b byte) bool { return b != 0 })
}

// SHA256 is the hash of all bytes of the file, in hexadecimal as sha256sum prints it.
func (f *File) SHA256() string { return f.sha256 }

// Sections lists the sections in ascending order of their names.
func (f *File) Sections() []Section {
	list := make([]Section, len(f.sections))
	for i, s := range f.sections {
		list[i] = Section{Name: s.name, Kind: s.kind.String(), Shape: slices.Clone(s.shape), Bytes: s.length}
	}
	return list
}

// Has reports whether the file has a section of that name.
func (f *File) Has(name string) bool { return f.byName[name] != nil }

// JSON decodes a section into v. Fields that v does not have are an error. What may gain fields is read by Options.
func (f *File) JSON(name string, v any) error {
	return f.decode(name, func(data []byte) error {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		return dec.Decode(v)
	})
}

// Float32 returns a section's values, all finite, and its shape. want gives the expected shape (-1: any extent; no want:
// any shape). The values are the file's own: do not write to them. Errors wrap ErrCorrupt.
func (f *File) Float32(name string, want ...int) ([]float32, []int, error) {
	return get[float32](f, name, kindFloat32, want)
}

// Uint8 is Float32 for bytes.
func (f *File) Uint8(name string, want ...int) ([]uint8, []int, error) {
	return get[uint8](f, name, kindUint8, want)
}

// Int32 is Float32 for integers.
func (f *File) Int32(name string, want ...int) ([]int32, []int, error) {
	return get[int32](f, name, kindInt32, want)
}

func get[T byte | float32 | int32](f *File, name string, k kind, want []int) ([]T, []int, error) {
	s := f.byName[name]
	if s == nil {
		return nil, nil, f.fail(ErrCorrupt, "section %q: missing", name)
	}
	if s.kind != k {
		return nil, nil, f.fail(ErrCorrupt, "section %q: %s, want %s", name, s.kind, k)
	}
	fits := func(got, want int) bool { return want == -1 || got == want }
	if len(want) > 0 && !slices.EqualFunc(s.shape, want, fits) {
		return nil, nil, f.fail(ErrCorrupt, "section %q: shape %v, want %v", name, s.shape, want)
	}
	return s.data.([]T), slices.Clone(s.shape), nil
}
