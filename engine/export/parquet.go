package export

import (
	"encoding/json"
	"io"

	"github.com/parquet-go/parquet-go"
)

// A group of rows is in memory until it is written: so many rows, or less where they hold so many bytes of text.
const (
	groupRows  = 1 << 16
	groupBytes = 32 << 20
)

// runKey is under which a file says which run it is of, as run.json does.
const runKey = "f2pad"

func openParquet(x *exporting, w io.Writer) (sink, error) {
	if x.EachRegion {
		return newParquet(x, w, regionRows, func(r regionRow) int { return len(r.Image) + len(*or(r.Polygon)) })
	}
	return newParquet(x, w, imageRows, func(r imageRow) int { return len(r.Image) + len(*or(r.Error)) })
}

// or is what a text is that may be null.
func or(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}

// parquetRows writes rows in groups.
type parquetRows[T any] struct {
	w     *parquet.GenericWriter[T]
	text  func(row T) int // bytes of it
	rows  int
	bytes int
}

func newParquet[T any](x *exporting, w io.Writer, of func(e *entry) ([]T, error), text func(row T) int) (sink, error) {
	info, err := json.Marshal(x.results.Info)
	if err != nil {
		return nil, err
	}
	to := parquet.NewGenericWriter[T](w, parquet.Compression(&parquet.Snappy), parquet.KeyValueMetadata(runKey, string(info)),
		parquet.CreatedBy("f2pad", x.results.Info.Version, ""))
	return table[T]{&parquetRows[T]{w: to, text: text}, of}, nil
}

func (r *parquetRows[T]) add(row T) error {
	if _, err := r.w.Write([]T{row}); err != nil {
		return err
	}
	r.rows++
	r.bytes += r.text(row)
	if r.rows < groupRows && r.bytes < groupBytes {
		return nil
	}
	r.rows, r.bytes = 0, 0
	return r.w.Flush()
}

func (r *parquetRows[T]) end() error { return r.w.Close() }
