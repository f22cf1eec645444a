package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strings"
)

// Writer collects named sections; the same sections give the same bytes, in whatever order they were added. It keeps the
// slices it is given until it is written: do not change them before. Not safe for concurrent use.
type Writer struct{ sections []*section }

// NewWriter returns a writer without sections.
func NewWriter() *Writer { return &Writer{} }

// JSON adds v, encoded as by encoding/json.
func (w *Writer) JSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("artifact: section %q: %w", name, err)
	}
	if len(data) > MaxJSON {
		return fmt.Errorf("artifact: section %q: %d bytes of JSON, at most %d are allowed", name, len(data), MaxJSON)
	}
	return w.add(&section{name: name, kind: kindJSON, data: data}, len(data))
}

// Float32 adds an array of finite numbers; shape defaults to one extent, len(data).
func (w *Writer) Float32(name string, data []float32, shape ...int) error {
	if err := checkFinite(data); err != nil {
		return fmt.Errorf("artifact: section %q: %w", name, err)
	}
	return w.add(&section{name: name, kind: kindFloat32, shape: shape, data: data}, len(data))
}

// Uint8 adds an array of bytes; shape defaults to one extent, len(data).
func (w *Writer) Uint8(name string, data []uint8, shape ...int) error {
	return w.add(&section{name: name, kind: kindUint8, shape: shape, data: data}, len(data))
}

// Int32 adds an array of integers; shape defaults to one extent, len(data).
func (w *Writer) Int32(name string, data []int32, shape ...int) error {
	return w.add(&section{name: name, kind: kindInt32, shape: shape, data: data}, len(data))
}

func (w *Writer) add(s *section, count int) error {
	if err := checkName(s.name); err != nil {
		return fmt.Errorf("artifact: %w", err)
	}
	if len(w.sections) == MaxSections {
		return fmt.Errorf("artifact: section %q: more than %d sections", s.name, MaxSections)
	}
	at, found := slices.BinarySearchFunc(w.sections, s.name, func(t *section, name string) int {
		return strings.Compare(t.name, name)
	})
	if found {
		return fmt.Errorf("artifact: section %q: added twice", s.name)
	}
	if s.kind != kindJSON {
		if len(s.shape) == 0 {
			s.shape = []int{count}
		}
		s.shape = slices.Clone(s.shape)
		if err := checkShape(s.shape, int64(count)); err != nil {
			return fmt.Errorf("artifact: section %q: %w", s.name, err)
		}
	}
	s.length = int64(count) * s.kind.width()
	w.sections = slices.Insert(w.sections, at, s)
	return nil
}

// WriteTo writes the file and returns its size.
func (w *Writer) WriteTo(dst io.Writer) (int64, error) {
	out := &tally{dst: dst, sum: sha256.New()}
	err := w.write(out)
	return out.n, err
}

// WriteFile writes the file atomically and returns the SHA-256 of all its bytes, in hexadecimal as sha256sum prints it.
func (w *Writer) WriteFile(path string) (string, error) {
	var sum string
	err := WriteFileAtomic(path, func(dst io.Writer) error {
		out := &tally{dst: dst, sum: sha256.New()}
		err := w.write(out)
		sum = hex.EncodeToString(out.sum.Sum(nil))
		return err
	})
	if err != nil {
		return "", err
	}
	return sum, nil
}

// tally counts and hashes what passes through.
type tally struct {
	dst io.Writer
	sum hash.Hash
	n   int64
}

func (t *tally) Write(p []byte) (int, error) {
	n, err := t.dst.Write(p)
	t.n += int64(n)
	t.sum.Write(p[:n])
	return n, err
}

func (w *Writer) write(out *tally) error {
	head, size := w.head()
	if size > MaxFileSize {
		return fmt.Errorf("artifact: %d bytes, at most %d are allowed", size, int64(MaxFileSize))
	}
	if _, err := out.Write(head); err != nil {
		return err
	}
	for _, s := range w.sections {
		if _, err := out.Write(make([]byte, s.offset-out.n)); err != nil {
			return err
		}
		if err := s.encode(out); err != nil {
			return err
		}
	}
	_, err := out.Write(out.sum.Sum(nil))
	return err
}

// head lays the sections out and returns the header and the table, and the size of the whole file.
func (w *Writer) head() (head []byte, size int64) {
	le := binary.LittleEndian
	size = headerSize
	for _, s := range w.sections {
		size += int64(entryFixed + len(s.name) + 8*len(s.shape))
	}
	var table bytes.Buffer
	put := func(v uint64) { table.Write(le.AppendUint64(nil, v)) }
	for _, s := range w.sections {
		crc := crc32.New(castagnoli)
		_ = s.encode(crc) // a hash takes everything
		s.offset = align(size)
		size = s.offset + s.length
		table.Write([]byte{byte(len(s.name)), byte(s.kind), byte(len(s.shape))})
		table.WriteString(s.name)
		for _, d := range s.shape {
			put(uint64(d))
		}
		put(uint64(s.offset))
		put(uint64(s.length))
		table.Write(le.AppendUint32(nil, crc.Sum32()))
	}
	size += trailerSize
	head = append(head, magic...)
	head = le.AppendUint32(head, Version)
	head = le.AppendUint32(head, uint32(len(w.sections)))
	head = le.AppendUint64(head, uint64(size))
	head = le.AppendUint64(head, uint64(table.Len()))
	head = le.AppendUint32(head, crc32.Checksum(table.Bytes(), castagnoli))
	head = le.AppendUint32(head, crc32.Checksum(head, castagnoli))
	head = append(head, make([]byte, headerSize-len(head))...)
	return append(head, table.Bytes()...), size
}
