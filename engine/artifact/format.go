package artifact

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
)

// Version is the format version that this package writes, and the only one it reads.
const Version = 1

// Caps on what a file may hold. They bound what reading a stranger's file can cost before its hash is known.
const (
	MaxFileSize = 1 << 36 // bytes
	MaxSections = 4096
	MaxName     = 128     // bytes
	MaxDims     = 8       // extents in a shape
	MaxJSON     = 1 << 24 // bytes in one JSON section
)

const (
	magic       = "F2PADMDL"
	headerSize  = 64
	alignment   = 64
	trailerSize = 32                    // SHA-256 of all bytes before it
	entryFixed  = 1 + 1 + 1 + 8 + 8 + 4 // an entry without its name and extents
	maxEntry    = entryFixed + MaxName + 8*MaxDims
	maxTable    = MaxSections * maxEntry
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kind is how a section's bytes are to be read; its value is what the file holds.
type kind uint8

const (
	kindJSON kind = iota
	kindFloat32
	kindUint8
	kindInt32
	kinds
)

func (k kind) String() string { return [kinds]string{"json", "float32", "uint8", "int32"}[k] }

// width is the size of one element in bytes.
func (k kind) width() int64 {
	if k == kindFloat32 || k == kindInt32 {
		return 4
	}
	return 1
}

// section is an entry of the table with its decoded data: []byte (json, uint8), []float32 or []int32.
type section struct {
	name   string
	kind   kind
	shape  []int
	offset int64
	length int64
	crc    uint32
	data   any
}

// checkName accepts slash-separated paths of letters, digits, '_', '-' and '.', without empty, "." or ".." elements.
func checkName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("name of %d bytes, at most %d are allowed", len(name), MaxName)
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.', c == '/':
		default:
			return fmt.Errorf("bad name %q", name)
		}
	}
	if name == "." || !fs.ValidPath(name) {
		return fmt.Errorf("bad name %q", name)
	}
	return nil
}

// checkShape returns an error unless the extents are positive and their product is count elements.
func checkShape(shape []int, count int64) error {
	if len(shape) < 1 || len(shape) > MaxDims {
		return fmt.Errorf("%d extents, want 1 to %d", len(shape), MaxDims)
	}
	n := int64(1)
	for _, d := range shape {
		if d < 1 || int64(d) > count/n { // count/n >= 1 as long as n <= count, so n never overflows
			return fmt.Errorf("shape %v does not hold %d values", shape, count)
		}
		n *= int64(d)
	}
	if n != count {
		return fmt.Errorf("shape %v does not hold %d values", shape, count)
	}
	return nil
}

// checkFinite returns an error that names the first NaN or Inf.
func checkFinite(data []float32) error {
	for i, v := range data {
		if v != v || math.IsInf(float64(v), 0) {
			return fmt.Errorf("value [%d] is %v", i, v)
		}
	}
	return nil
}

// align rounds an offset up to the next section boundary.
func align(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

const chunk = 1 << 14 // elements encoded or decoded at a time

// encode writes the section's data as the file holds it.
func (s *section) encode(w io.Writer) error {
	switch data := s.data.(type) {
	case []float32:
		return encodeWords(w, data, math.Float32bits)
	case []int32:
		return encodeWords(w, data, func(v int32) uint32 { return uint32(v) })
	default:
		_, err := w.Write(data.([]byte))
		return err
	}
}

func encodeWords[T float32 | int32](w io.Writer, data []T, bits func(T) uint32) error {
	buf := make([]byte, 0, 4*min(chunk, len(data)))
	for len(data) > 0 {
		n := min(chunk, len(data))
		buf = buf[:0]
		for _, v := range data[:n] {
			buf = binary.LittleEndian.AppendUint32(buf, bits(v))
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// decode reads the section's data; length has been checked against the file's size.
func (s *section) decode(r io.Reader) (err error) {
	switch s.kind {
	case kindFloat32:
		s.data, err = decodeWords(r, s.length/4, math.Float32frombits)
	case kindInt32:
		s.data, err = decodeWords(r, s.length/4, func(b uint32) int32 { return int32(b) })
	default:
		data := make([]byte, s.length)
		_, err = io.ReadFull(r, data)
		s.data = data
	}
	return err
}

func decodeWords[T float32 | int32](r io.Reader, n int64, from func(uint32) T) ([]T, error) {
	data := make([]T, n)
	buf := make([]byte, 4*min(chunk, n))
	for rest := data; len(rest) > 0; {
		k := min(chunk, len(rest))
		if _, err := io.ReadFull(r, buf[:4*k]); err != nil {
			return nil, err
		}
		for i := range k {
			rest[i] = from(binary.LittleEndian.Uint32(buf[4*i:]))
		}
		rest = rest[k:]
	}
	return data, nil
}
