package imageio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"runtime"
	"slices"

	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/nd"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// What an error of Decode wraps, unless it comes from the operating system.
var (
	ErrFormat   = errors.New("not a supported image") // empty, or of another kind
	ErrCorrupt  = errors.New("corrupt image")         // truncated or broken
	ErrTooLarge = errors.New("image too large")       // or too much work
	ErrTooSmall = errors.New("image too small")
	// ErrUnsupported is a sound file, as far as can be seen, of a variant of its format that is not read.
	ErrUnsupported = errors.New("unsupported image")
)

// Limits bound what is decoded. They are checked against the header, before pixels are allocated.
type Limits struct {
	MaxPixels int   // default 2^27, about 11,500 x 11,500
	MinSide   int   // default 8
	MaxBytes  int64 // that are allocated while an image is decoded (Need); default 1 GiB, which is 2^26 pixels of colour in 8 bits
}

// Defaults of Limits.
const (
	DefaultMaxPixels = 1 << 27
	DefaultMinSide   = 8
	DefaultMaxBytes  = 1 << 30
)

// Check refuses sides (ErrTooSmall) and numbers of pixels (ErrTooLarge) that the limits do not allow.
func (l Limits) Check(w, h int) error {
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

// room says whether an image may take what it needs.
func (l Limits) room(n Need) error {
	if most := l.maxBytes(); n.Bytes > most {
		const mib = 1 << 20
		return fmt.Errorf("%w: %d x %d pixels take %d MiB of memory while they are decoded, at most %d are allowed",
			ErrTooLarge, n.Width, n.Height, (n.Bytes+mib-1)/mib, most/mib)
	}
	return nil
}

func (l Limits) maxBytes() int64 {
	if l.MaxBytes == 0 {
		return DefaultMaxBytes
	}
	return l.MaxBytes
}

// format is a supported image format; decoders of third parties are called nowhere else.
type format struct {
	name   string
	exts   []string
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
	exif   func(*io.SectionReader) (*io.SectionReader, error) // the EXIF block of a file, nil if it has none
}

func formats() []*format {
	return []*format{
		{"PNG", []string{".png"}, png.DecodeConfig, png.Decode, exifOfPNG},
		{"JPEG", []string{".jpg", ".jpeg"}, jpeg.DecodeConfig, jpeg.Decode, exifOfJPEG},
		{"TIFF", []string{".tif", ".tiff"}, tiff.DecodeConfig, tiff.Decode, exifOfTIFF},
		{"BMP", []string{".bmp"}, bmp.DecodeConfig, bmp.Decode, noEXIF},
		{"WebP", []string{".webp"}, webp.DecodeConfig, webp.Decode, exifOfWebP},
	}
}

// Decode reads a PNG, JPEG, TIFF, BMP or WebP file of 8 or 16 bits per sample: grey, palette, RGB, YCbCr or CMYK. The
// format is told by the content, whatever the name. Of several pages the first is read. Alpha is ignored: colours are taken
// as they are without it (premultiplied ones divided by it). Samples are scaled to [0,1] by what their bits can say and nothing more (see SetWhite): colour profiles
// and gamma are not applied. A broken EXIF block counts as none. What is odd about a file that is read all the same is in
// the image's Notes. Errors read "path: reason".
//
// Cost: the larger of what the file says in pixels and its bytes; it does not wait for what is not a regular file. Memory:
// see Need.
func Decode(path string, lim Limits) (*Image, error) { return DecodeWith(path, lim, nil) }

// Need is what decoding an image takes.
type Need struct {
	Height, Width int   // of the image, upright
	Bytes         int64 // that are allocated while it is decoded, at most; its pixels among them
}

// DecodeWith is Decode that asks before it allocates: an error of reserve, which may wait until there is room, is the image's.
func DecodeWith(path string, lim Limits, reserve func(Need) error) (*Image, error) {
	return decodeFile(path, lim, reserve, nil)
}

// DecodeVisible is DecodeWith that also says which pixels are more than half opaque, row by row as in the upright image; nil where
// all are equally so, as in a file without alpha.
func DecodeVisible(path string, lim Limits, reserve func(Need) error) (im *Image, visible []bool, err error) {
	im, err = decodeFile(path, lim, reserve, func(std image.Image, orient int) { visible = visibleIn(std, orient) })
	if err != nil {
		return nil, nil, err
	}
	return im, visible, nil
}

func decodeFile(path string, lim Limits, reserve func(Need) error, look func(std image.Image, orient int)) (*Image, error) {
	f, info, err := openfile.Regular(path)
	if errors.Is(err, openfile.ErrNotRegular) {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, ErrFormat)
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	return decode(path, io.NewSectionReader(f, 0, info.Size()), 0, lim, reserve, look)
}

// DecodeFrom is DecodeWith for what is open already; name is for its extension, if it has one, and for messages. What cannot be
// read at any place (io.ReaderAt) is read into memory first, which counts in its Need: no more than Limits.MaxBytes.
func DecodeFrom(name string, f fs.File, lim Limits, reserve func(Need) error) (*Image, error) {
	if at, ok := f.(io.ReaderAt); ok {
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return decode(name, io.NewSectionReader(at, 0, info.Size()), 0, lim, reserve, nil)
	}
	most := lim.maxBytes()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	n := int64(len(data))
	if n > most {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrTooLarge, most)
	}
	return decode(name, io.NewSectionReader(bytes.NewReader(data), 0, n), n, lim, reserve, nil)
}

