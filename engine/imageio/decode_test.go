package imageio

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// pixels are samples as testdata/gen_images.py records them.
type pixels struct {
	Shape []int  `json:"shape"`
	Data  []byte `json:"data"`
}

// planes returns the samples as [C,H,W] in [0,1], and their depth.
func (p pixels) planes() (shape []int, data []float32, depth int) {
	h, w, c := p.Shape[0], p.Shape[1], 1
	if len(p.Shape) == 3 {
		c = p.Shape[2]
	}
	data, depth = make([]float32, c*h*w), 8*len(p.Data)/(c*h*w)
	for i := range data {
		at := (i/c)*1 + (i%c)*h*w
		if depth == 16 {
			data[at] = float32(binary.LittleEndian.Uint16(p.Data[2*i:])) / 65535
		} else {
			data[at] = float32(p.Data[i]) / 255
		}
	}
	return []int{c, h, w}, data, depth
}

func golden(t *testing.T) map[string]pixels {
	t.Helper()
	raw, err := os.ReadFile("testdata/pillow.json")
	require.NoError(t, err)
	var want map[string]pixels
	require.NoError(t, json.Unmarshal(raw, &want))
	return want
}

// lossless files hold the very samples; the quotients are rounded to float32 in one way or another.
var lossless = compare.Tolerance{Abs: 1e-7}

// lossy decoders may differ by their inverse transform, chroma upsampling and colour matrix: about a step of 8 bits each.
var lossy = compare.Tolerance{Abs: 3.01 / 255}

func TestDecodeAgreesWithPillow(t *testing.T) {
	want := golden(t)
	require.Greater(t, len(want), 20)
	for name, p := range want {
		im, err := Decode(filepath.Join("testdata", name), Limits{})
		require.NoError(t, err, name)
		shape, data, depth := p.planes()
		require.Equal(t, shape, []int(im.Pix.Shape()), name)
		require.Equal(t, depth, im.Depth, name)
		require.Equal(t, shape[0] == 1, im.IsGrey(), name)
		tol := lossless
		if strings.HasSuffix(name, ".jpg") || name == "lossy.webp" {
			tol = lossy
		}
		compare.Require(t, name, nd.Data(im.Pix), data, tol)
	}
}

func TestRGB(t *testing.T) {
	grey, err := Decode("testdata/grey.png", Limits{})
	require.NoError(t, err)
	h, w := grey.Size()
	require.Equal(t, []int{12, 17}, []int{h, w})
	rgb := grey.RGB()
	require.Equal(t, []int{3, h, w}, []int(rgb.Shape()))
	for c := range 3 {
		require.Equal(t, nd.Data(grey.Pix), nd.Data(rgb)[c*h*w:(c+1)*h*w])
	}
	colour, err := Decode("testdata/rgb.bmp", Limits{})
	require.NoError(t, err)
	require.Same(t, colour.Pix, colour.RGB())
}

