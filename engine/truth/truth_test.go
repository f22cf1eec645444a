package truth

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	idraw "image/draw"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

const side = 16

// defect says which pixels are the defect in every picture of these tests.
func defect(x, y int) bool { return x >= 4 && x < 9 && y == 3 }

// draw sets the pixels of the defect to one colour and all others to another.
func draw(m interface {
	image.Image
	Set(x, y int, c color.Color)
}, in, out color.Color) image.Image {
	for y := range side {
		for x := range side {
			c := out
			if defect(x, y) {
				c = in
			}
			m.Set(x, y, c)
		}
	}
	return m
}

func write(t *testing.T, path string, m image.Image, encode func(io.Writer, image.Image) error) string {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, encode(f, m))
	require.NoError(t, f.Close())
	return path
}

var frame = image.Rect(0, 0, side, side)

func TestRead(t *testing.T) {
	grey := func(v uint8) color.Color { return color.Gray{Y: v} }
	rgba := func(v, a uint8) color.Color { return color.NRGBA{R: v, G: v, B: v, A: a} }
	dir := t.TempDir()
	for name, c := range map[string]struct {
		pic  image.Image
		dark bool
	}{
		"0 and 255":                    {pic: draw(image.NewGray(frame), grey(255), grey(0))},
		"just above half":              {pic: draw(image.NewGray(frame), grey(128), grey(127))},
		"0 and 1":                      {pic: draw(image.NewGray(frame), grey(1), grey(0)), dark: true},
		"class 127":                    {pic: draw(image.NewGray(frame), grey(127), grey(0)), dark: true},
		"16 bits":                      {pic: draw(image.NewGray16(frame), color.Gray16{Y: 3}, grey(0)), dark: true},
		"red":                          {pic: draw(image.NewNRGBA(frame), color.NRGBA{R: 255, A: 255}, color.NRGBA{A: 255})},
		"palette, index 1":             {pic: draw(image.NewPaletted(frame, color.Palette{grey(0), grey(1)}), grey(1), grey(0)), dark: true},
		"white on transparent black":   {pic: draw(image.NewNRGBA(frame), rgba(255, 255), rgba(0, 0))},
		"black on transparent black":   {pic: draw(image.NewNRGBA(frame), rgba(0, 255), rgba(0, 0))},
		"black on transparent white":   {pic: draw(image.NewNRGBA(frame), rgba(0, 255), rgba(255, 0))},
		"white all over":               {pic: draw(image.NewNRGBA(frame), rgba(255, 255), rgba(255, 40))},
		"white and black, transparent": {pic: corner(draw(image.NewNRGBA(frame), rgba(255, 255), rgba(0, 255)))},
		"opaque with alpha":            {pic: draw(image.NewNRGBA(frame), rgba(255, 255), rgba(0, 255))},
		"the same alpha everywhere":    {pic: draw(image.NewNRGBA(frame), rgba(255, 9), rgba(0, 9))},
		"class numbers, transparent":   {pic: corner(draw(image.NewNRGBA(frame), rgba(2, 255), rgba(0, 255))), dark: true},
	} {
		for ext, encode := range map[string]func(io.Writer, image.Image) error{".png": png.Encode, ".TIF": func(w io.Writer, m image.Image) error { return tiff.Encode(w, m, nil) }} {
			m, err := Read(write(t, filepath.Join(dir, "m"+ext), c.pic, encode), side, side, imageio.Limits{})
			require.NoError(t, err, name)
			require.Equal(t, c.dark, m.Dark, "%s%s", name, ext)
			require.False(t, m.Empty())
			for i, v := range nd.Data(m.Pix) {
				require.Equal(t, defect(i%side, i/side), v == 1, "%s%s: pixel %d is %v", name, ext, i, v)
			}
		}
	}
}

// corner makes the first pixel transparent, and white underneath.
func corner(m image.Image) image.Image {
	m.(*image.NRGBA).Set(0, 0, color.NRGBA{R: 255, G: 255, B: 255})
	return m
}

func TestReadTakesEveryFormat(t *testing.T) {
	dir := t.TempDir()
	pic := draw(image.NewGray(frame), color.White, color.Black)
	for ext, encode := range map[string]func(io.Writer, image.Image) error{
		".BMP": bmp.Encode,
		".jpg": func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 100}) },
	} {
		m, err := Read(write(t, filepath.Join(dir, "m"+ext), pic, encode), side, side, imageio.Limits{})
		require.NoError(t, err)
		require.False(t, m.Dark)
		for i, v := range nd.Data(m.Pix) {
			require.Equal(t, defect(i%side, i/side), v == 1, "%s: pixel %d", ext, i)
		}
	}
}

