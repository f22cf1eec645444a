package imageio

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Supported reports whether a file of this name is one to decode, by its extension: .png, .jpg, .jpeg, .tif, .tiff, .bmp
// or .webp, in either case.
func Supported(name string) bool { return byName(name) != nil }

func byName(name string) *format {
	ext := strings.ToLower(filepath.Ext(name))
	for _, f := range formats() {
		if slices.Contains(f.exts, ext) {
			return f
		}
	}
	return nil
}

// sniffLen is how much of a file its kind is told from.
const sniffLen = 512

// signatures tell kinds of files by their first bytes; '?' stands for any byte. Those that are no format's name are
// there to say what a refused file is.
var signatures = [...]struct{ prefix, kind string }{
	{"\x89PNG\r\n\x1a\n", "PNG"},
	{"\xff\xd8\xff", "JPEG"},
	{"II*\x00", "TIFF"},
	{"MM\x00*", "TIFF"},
	{"II+\x00", bigTIFF},
	{"MM\x00+", bigTIFF},
	{"BM????\x00\x00\x00\x00", "BMP"},
	{"RIFF????WEBPVP8X\x0a\x00\x00\x00\x02", "animated WebP"},
	{"RIFF????WEBPVP8X\x0a\x00\x00\x00\x12", "animated WebP"},
	{"RIFF????WEBP", "WebP"},
	{"GIF8", "GIF"},
	{"%PDF-", "PDF"},
	{"PK\x03\x04", "ZIP"},
	{"\x1f\x8b", "gzip"},
	{"8BPS", "Photoshop"},
	{"????ftyp", "HEIF or MP4"},
	{"\xff\x0a", "JPEG XL"},
	{"\x00\x00\x00\x0cJXL ", "JPEG XL"},
	{"\x00\x00\x00\x0cjP  ", "JPEG 2000"},
}

// sniff tells the format by content, and notes where the name says another.
func sniff(name string, r io.ReaderAt) (*format, []string, error) {
	head := make([]byte, sniffLen)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	if n == 0 {
		return nil, nil, fmt.Errorf("%w: empty file", ErrFormat)
	}
	kind := kindOf(head[:n])
	named := byName(name)
	for _, f := range formats() {
		if f.name != kind {
			continue
		}
		if named != nil && named.name != kind {
			return f, []string{fmt.Sprintf("named %s but holds %s data", filepath.Ext(name), kind)}, nil
		}
		return f, nil, nil
	}
	if kind == bigTIFF {
		return nil, nil, fmt.Errorf("%w: BigTIFF", ErrUnsupported)
	}
	return nil, nil, fmt.Errorf("%w: holds %s data", ErrFormat, kind)
}

const bigTIFF = "BigTIFF"

func kindOf(head []byte) string {
	for _, s := range signatures {
		if len(head) < len(s.prefix) {
			continue
		}
		same := true
		for i := range len(s.prefix) {
			same = same && (s.prefix[i] == '?' || s.prefix[i] == head[i])
		}
		if same {
			return s.kind
		}
	}
	for cut := 0; cut < utf8.UTFMax && cut < len(head); cut++ { // a character may be cut in two
		if text := string(head[:len(head)-cut]); utf8.ValidString(text) && !strings.ContainsRune(text, 0) {
			return "text"
		}
	}
	return "unknown"
}

// Recognized reports whether data begins as a file of one of the formats does.
func Recognized(data []byte) bool {
	kind := kindOf(data[:min(len(data), sniffLen)])
	return slices.ContainsFunc(formats(), func(f *format) bool { return f.name == kind })
}