// TestFromImageAgreesWithTheGenericPath reads images of every standard type, whose origin is not (0,0), both by the code
// for the type and pixel by pixel.
func TestFromImageAgreesWithTheGenericPath(t *testing.T) {
	src, err := Decode("testdata/lossy.webp", Limits{})
	require.NoError(t, err)
	rect := image.Rect(-3, 5, 8, 12)
	palette := color.Palette{color.Black, color.White, color.RGBA{200, 10, 30, 255}, color.RGBA{20, 10, 5, 40}, color.Gray{90}}
	ycc := image.NewYCbCr(image.Rect(-4, 4, 10, 14), image.YCbCrSubsampleRatio420)
	for i := range ycc.Y {
		ycc.Y[i] = uint8(37 * i)
	}
	for i := range ycc.Cb {
		ycc.Cb[i], ycc.Cr[i] = uint8(91*i), uint8(53*i)
	}
	withAlpha := image.NewNYCbCrA(ycc.Rect, ycc.SubsampleRatio)
	copy(withAlpha.Y, ycc.Y)
	copy(withAlpha.Cb, ycc.Cb)
	copy(withAlpha.Cr, ycc.Cr)
	for i := range withAlpha.A {
		withAlpha.A[i] = 255
	}
	cmyk := image.NewCMYK(rect)
	for i := range cmyk.Pix {
		cmyk.Pix[i] = uint8(41 * i)
	}
	drawn := []draw.Image{
		image.NewGray(rect), image.NewGray16(rect), image.NewRGBA(rect), image.NewRGBA64(rect), image.NewNRGBA(rect),
		image.NewNRGBA64(rect), image.NewPaletted(rect, palette),
	}
	images := []image.Image{ycc.SubImage(rect), withAlpha.SubImage(rect), cmyk}
	for i, img := range drawn {
		opacity := image.NewUniform(color.Alpha{255})
		if i >= 2 {
			opacity = image.NewUniform(color.Alpha{130})
		}
		draw.DrawMask(img, rect, src.RGBA(), image.Point{2, 1}, opacity, image.Point{}, draw.Src)
		images = append(images, img)
	}
	for _, img := range images {
		name := fmt.Sprintf("%T", img)
		got, want := FromImage(img), FromImage(struct{ image.Image }{img})
		require.Equal(t, want.Pix.Shape(), got.Pix.Shape(), name)
		tol := compare.Tolerance{Abs: 2.5 / 65535} // two roundings to 16 bits and one on the way
		if strings.Contains(name, "YC") || strings.Contains(name, "CMYK") {
			tol.Abs = 1.01 / 255 // At computes with 16 bits, decoders with 8
		}
		compare.Require(t, name, nd.Data(got.Pix), nd.Data(want.Pix), tol)
		depth := 8
		if strings.Contains(name, "64") || strings.Contains(name, "16") {
			depth = 16
		}
		require.Equal(t, depth, got.Depth, name)
	}
}

func TestFromImageWhiteIsOne(t *testing.T) {
	rect := image.Rect(0, 0, 8, 8)
	ycc := image.NewNYCbCrA(rect, image.YCbCrSubsampleRatio444)
	for i := range ycc.Y {
		ycc.Y[i], ycc.Cb[i], ycc.Cr[i] = 255, 128, 128
	}
	images := []image.Image{ycc, &ycc.YCbCr, image.NewCMYK(rect)}
	for _, img := range []draw.Image{
		image.NewGray(rect), image.NewGray16(rect), image.NewRGBA(rect), image.NewRGBA64(rect), image.NewNRGBA(rect),
		image.NewNRGBA64(rect), image.NewPaletted(rect, color.Palette{color.White}),
	} {
		draw.Draw(img, rect, image.White, image.Point{}, draw.Src)
		images = append(images, img)
	}
	ones := make([]float32, 64)
	for i := range ones {
		ones[i] = 1
	}
	for _, img := range images {
		im := FromImage(img)
		require.True(t, im.IsGrey(), "%T", img)
		require.Equal(t, ones, nd.Data(im.Pix), "%T", img)
	}
}

func TestFromImageUndoesAlpha(t *testing.T) {
	img := image.NewRGBA(image.Rect(0, 0, 3, 1))
	copy(img.Pix, []uint8{50, 100, 25, 100, 90, 0, 0, 0, 80, 20, 0, 40}) // the last two are no sound premultiplied colours
	require.Equal(t, []float32{0.5, 0, 1, 1, 0, 0.5, 0.25, 0, 0}, nd.Data(FromImage(img).Pix))
}

func TestStudioRange(t *testing.T) {
	clip := func(v float64) float64 { return min(max(v, 0), 255) }
	for i := range 1 << 15 { // every eighth level of each sample
		y, cb, cr := uint8(i>>10<<3), uint8(i>>5<<3), uint8(i<<3)
		r, g, b := studioToRGB(y, cb, cr)
		l, u, v := (float64(y)-16)/219*255, (float64(cb)-128)/224*255, (float64(cr)-128)/224*255
		want := []float64{clip(l + 1.402*v), clip(l - 0.714136*v - 0.344136*u), clip(l + 1.772*u)}
		_, err := compare.Close([]float64{float64(r), float64(g), float64(b)}, want, compare.Tolerance{Abs: 0.51}) // rounding
		require.NoError(t, err, "%d %d %d", y, cb, cr)
	}
}

