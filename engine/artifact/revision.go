package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// DecodeOptions decodes a JSON object of options that may have been written by an older program. The object's field "revision"
// (absent: 1) says what its other fields are, and is read first: one above known is refused (ErrNewer), whatever else there is.
// Then start returns where to decode the object to: a pointer to the defaults of that revision, over which goes what is
// stored, or nil to leave it at that. Fields that the pointer's value does not have are an error.
func DecodeOptions(data []byte, known int, start func(revision int) any) error {
	revision, err := revisionOf(data, known)
	if err != nil {
		return err
	}
	v := start(revision)
	if v == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// revised is what all options have in common.
type revised struct {
	Revision json.RawMessage `json:"revision"`
}

func revisionOf(data []byte, known int) (int, error) {
	head := revised{json.RawMessage("1")}
	if err := json.Unmarshal(data, &head); err != nil {
		return 0, err
	}
	// A number of any length is a revision; one beyond int is just as new.
	text := string(head.Revision)
	n, err := strconv.ParseInt(text, 10, 0)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0, err == nil && n > int64(known):
		return 0, fmt.Errorf("%w (revision %.20s, this program knows up to %d)", ErrNewer, text, known)
	case err != nil || n < 1:
		return 0, fmt.Errorf("revision %.20s, want 1 to %d", text, known)
	}
	return int(n), nil
}

// Options decodes a section as DecodeOptions does. Errors wrap ErrNewer or ErrCorrupt.
func (f *File) Options(name string, known int, start func(revision int) any) error {
	return f.decode(name, func(data []byte) error { return DecodeOptions(data, known, start) })
}

// decode hands a JSON section to into.
func (f *File) decode(name string, into func(data []byte) error) error {
	data, _, err := get[byte](f, name, kindJSON, nil)
	if err != nil {
		return err
	}
	if err := into(data); err != nil {
		sentinel := ErrCorrupt
		if errors.Is(err, ErrNewer) {
			sentinel = ErrNewer
		}
		return f.fail(sentinel, "section %q: %v", name, err)
	}
	return nil
}
