// Package artifact is the model file: one versioned, checksummed file of named sections that is safe to load from
// strangers. Sizes are checked before anything is allocated, and nothing in it is executed.
//
// # Format
//
// All numbers are little-endian. The file has exactly one layout for given sections, so equal sections give equal bytes.
//
//	header    64 bytes: magic "F2PADMDL"; u32 version; u32 number of sections; u64 file size; u64 table size;
//	          u32 CRC-32C of the table; u32 CRC-32C of the 36 bytes before; zeros
//	table     one entry per section, in ascending order of names: u8 length of name; u8 kind (0 json, 1 float32,
//	          2 uint8, 3 int32); u8 number of extents; name; u64 extents; u64 offset; u64 length; u32 CRC-32C
//	sections  in the table's order, each at the next multiple of 64 bytes, zeros between
//	trailer   32 bytes: SHA-256 of everything before
//
// The CRCs name the part that is broken; the SHA-256 vouches for the whole.
package artifact

import "errors"

// What an error of this package wraps. The error's text names the part that is wrong.
var (
	ErrNotModel = errors.New("not a model file")
	ErrVersion  = errors.New("unknown format version")
	ErrCorrupt  = errors.New("corrupt model file")
	ErrNewer    = errors.New("made by a newer f2pad") // of options: see DecodeOptions
)

// fault is an error that says what is wrong in its own words and wraps a sentinel.
type fault struct {
	sentinel error
	text     string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.sentinel }
