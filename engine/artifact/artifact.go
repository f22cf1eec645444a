// Package artifact is the model file: one versioned, checksummed file of named sections that is safe to load from
// strangers. Sizes are checked before anything is allocated, and nothing in it is executed.
package artifact

import (
	"errors"
	"io"
)

var errTodo = errors.New("artifact: being written")

// Writer collects named sections; the same sections give the same bytes.
type Writer struct{}

func NewWriter() *Writer { return &Writer{} }

func (w *Writer) JSON(name string, v any) error                           { return errTodo }
func (w *Writer) Float32(name string, data []float32, shape ...int) error { return errTodo }
func (w *Writer) Uint8(name string, data []uint8, shape ...int) error     { return errTodo }
func (w *Writer) Int32(name string, data []int32, shape ...int) error     { return errTodo }
func (w *Writer) WriteTo(dst io.Writer) (int64, error)                    { return 0, errTodo }
func (w *Writer) WriteFile(path string) (sha256 string, err error)        { return "", errTodo }

// File is a verified artifact.
type File struct{}

// Section describes one section.
type Section struct {
	Name  string
	Kind  string // json, float32, uint8, int32
	Shape []int
	Bytes int64
}

func Open(path string) (*File, error)               { return nil, errTodo }
func Read(r io.ReaderAt, size int64) (*File, error) { return nil, errTodo }
func (f *File) SHA256() string                      { return "" }
func (f *File) Sections() []Section                 { return nil }
func (f *File) Has(name string) bool                { return false }
func (f *File) JSON(name string, v any) error       { return errTodo }

// Float32 returns a section's values and shape. want gives the expected shape (-1: any extent; no want: any shape).
func (f *File) Float32(name string, want ...int) ([]float32, []int, error) { return nil, nil, errTodo }
func (f *File) Uint8(name string, want ...int) ([]uint8, []int, error)     { return nil, nil, errTodo }
func (f *File) Int32(name string, want ...int) ([]int32, []int, error)     { return nil, nil, errTodo }