func TestRGBARoundTrip(t *testing.T) {
	im, err := Decode("testdata/rgb.bmp", Limits{})
	require.NoError(t, err)
	require.Equal(t, nd.Data(im.Pix), nd.Data(FromImage(im.RGBA()).Pix))
	out := (&Image{Pix: nd.Wrap([]float32{-0.5, 1.5}, 1, 1, 2)}).RGBA()
	require.Equal(t, []uint8{0, 0, 0, 255, 255, 255, 255, 255}, out.Pix)
}

// encoded returns a w x h image in every format that Go can write.
func encoded(t *testing.T, w, h int) map[string][]byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{uint8(x * 7), uint8(y * 5), uint8(x*y*3 + 40), 255})
		}
	}
	out := map[string][]byte{}
	add := func(name string, encode func(io.Writer) error) {
		var buf bytes.Buffer
		require.NoError(t, encode(&buf))
		out[name] = buf.Bytes()
	}
	add("x.png", func(w io.Writer) error { return png.Encode(w, img) })
	add("x.jpg", func(w io.Writer) error { return jpeg.Encode(w, img, nil) })
	add("x.bmp", func(w io.Writer) error { return bmp.Encode(w, img) })
	add("x.tif", func(w io.Writer) error { return tiff.Encode(w, img, nil) })
	add("y.tif", func(w io.Writer) error { return tiff.Encode(w, img, &tiff.Options{Compression: tiff.Deflate}) })
	return out
}

