package export

import (
	"encoding/json"
	"io"
)

// list writes the members of a JSON array, one a line.
type list struct {
	w io.Writer
	n int
}

func (l *list) add(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	between := ",\n"
	if l.n == 0 {
		between = "\n"
	}
	l.n++
	_, err = l.w.Write(append([]byte(between), data...))
	return err
}