// DecodeBytes is Decode for a file's content; name is for its extension, if it has one, and for messages.
func DecodeBytes(name string, data []byte, lim Limits) (*Image, error) {
	return decode(name, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), 0, lim, nil, nil)
}

// decode decodes what takes held bytes itself; look, if not nil, is shown the decoder's image and its EXIF orientation.
func decode(name string, r *io.SectionReader, held int64, lim Limits, reserve func(Need) error, look func(std image.Image, orient int)) (im *Image, err error) {
	defer func() { // what a decoder does to hostile input ends here
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: its decoder failed: %v", ErrCorrupt, p)
		}
		if err != nil {
			im, err = nil, fmt.Errorf("%s: %w", name, err)
		}
	}()
	f, notes, err := sniff(name, r)
	if err != nil {
		return nil, err
	}
	var d *directory
	if f.name == "TIFF" {
		if d, err = firstDirectory(r); err == nil { // otherwise the decoder says what is wrong
			if err := d.readable(); err != nil {
				return nil, err
			}
			if n := d.pages(); n > 1 {
				notes = append(notes, fmt.Sprintf("the first of %d pages is read", n))
			}
		}
	}
	cfg, err := f.config(f.reader(r))
	if err != nil {
		return nil, corrupt(err)
	}
	if err := lim.Check(cfg.Width, cfg.Height); err != nil {
		return nil, err
	}
	progressive := false
	if f.name == "JPEG" {
		if progressive, err = checkScans(r, cfg.Width*cfg.Height); err != nil {
			return nil, err
		}
	}
	orient, err := orientation(f, r)
	if err != nil {
		notes = append(notes, fmt.Sprintf("its EXIF block is broken (%v): it is taken as upright", err))
	}
	buffers := int64(0)
	switch {
	case progressive:
		buffers = 4 * pixelBytes(cfg) * int64(cfg.Width) * int64(cfg.Height) // a coefficient for each sample
		if cfg.ColorModel == color.RGBAModel || cfg.ColorModel == color.CMYKModel {
			buffers += pixelBytes(cfg) * int64(cfg.Width) * int64(cfg.Height) // made of samples that are kept apart
		}
	case f.name == "TIFF":
		buffers = d.buffer(cfg.Width, cfg.Height, r.Size())
	case f.name == "WebP":
		buffers = pixelBytes(cfg) * int64(cfg.Width) * int64(cfg.Height)
	}
	need := needOf(cfg, buffers, orient)
	need.Bytes += held
	if look != nil {
		need.Bytes += int64(cfg.Width) * int64(cfg.Height)
	}
	if err := lim.room(need); err != nil {
		return nil, err
	}
	if reserve != nil {
		if err := reserve(need); err != nil {
			return nil, err
		}
	}
	std, err := f.decode(f.reader(r))
	if err != nil {
		return nil, corrupt(err)
	}
	if look != nil {
		look(std, orient)
	}
	if need.Bytes > sweep {
		runtime.GC() // what the decoder leaves is not kept beside the planes
	}
	im = fromImage(std, f.name == "WebP", orient)
	im.Notes = notes
	if im.Depth == 16 {
		im.Peak = int(slices.Max(nd.Data(im.Pix))*MaxWhite + 0.5)
	}
	return im, nil
}

// sweep is how much an image must need for memory to be swept on its way.
const sweep = 1 << 29

// pixelBytes is what the decoder's image takes per pixel.
func pixelBytes(cfg image.Config) int64 {
	switch cfg.ColorModel {
	case color.GrayModel:
		return 1
	case color.Gray16Model:
		return 2
	case color.YCbCrModel:
		return 3
	case color.RGBAModel, color.NRGBAModel, color.CMYKModel, color.NYCbCrAModel:
		return 4
	}
	if _, ok := cfg.ColorModel.(color.Palette); ok {
		return 1
	}
	return 8
}

// needOf estimates what decoding takes: the decoder's image with the buffers that it is made of, or with the planes of float32.
func needOf(cfg image.Config, buffers int64, orient int) Need {
	planes := int64(3)
	if cfg.ColorModel == color.GrayModel || cfg.ColorModel == color.Gray16Model {
		planes = 1
	}
	pixels := int64(cfg.Width) * int64(cfg.Height)
	h, w := upright(orient, cfg.Height, cfg.Width)
	return Need{Height: h, Width: w, Bytes: pixels*pixelBytes(cfg) + max(buffers, pixels*4*planes)}
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
	var (
		ofTIFF tiff.UnsupportedError
		ofJPEG jpeg.UnsupportedError
		ofPNG  png.UnsupportedError
	)
	if errors.As(err, &ofTIFF) || errors.As(err, &ofJPEG) || errors.As(err, &ofPNG) || errors.Is(err, bmp.ErrUnsupported) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