func TestDecodeGoesByContentAndName(t *testing.T) {
	for name, data := range encoded(t, 9, 8) {
		for _, as := range []string{name, strings.ToUpper(name), "x", "x.dat", "x.gif"} {
			im, err := DecodeBytes(as, data, Limits{})
			require.NoError(t, err, as)
			require.Equal(t, []int{3, 8, 9}, []int(im.Pix.Shape()))
			require.Empty(t, im.Notes)
		}
		im, err := DecodeBytes("mislabelled.webp", data, Limits{})
		require.NoError(t, err)
		require.Equal(t, []int{3, 8, 9}, []int(im.Pix.Shape()))
		kind := map[string]string{".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".tif": "TIFF"}[filepath.Ext(name)]
		require.Equal(t, []string{"named .webp but holds " + kind + " data"}, im.Notes)
	}
	for _, name := range []string{"a.png", "b/c.JPG", "a.jpeg", "a.tif", "a.TIFF", "a.bmp", "a.webp"} {
		require.True(t, Supported(name), name)
	}
	for _, name := range []string{"a.gif", "png", "a.png.txt", "a."} {
		require.False(t, Supported(name), name)
	}
}

func TestDecodeSaysWhatAFileIs(t *testing.T) {
	var still bytes.Buffer
	require.NoError(t, gif.Encode(&still, image.NewGray(image.Rect(0, 0, 9, 9)), nil))
	animated, err := os.ReadFile("testdata/animated.webp")
	require.NoError(t, err)
	for data, want := range map[string]string{
		"":                                    "empty file",
		"hello, world\n":                      "holds text data",
		strings.Repeat("a", sniffLen-1) + "ü": "holds text data",
		"\x00\x01\x02":                        "holds unknown data",
		"\xff\xfe":                            "holds unknown data",
		"%PDF-1.7\n":                          "holds PDF data",
		"PK\x03\x04\x14\x00":                  "holds ZIP data",
		"\x1f\x8b\x08\x00":                    "holds gzip data",
		"8BPS\x00\x01":                        "holds Photoshop data",
		"\x00\x00\x00\x1cftypheic":            "holds HEIF or MP4 data",
		"\xff\x0a\x00":                        "holds JPEG XL data",
		"\x00\x00\x00\x0cJXL \x0d\x0a":        "holds JPEG XL data",
		"\x00\x00\x00\x0cjP  \x0d\x0a":        "holds JPEG 2000 data",
		still.String():                        "holds GIF data",
		string(animated):                      "holds animated WebP data",
		"GIF8":                                "holds GIF data",
		"BMW\n":                               "holds text data",
	} {
		_, err := DecodeBytes("x.png", []byte(data), Limits{})
		require.ErrorIs(t, err, ErrFormat)
		require.EqualError(t, err, "x.png: not a supported image: "+want)
	}
}

func TestDecodeReportsFiles(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent.png")
	_, err := Decode(absent, Limits{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.True(t, strings.HasPrefix(err.Error(), absent+": "), err.Error())
	_, err = Decode(dir, Limits{})
	require.EqualError(t, err, dir+": not a supported image: not a regular file")
}

// withSize changes the dimensions in a file's header.
func withSize(t *testing.T, name string, data []byte, w, h int) []byte {
	t.Helper()
	data = bytes.Clone(data)
	le, be := binary.LittleEndian, binary.BigEndian
	switch name {
	case "x.png":
		be.PutUint32(data[16:], uint32(w))
		be.PutUint32(data[20:], uint32(h))
		be.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	case "x.jpg":
		at := bytes.Index(data, []byte{0xff, 0xc0})
		be.PutUint16(data[at+5:], uint16(h))
		be.PutUint16(data[at+7:], uint16(w))
	case "x.bmp":
		le.PutUint32(data[18:], uint32(w))
		le.PutUint32(data[22:], uint32(h))
	default:
		dir := data[le.Uint32(data[4:]):]
		for e := dir[2:]; len(e) >= 12; e = e[12:] {
			switch size := map[uint16]int{256: w, 257: h}[le.Uint16(e)]; {
			case size == 0:
			case le.Uint16(e[2:]) == 3:
				le.PutUint16(e[8:], uint16(size))
			default:
				le.PutUint32(e[8:], uint32(size))
			}
		}
	}
	return data
}

func TestDecodeChecksTheHeaderBeforeItAllocates(t *testing.T) {
	for name, data := range encoded(t, 9, 8) {
		huge := withSize(t, name, data, 20000, 20000)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeBytes(name, huge, Limits{})
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ErrTooLarge, name)
		require.EqualError(t, err, name+": image too large: 20000 x 20000 pixels, at most 134217728 are allowed")
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)

		_, err = DecodeBytes(name, data, Limits{MaxPixels: 71})
		require.ErrorIs(t, err, ErrTooLarge, name)
		_, err = DecodeBytes(name, data, Limits{MaxPixels: 72})
		require.NoError(t, err, name)
		_, err = DecodeBytes(name, data, Limits{MinSide: 9})
		require.ErrorIs(t, err, ErrTooSmall, name)
		require.EqualError(t, err, name+": image too small: 9 x 8 pixels, at least 9 x 9 are needed")
	}
	for name, data := range encoded(t, 1, 1) {
		_, err := DecodeBytes(name, data, Limits{})
		require.ErrorIs(t, err, ErrTooSmall, name)
		_, err = DecodeBytes(name, data, Limits{MinSide: 1})
		require.NoError(t, err, name)
	}
}

// TestDecodeChecksTheMemoryBeforeItAllocates: 8 x 2^24 pixels of colour are no more than others, and take 2 GiB.
func TestDecodeChecksTheMemoryBeforeItAllocates(t *testing.T) {
	strip := func(more map[uint16]uint32) []byte {
		return tiffFile(greyPage(map[uint16]uint32{256: 1 << 13, 257: 1 << 13, tagRowsPerStrip: 1 << 13}, more))
	}
	files := encoded(t, 9, 8)
	for name, c := range map[string]struct {
		data []byte
		mib  int // 0: it is decoded, or broken
	}{
		"wide.png":    {withSize(t, "x.png", files["x.png"], 1<<24, 8), 2048},
		"square.png":  {withSize(t, "x.png", files["x.png"], 11585, 11585), 2048},
		"least.png":   {withSize(t, "x.png", files["x.png"], 8193, 8192), 1025},
		"most.png":    {withSize(t, "x.png", files["x.png"], 8192, 8192), 0},
		"x.jpg":       {withSize(t, "x.jpg", files["x.jpg"], 10000, 8192), 1172},
		"deflate.tif": {strip(map[uint16]uint32{tagCompression: 8}), 1600},
		"strips.tif":  {strip(map[uint16]uint32{tagCompression: 8, tagRowsPerStrip: 16}), 0},
		"tiles.tif":   {strip(map[uint16]uint32{tagCompression: 8, tagTileWidth: 1 << 13, tagTileLength: 1 << 13}), 1600},
		"raw.tif":     {strip(nil), 0},
	} {
		var asked bool
		var err error
		got := allocated(func() {
			_, err = decode(name, section(c.data), 0, Limits{}, func(Need) error { asked = true; return errStop }, nil)
		})
		require.Less(t, got, uint64(1<<20), name)
		require.Equal(t, c.mib == 0, asked, name)
		if c.mib == 0 {
			require.ErrorIs(t, err, errStop, name)
			continue
		}
		require.ErrorIs(t, err, ErrTooLarge, name)
		require.ErrorContains(t, err, fmt.Sprintf("pixels take %d MiB of memory while they are decoded, at most 1024 are allowed", c.mib), name)
		_, err = decode(name, section(c.data), 0, Limits{MaxBytes: int64(c.mib) << 20}, func(Need) error { return errStop }, nil)
		require.ErrorIs(t, err, errStop, name)
	}
	_, err := DecodeBytes("x.png", files["x.png"], Limits{MaxBytes: 16*9*8 - 1})
	require.EqualError(t, err, "x.png: image too large: 9 x 8 pixels take 1 MiB of memory while they are decoded, at most 0 are allowed")
	_, err = DecodeBytes("x.png", files["x.png"], Limits{MaxBytes: 16 * 9 * 8})
	require.NoError(t, err)
}

var errStop = errors.New("far enough")

// A truncated file is refused, or nothing of the image is lost: a TIFF may end in metadata, a WebP in padding.
func TestDecodeRefusesEveryTruncation(t *testing.T) {
	files := encoded(t, 24, 16)
	for _, name := range []string{"lossy.webp", "alpha.webp", "orient-6.jpg", "orient-6.tif", "progressive.jpg"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		files[name] = data
	}
	for name, data := range files {
		whole, err := DecodeBytes(name, data, Limits{})
		require.NoError(t, err, name)
		for n := range data {
			im, err := DecodeBytes(name, data[:n], Limits{})
			if err == nil {
				require.Equal(t, nd.Data(whole.Pix), nd.Data(im.Pix))
				continue
			}
			require.True(t, errors.Is(err, ErrCorrupt) || n < 32 && errors.Is(err, ErrFormat), "%d: %v", n, err)
		}
	}
	_, err := DecodeBytes("x.bmp", files["x.bmp"][:60], Limits{})
	require.EqualError(t, err, "x.bmp: corrupt image: truncated")
}

func TestDecodeTurnsPanicsIntoErrors(t *testing.T) {
	_, err := decode("x.png", io.NewSectionReader(panicker{}, 0, 100), 0, Limits{}, nil, nil)
	require.EqualError(t, err, "x.png: corrupt image: its decoder failed: boom")
	require.ErrorIs(t, err, ErrCorrupt)
}

type panicker struct{}

func (panicker) ReadAt([]byte, int64) (int, error) { panic("boom") }

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.[pjtbw]*")
	require.NoError(f, err)
	for _, name := range files {
		if data, err := os.ReadFile(name); Supported(name) {
			require.NoError(f, err)
			f.Add(data)
		}
	}
	lim := Limits{MaxPixels: 1 << 14}
	f.Fuzz(func(t *testing.T, data []byte) {
		var im *Image
		var err error
		got := allocated(func() { im, err = DecodeBytes("x", data, lim) })
		require.Less(t, got, uint64(1<<26)+16*uint64(len(data)), "whatever a small image's file holds")
		if err != nil {
			require.Nil(t, im)
			return
		}
		h, w := im.Size()
		require.LessOrEqual(t, h*w, lim.MaxPixels)
		require.GreaterOrEqual(t, min(h, w), DefaultMinSide)
		for _, v := range nd.Data(im.Pix) {
			require.True(t, v >= 0 && v <= 1)
		}
	})
}

