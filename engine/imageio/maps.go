package imageio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// mapHeader is the size of everything before a map's pixels.
const mapHeader = 152

// tiffHeader is the beginning of a TIFF file of one h x w band of floats of so many bits: header and directory, padded with zeros.
func tiffHeader(h, w, bits int) []byte {
	const short, long = 3, 4
	le := binary.LittleEndian
	entries := [][3]uint32{ // tag, type, value
		{256, long, uint32(w)},
		{257, long, uint32(h)},
		{258, short, uint32(bits)},            // bits per sample
		{259, short, 1},                       // no compression
		{262, short, 1},                       // black is zero
		{273, long, mapHeader},                // the one strip's offset
		{277, short, 1},                       // samples per pixel
		{278, long, uint32(h)},                // rows per strip
		{279, long, uint32(bits / 8 * h * w)}, // the one strip's bytes
		{339, short, 3},                       // IEEE floats
	}
	head := le.AppendUint32([]byte("II*\x00"), 8)
	head = le.AppendUint16(head, uint16(len(entries)))
	for _, e := range entries {
		head = le.AppendUint16(head, uint16(e[0]))
		head = le.AppendUint16(head, uint16(e[1]))
		head = le.AppendUint32(head, 1)
		head = le.AppendUint32(head, e[2])
	}
	return append(head, make([]byte, mapHeader-len(head))...)
}

// WriteMap is EncodeMap into a file, atomically.
func WriteMap(path string, m *tensor.Dense) error { return writeMap(path, m, EncodeMap) }

// WriteHalfMap is WriteMap in float16: values are rounded to 11 bits, the nearest or of two the even one, and those beyond ±65504 become that.
func WriteHalfMap(path string, m *tensor.Dense) error {
	return writeMap(path, m, func(out io.Writer, m *tensor.Dense) error {
		return encodeMap(out, m, 16, func(row []byte, v float32) []byte { return binary.LittleEndian.AppendUint16(row, half(v)) })
	})
}

func writeMap(path string, m *tensor.Dense, encode func(io.Writer, *tensor.Dense) error) error {
	if err := checkMap(m); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return artifact.WriteFileAtomic(path, func(out io.Writer) error { return encode(out, m) })
}

// EncodeMap writes m [H,W] as a float32 TIFF of one band, uncompressed. Maps of 4 GiB and more are refused.
func EncodeMap(out io.Writer, m *tensor.Dense) error {
	return encodeMap(out, m, 32, func(row []byte, v float32) []byte { return binary.LittleEndian.AppendUint32(row, math.Float32bits(v)) })
}

func encodeMap(out io.Writer, m *tensor.Dense, bits int, add func(row []byte, v float32) []byte) error {
	if err := checkMap(m); err != nil {
		return err
	}
	h, w := m.Shape()[0], m.Shape()[1]
	if _, err := out.Write(tiffHeader(h, w, bits)); err != nil {
		return err
	}
	row := make([]byte, 0, bits/8*w)
	for y := range h {
		row = row[:0]
		for _, v := range nd.Data(m)[y*w:][:w] {
			row = add(row, v)
		}
		if _, err := out.Write(row); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(m *tensor.Dense) error {
	if err := nd.Check("map", m, -1, -1); err != nil {
		return err
	}
	if h, w := m.Shape()[0], m.Shape()[1]; uint64(h)*uint64(w) > (math.MaxUint32-mapHeader)/4 {
		return fmt.Errorf("%d x %d values do not fit into a TIFF file", w, h)
	}
	return nil
}

// half is a float32 as float16 (IEEE 754 binary16).
func half(v float32) uint16 {
	const maxHalf, leastNormal = 65504, 0x1p-14
	bits := math.Float32bits(v)
	sign, size := uint16(bits>>16)&0x8000, math.Abs(float64(v))
	switch {
	case size != size:
		return sign | 0x7e00
	case size > maxHalf:
		return sign | 0x7bff
	case size < leastNormal:
		return sign | uint16(math.RoundToEven(size*0x1p24)) // in units of the least, up to the least normal one
	}
	rounded := bits&0x7fffffff + 0xfff + bits>>13&1 // which may carry into the exponent
	return sign | uint16(rounded>>13-(127-15)<<10)
}

// ReadMap reads a map [H,W] that WriteMap wrote; other TIFF files give ErrFormat, incomplete ones ErrCorrupt.
func ReadMap(path string) (*tensor.Dense, error) {
	f, info, err := openfile.Regular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, mapHeader)
	if _, err := io.ReadFull(f, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return nil, err
	}
	w, h := int(binary.LittleEndian.Uint32(head[18:])), int(binary.LittleEndian.Uint32(head[30:]))
	if h < 1 || w < 1 || string(head) != string(tiffHeader(h, w, 32)) {
		return nil, fmt.Errorf("%s: %w: not a map of this program", path, ErrFormat)
	}
	if want := mapHeader + 4*int64(h)*int64(w); info.Size() != want {
		return nil, fmt.Errorf("%s: %w: %d bytes, want %d", path, ErrCorrupt, info.Size(), want)
	}
	raw := make([]byte, 4*w)
	m := nd.New(h, w)
	for y := range h {
		if _, err := io.ReadFull(f, raw); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for x := range w {
			nd.Data(m)[y*w+x] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*x:]))
		}
	}
	return m, nil
}

