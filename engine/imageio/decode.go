package imageio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// What an error of Decode wraps, unless it comes from the operating system.
var (
	ErrFormat   = errors.New("not a supported image") // empty, of another kind, or not of the kind its name says
	ErrCorrupt  = errors.New("corrupt image")         // truncated or broken, or a rare variant of its format
	ErrTooLarge = errors.New("image too large")
	ErrTooSmall = errors.New("image too small")
)

// Limits bound what is decoded. They are checked against the header, before pixels are allocated.
type Limits struct {
	MaxPixels int // default 2^27, about 11,500 x 11,500
	MinSide   int // default 8
}

// Defaults of Limits.
const (
	DefaultMaxPixels = 1 << 27
	DefaultMinSide   = 8
)

func (l Limits) check(w, h int) error {
	if l.MaxPixels == 0 {
		l.MaxPixels = DefaultMaxPixels
	}
	if l.MinSide == 0 {
		l.MinSide = DefaultMinSide
	}
	if min(w, h) < l.MinSide {
		return fmt.Errorf("%w: %d x %d pixels, at least %d x %d are needed", ErrTooSmall, w, h, l.MinSide, l.MinSide)
	}
	if w > l.MaxPixels/h {
		return fmt.Errorf("%w: %d x %d pixels, at most %d are allowed", ErrTooLarge, w, h, l.MaxPixels)
	}
	return nil
}

// format is a supported image format; decoders of third parties are called nowhere else.
type format struct {
	name   string
	exts   []string
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

func formats() []*format {
	return []*format{
		{"PNG", []string{".png"}, png.DecodeConfig, png.Decode},
		{"JPEG", []string{".jpg", ".jpeg"}, jpeg.DecodeConfig, jpeg.Decode},
		{"TIFF", []string{".tif", ".tiff"}, tiff.DecodeConfig, tiff.Decode},
		{"BMP", []string{".bmp"}, bmp.DecodeConfig, bmp.Decode},
		{"WebP", []string{".webp"}, webp.DecodeConfig, webp.Decode},
	}
}

// Decode reads a PNG, JPEG, TIFF, BMP or WebP file of 8 or 16 bits per sample: grey, palette, RGB, YCbCr or CMYK. The
// format is told by the content; if the name ends in an extension of a supported format, the two must agree. Of several
// pages the first is read. Alpha is ignored: colours are taken as they are without it (premultiplied ones divided by it).
// Samples are scaled to [0,1] and nothing more: colour profiles and gamma are not applied. Errors read "path: reason".
func Decode(path string, lim Limits) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, ErrFormat)
	}
	return decode(path, io.NewSectionReader(f, 0, info.Size()), lim)
}

// DecodeBytes is Decode for a file's content; name is for the extension, if it has one, and for messages.
func DecodeBytes(name string, data []byte, lim Limits) (*Image, error) {
	return decode(name, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), lim)
}

func decode(name string, r *io.SectionReader, lim Limits) (im *Image, err error) {
	defer func() { // what a decoder does to hostile input ends here
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: its decoder failed: %v", ErrCorrupt, p)
		}
		if err != nil {
			im, err = nil, fmt.Errorf("%s: %w", name, err)
		}
	}()
	f, err := sniff(name, r)
	if err != nil {
		return nil, err
	}
	cfg, err := f.config(f.reader(r))
	if err != nil {
		return nil, corrupt(err)
	}
	if err := lim.check(cfg.Width, cfg.Height); err != nil {
		return nil, err
	}
	std, err := f.decode(f.reader(r))
	if err != nil {
		return nil, corrupt(err)
	}
	return upright(fromImage(std, f.name == "WebP"), orientation(f, r)), nil
}

// reader starts a new pass over the file. TIFF's decoder jumps about in it; the others read it once, in small steps.
func (f *format) reader(r *io.SectionReader) io.Reader {
	r = io.NewSectionReader(r, 0, r.Size())
	if f.name == "TIFF" {
		return r
	}
	return bufio.NewReader(r)
}

func corrupt(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: truncated", ErrCorrupt)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