// TestWhiteIsWhatItIsSetTo: the samples of 16 bits are stretched to a white level and clipped there; 8 bits stay as they are.
func TestWhiteIsWhatItIsSetTo(t *testing.T) {
	deep := image.NewGray16(image.Rect(0, 0, 8, 8))
	for i, v := range []uint16{0, 1, 1000, 4094, 4095, 4096, 9000} {
		deep.SetGray16(i, 0, color.Gray16{Y: v})
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, deep))
	im, err := DecodeBytes("a.png", b.Bytes(), Limits{})
	require.NoError(t, err)
	require.Equal(t, 9000, im.Peak)
	as := slices.Clone(nd.Data(im.Pix))
	im.SetWhite(MaxWhite)
	require.Equal(t, as, nd.Data(im.Pix))
	im.SetWhite(4095)
	for i, want := range []float64{0, 1. / 4095, 1000. / 4095, 4094. / 4095, 1, 1, 1} {
		require.InDelta(t, want, nd.Data(im.Pix)[i], 1e-7)
	}
	require.LessOrEqual(t, slices.Max(nd.Data(im.Pix)), float32(1))
	require.Equal(t, 9000, im.Peak, "of the file")

	b.Reset()
	plain := image.NewGray(image.Rect(0, 0, 8, 8))
	plain.SetGray(0, 0, color.Gray{Y: 200})
	require.NoError(t, png.Encode(&b, plain))
	im, err = DecodeBytes("a.png", b.Bytes(), Limits{})
	require.NoError(t, err)
	require.Zero(t, im.Peak)
	im.SetWhite(255)
	require.EqualValues(t, float32(200)/255, nd.Data(im.Pix)[0])
}