// WriteMask writes where m [H,W] exceeds the threshold, as an 8-bit grey PNG of 0 and 255, atomically.
func WriteMask(path string, m *tensor.Dense, threshold float64) error {
	if err := nd.Check("mask", m, -1, -1); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return WriteMarks(path, above(m, threshold), m.Shape()[0], m.Shape()[1])
}

// WriteMarks is EncodeMarks into a file, atomically.
func WriteMarks(path string, mask []bool, h, w int) error {
	img, err := picture(mask, h, w)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return WritePNG(path, img)
}

// EncodeMarks writes a mask [h,w] as an 8-bit grey PNG of 0 and 255.
func EncodeMarks(out io.Writer, mask []bool, h, w int) error {
	img, err := picture(mask, h, w)
	if err != nil {
		return err
	}
	return png.Encode(out, img)
}

func picture(mask []bool, h, w int) (*image.Gray, error) {
	if len(mask) != h*w {
		return nil, fmt.Errorf("mask of %d values for %d x %d pixels", len(mask), w, h)
	}
	img := image.NewGray(image.Rect(0, 0, w, h))
	for i, on := range mask {
		if on {
			img.Pix[i] = 255
		}
	}
	return img, nil
}

// ReadMarks reads a mask [h,w] that WriteMarks wrote; other images give ErrFormat, incomplete ones ErrCorrupt.
func ReadMarks(path string) (mask []bool, h, w int, err error) {
	err = readMarks(path, func(f *os.File) error {
		img, err := png.Decode(bufio.NewReader(f))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		grey, ok := img.(*image.Gray) // it may be transparent
		if !ok {
			return errNoMask
		}
		w, h = grey.Rect.Dx(), grey.Rect.Dy()
		mask = make([]bool, h*w)
		for y := range h {
			for x, v := range grey.Pix[y*grey.Stride:][:w] {
				if v != 0 && v != 255 {
					return errNoMask
				}
				mask[y*w+x] = v == 255
			}
		}
		return nil
	})
	return mask, h, w, err
}

var errNoMask = fmt.Errorf("%w: not a mask of this program", ErrFormat)

// MarksSize is the height and width of a mask that WriteMarks wrote; of the file, only the beginning is read.
func MarksSize(path string) (h, w int, err error) {
	var c image.Config
	err = readMarks(path, func(f *os.File) error { c, err = png.DecodeConfig(f); return err })
	return c.Height, c.Width, err
}

// readMarks calls read with a file that begins as WriteMarks' do, from its beginning.
func readMarks(path string, read func(f *os.File) error) error {
	f, _, err := openfile.Regular(path)
	if err != nil {
		return artifact.Worded(err)
	}
	defer f.Close()
	c, err := png.DecodeConfig(f)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	} else if c.ColorModel != color.GrayModel {
		err = errNoMask
	} else if err = (Limits{MinSide: 1}).Check(c.Width, c.Height); err == nil {
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			err = read(f)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func above(m *tensor.Dense, threshold float64) []bool {
	mask := make([]bool, len(nd.Data(m)))
	for i, v := range nd.Data(m) {
		mask[i] = float64(v) > threshold
	}
	return mask
}

// ReadMask reads a ground truth [H,W] of 0 and 1 from an image of any supported format: 1 where any channel is brighter
// than half (above 127 of 255).
func ReadMask(path string, lim Limits) (*tensor.Dense, error) {
	im, err := Decode(path, lim)
	if err != nil {
		return nil, err
	}
	h, w := im.Size()
	mask := nd.New(h, w)
	for i, v := range nd.Data(im.Pix) {
		if v > 0.5 {
			nd.Data(mask)[i%(h*w)] = 1
		}
	}
	return mask, nil
}

// WritePNG writes img as a PNG file, atomically.
func WritePNG(path string, img image.Image) error {
	return artifact.WriteFileAtomic(path, func(out io.Writer) error { return png.Encode(out, img) })
}
