package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// What the footer of a Parquet file claims is bounded before it is decoded, since the decoder allocates what is claimed.
const (
	mostFooter   = 1 << 24 // bytes
	mostElements = 1 << 20 // of all lists in it
	mostColumns  = 4096    // groups among them
	mostDepth    = 32      // of what is nested
)

const parquetMagic = "PAR1"

// table is a Parquet file.
type table struct {
	from   io.ReaderAt
	size   int64
	groups []format.RowGroup
	leaves []leaf
}

// leaf is a column without others in it.
type leaf struct {
	path     []string // of names, from the outermost group
	index    int      // among the columns of a row group
	levels   int32    // the definition level of a value that is there
	repeated bool     // there are any number of values in a row
	bytes    bool     // it holds byte arrays
	text     bool     // which are said to be UTF-8
}

func (l *leaf) name() string { return strings.Join(l.path, ".") }

// openTable reads a Parquet file's footer.
func openTable(from io.ReaderAt, size int64) (*table, error) {
	const mark = 4 + len(parquetMagic) // at its end: the footer's length, and the magic
	head, tail := make([]byte, len(parquetMagic)), make([]byte, mark)
	if size < int64(len(head)+mark) {
		return nil, errors.New("no Parquet file: it is too short")
	}
	if err := readAt(from, head, 0); err != nil {
		return nil, err
	}
	if err := readAt(from, tail, size-int64(mark)); err != nil {
		return nil, err
	}
	switch end := string(tail[4:]); {
	case string(head) == "PARE" || end == "PARE":
		return nil, errors.New("an encrypted Parquet file")
	case string(head) != parquetMagic:
		return nil, errors.New("no Parquet file")
	case end != parquetMagic:
		return nil, fmt.Errorf("%w: there is no footer at its end", errCutOff)
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if n > size-int64(len(head)+mark) {
		return nil, corrupt("a footer that is longer than the file")
	}
	if n > mostFooter {
		return nil, fmt.Errorf("a footer of %d bytes, at most %d are read", n, mostFooter)
	}
	footer := make([]byte, n)
	if err := readAt(from, footer, size-int64(mark)-n); err != nil {
		return nil, err
	}
	var meta format.FileMetaData
	if _, err := unthrift(footer, &meta); err != nil {
		return nil, err
	}
	t := &table{from: from, size: size, groups: meta.RowGroups}
	if err := t.schema(meta.Schema); err != nil {
		return nil, err
	}
	for _, g := range t.groups {
		if len(g.Columns) != len(t.leaves) || g.NumRows < 0 {
			return nil, corrupt("a row group that is not the schema's")
		}
	}
	return t, nil
}

var errCutOff = errors.New("truncated Parquet file")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("corrupt Parquet file: "+format, args...)
}

func readAt(from io.ReaderAt, p []byte, at int64) error {
	n, err := from.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = errCutOff
	}
	return err
}

// schema finds the leaves in what is a tree, flattened depth first.
func (t *table) schema(elements []format.SchemaElement) error {
	if len(elements) > mostColumns {
		return fmt.Errorf("a schema of %d columns, at most %d are read", len(elements), mostColumns)
	}
	if len(elements) == 0 {
		return corrupt("no schema")
	}
	left := elements[1:]
	var visit func(n int32, above leaf) error
	visit = func(n int32, above leaf) error {
		if len(above.path) > mostDepth {
			return corrupt("a schema that is nested too deeply")
		}
		for range n {
			if len(left) == 0 {
				return corrupt("a schema that ends early")
			}
			e := &left[0]
			left = left[1:]
			l := above
			l.path = append(slices.Clip(above.path), e.Name)
			switch e.RepetitionType.V {
			case format.Optional:
				l.levels++
			case format.Repeated:
				l.levels++
				l.repeated = true
			}
			if !e.Type.Valid {
				if err := visit(e.NumChildren.V, l); err != nil {
					return err
				}
				continue
			}
			l.index, l.bytes = len(t.leaves), e.Type.V == format.ByteArray
			_, str := e.LogicalType.Value.(*format.StringType)
			l.text = str || e.ConvertedType.Valid && e.ConvertedType.V == deprecated.UTF8
			t.leaves = append(t.leaves, l)
		}
		return nil
	}
	if err := visit(elements[0].NumChildren.V, leaf{}); err != nil {
		return err
	}
	if len(left) > 0 {
		return corrupt("a schema with columns in no group")
	}
	return nil
}

// rows is how many rows the file says it has, and whether that can be: of images, each takes a byte.
func (t *table) rows() (n int64, ok bool) {
	for _, g := range t.groups {
		if g.NumRows > t.size-n {
			return 0, false
		}
		n += g.NumRows
	}
	return n, true
}

// unthrift decodes what data begins with, and returns how many bytes that takes.
func unthrift(data []byte, v any) (n int, err error) {
	defer func() { // what hostile input does to the decoder ends here
		if p := recover(); p != nil {
			err = corrupt("its decoder failed: %v", p)
		}
	}()
	var p thrift.CompactProtocol
	r := p.NewReaderFromBytes(data)
	left := int64(mostElements)
	if err := weigh(r, thrift.STRUCT, mostDepth, &left); err != nil {
		return 0, corrupt("%w", err)
	}
	data = bytes.Clone(data[:r.BytesRead()]) // which v refers to
	r = p.NewReaderFromBytes(data)
	if err := thrift.NewDecoder(r).Decode(v); err != nil {
		return 0, corrupt("%w", err)
	}
	return len(data), nil
}

// weigh goes through a value, which has no more than left elements in lists, and is nested at most depth times.
func weigh(r thrift.Reader, t thrift.Type, depth int, left *int64) error {
	if depth == 0 {
		return errors.New("it is nested too deeply")
	}
	list := func(n int32, types ...thrift.Type) error {
		if *left -= int64(n); n < 0 || *left < 0 {
			return fmt.Errorf("lists of more than %d elements", mostElements)
		}
		for range n {
			for _, t := range types {
				if t == thrift.TRUE || t == thrift.FALSE {
					t = thrift.I8 // which in a list takes a byte
				}
				if err := weigh(r, t, depth-1, left); err != nil {
					return err
				}
			}
		}
		return nil
	}
	switch t {
	case thrift.TRUE, thrift.FALSE:
		return nil
	case thrift.I8:
		_, err := r.ReadInt8()
		return err
	case thrift.I16, thrift.I32, thrift.I64:
		_, err := r.ReadInt64()
		return err
	case thrift.DOUBLE:
		_, err := r.ReadFloat64()
		return err
	case thrift.BINARY:
		_, err := r.ReadBytes()
		return err
	case thrift.LIST, thrift.SET:
		l, err := r.ReadList()
		if err != nil {
			return err
		}
		return list(l.Size, l.Type)
	case thrift.MAP:
		m, err := r.ReadMap()
		if err != nil {
			return err
		}
		return list(m.Size, m.Key, m.Value)
	case thrift.STRUCT:
		for {
			f, err := r.ReadField()
			if err != nil || f.Type == thrift.STOP {
				return err
			}
			if err := weigh(r, f.Type, depth-1, left); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("a value of type %d", t)
}