// stream is a file that can only be read from its beginning to its end.
type stream struct {
	io.Reader
	fs.File
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func TestDecodeFromReadsWhatHasNoPlacesIntoMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 30))))
	data := b.Bytes()
	require.NoError(t, os.WriteFile(path, data, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var there, held int64
	_, err = DecodeFrom("a.png", f, Limits{}, func(n Need) error { there = n.Bytes; return nil })
	require.NoError(t, err)
	im, err := DecodeFrom("a.png", stream{Reader: bytes.NewReader(data)}, Limits{}, func(n Need) error { held = n.Bytes; return nil })
	require.NoError(t, err)
	h, w := im.Size()
	require.Equal(t, []int{30, 40}, []int{h, w})
	require.Equal(t, there+int64(len(data)), held)
	_, err = DecodeFrom("a.png", stream{Reader: bytes.NewReader(data)}, Limits{MaxBytes: 10}, nil)
	require.EqualError(t, err, "a.png: image too large: more than 10 bytes")
	_, err = DecodeFrom("a.png", stream{Reader: iotest.ErrReader(errors.New("boom"))}, Limits{}, nil)
	require.EqualError(t, err, "a.png: boom")
}

// What has no colour, in all of a picture or in some of its rows, is read as what has some is.
func TestYCbCrWithoutColour(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	for _, ratio := range []image.YCbCrSubsampleRatio{
		image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420, image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio410,
	} {
		for _, colour := range []int{0, 1, 3} { // one row in so many has some
			img := image.NewYCbCr(image.Rect(0, 0, 21, 14), ratio)
			for i := range img.Y {
				img.Y[i] = uint8(rng.IntN(256))
			}
			for i := range img.Cb {
				img.Cb[i], img.Cr[i] = 128, 128
				if colour > 0 && i/img.CStride%colour == 0 && i%img.CStride == img.CStride-1 {
					img.Cb[i] = uint8(rng.IntN(128))
				}
			}
			got := FromImage(img)
			require.Equal(t, colour == 0, got.IsGrey(), "%v", ratio)
			pix := nd.Data(got.RGB())
			for y := range 14 {
				for x := range 21 {
					c := img.YCbCrAt(x, y)
					r, g, b := color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
					for p, v := range []uint8{r, g, b} {
						require.Equal(t, float32(v)/255, pix[(p*14+y)*21+x], "%v, one row in %d: %d,%d", ratio, colour, y, x)
					}
				}
			}
		}
	}
}