// TestAlphaIsTurnedAsColoursAre: a shape that is in the alpha lies where one that is in the colours does, whatever EXIF says.
func TestAlphaIsTurnedAsColoursAre(t *testing.T) {
	const w, h = 24, 16
	in := func(x, y int) bool { return x >= 4 && x < 9 && y == 3 }
	rect := image.Rect(0, 0, w, h)
	fill := func(m idraw.Image, shape, ground color.Color) image.Image {
		for y := range h {
			for x := range w {
				m.Set(x, y, ground)
				if in(x, y) {
					m.Set(x, y, shape)
				}
			}
		}
		return m
	}
	opaque, clear := color.NRGBA64{A: 0xffff}, color.NRGBA64{A: 0x7fff}
	palette := color.Palette{color.NRGBA{A: 255}, color.NRGBA{A: 0}}
	path := filepath.Join(t.TempDir(), "m.png")
	for o := byte(1); o <= 8; o++ {
		H, W := h, w
		if o >= 5 {
			H, W = w, h
		}
		read := func(m image.Image) []float32 {
			turn := func(to io.Writer, m image.Image) error {
				var b bytes.Buffer
				if err := png.Encode(&b, m); err != nil {
					return err
				}
				chunk := append([]byte("eXIfMM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00"), o, 0, 0, 0, 0, 0, 0)
				framed := binary.BigEndian.AppendUint32(nil, uint32(len(chunk)-4))
				framed = binary.BigEndian.AppendUint32(append(framed, chunk...), crc32.ChecksumIEEE(chunk))
				const header = 33
				_, err := to.Write(slices.Concat(b.Bytes()[:header], framed, b.Bytes()[header:]))
				return err
			}
			mask, err := Read(write(t, path, m, turn), H, W, imageio.Limits{})
			require.NoError(t, err, "orientation %d", o)
			_, err = Read(path, H+1, W, imageio.Limits{})
			require.EqualError(t, err, fmt.Sprintf("%s: mask of %dx%d pixels for an image of %dx%d", path, W, H, W, H+1))
			return nd.Data(mask.Pix)
		}
		want := read(fill(image.NewGray(rect), color.White, color.Black))
		require.EqualValues(t, 5, sum(want))
		require.Equal(t, want, read(fill(image.NewNRGBA(rect), opaque, clear)), "orientation %d", o)
		require.Equal(t, want, read(fill(image.NewNRGBA64(rect), opaque, clear)), "orientation %d, 16 bits", o)
		require.Equal(t, want, read(fill(image.NewPaletted(rect, palette), palette[0], palette[1])), "orientation %d, palette", o)
	}
}

func sum(vs []float32) (total float32) {
	for _, v := range vs {
		total += v
	}
	return total
}

func TestAMaskOfNothingIsEmpty(t *testing.T) {
	m, err := Read(write(t, filepath.Join(t.TempDir(), "m.png"), image.NewGray(frame), png.Encode), side, side, imageio.Limits{})
	require.NoError(t, err)
	require.True(t, m.Empty())
	require.False(t, m.Dark, "0 everywhere is no number of a class")
}

func TestAFolderOfMasksIsTheirUnion(t *testing.T) {
	dir := t.TempDir()
	first, second := image.NewGray(frame), image.NewGray(frame)
	first.SetGray(1, 2, color.Gray{Y: 255})
	second.SetGray(5, 6, color.Gray{Y: 1})
	write(t, filepath.Join(dir, "000.png"), first, png.Encode)
	write(t, filepath.Join(dir, "001.png"), second, png.Encode)
	m, err := Read(dir, side, side, imageio.Limits{})
	require.NoError(t, err)
	require.True(t, m.Dark, "one file is dark")
	for i, v := range nd.Data(m.Pix) {
		require.Equal(t, i == 2*side+1 || i == 6*side+5, v == 1, "pixel %d", i)
	}

	broken := filepath.Join(dir, "002.png")
	require.NoError(t, os.WriteFile(broken, []byte("x"), 0o600))
	_, err = Read(dir, side, side, imageio.Limits{})
	require.ErrorIs(t, err, imageio.ErrFormat)
	require.ErrorContains(t, err, broken)
}

func TestReadErrors(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "m.png"), image.NewGray(frame), png.Encode)
	_, err := Read(path, side, side+1, imageio.Limits{})
	require.EqualError(t, err, path+": mask of 16x16 pixels for an image of 17x16")
	_, err = Read(path+"x", side, side, imageio.Limits{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Read(t.TempDir(), side, side, imageio.Limits{})
	require.ErrorContains(t, err, "no images in this folder")
}
