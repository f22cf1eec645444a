package export

import (
	"encoding/csv"
	"io"
	"reflect"
	"strconv"
	"strings"
)

func openCSV(x *exporting, w io.Writer) (sink, error) {
	if x.EachRegion {
		return newCSV(w, regionRows)
	}
	return newCSV(w, imageRows)
}

// csvRows writes rows with the columns' names before them. What is null is empty, numbers have as many digits as it takes to read them back.
type csvRows[T any] struct{ w *csv.Writer }

func newCSV[T any](w io.Writer, of func(e *entry) ([]T, error)) (sink, error) {
	r := csvRows[T]{csv.NewWriter(w)}
	var names []string
	for f := range reflect.TypeFor[T]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		names = append(names, name)
	}
	return table[T]{r, of}, r.w.Write(names)
}

func (r csvRows[T]) add(row T) error {
	v := reflect.ValueOf(row)
	var cells []string
	for i := range v.NumField() {
		cells = append(cells, cell(v.Field(i)))
	}
	return r.w.Write(cells)
}

func (r csvRows[T]) end() error {
	r.w.Flush()
	return r.w.Error()
}

// cell is a value as text.
func cell(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return cell(v.Elem())
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
	}
	return strconv.FormatInt(v.Int(), 10)
}
