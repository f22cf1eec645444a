package imageio

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// pngPictures are images of all kinds of rows: noise, slopes, flat ones, stripes and masks.
func pngPictures(side func() (w, h int)) (all []image.Image) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, value := range []func(x, y, c int) byte{
		func(int, int, int) byte { return byte(r.Uint32()) },
		func(int, int, int) byte { return byte(r.IntN(4)) },
		func(int, int, int) byte { return 128 },
		func(x, y, c int) byte { return byte(3*x + y + 40*c) },
		func(x, y, c int) byte { return byte(x*x/9 - 2*y + r.IntN(3)) },
		func(x, y, c int) byte { return byte(255 * (x / 3 % 2)) },
		func(x, y, c int) byte { return byte(255 * (y / 2 % 2)) },
		func(x, y, c int) byte {
			if (x-20)*(x-20)+(y-10)*(y-10) < 80 {
				return 255
			}
			return 0
		},
		func(x, y, c int) byte { return byte(100 + (x+y)/2 + r.IntN(2)*y/3) },
	} {
		w, h := side()
		grey, rgba := image.NewGray(image.Rect(0, 0, w, h)), image.NewRGBA(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				grey.SetGray(x, y, color.Gray{Y: value(x, y, 0)})
				rgba.SetRGBA(x, y, color.RGBA{value(x, y, 0), value(x, y, 1), value(x, y, 2), 255})
			}
		}
		all = append(all, grey, rgba)
	}
	return all
}

// TestPNGsAreThoseOfTheLibrary, byte by byte, whatever was encoded before.
func TestPNGsAreThoseOfTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 12 {
		for i, img := range pngPictures(func() (int, int) { return 1 + r.IntN(70), 1 + r.IntN(50) }) {
			var want, got bytes.Buffer
			require.NoError(t, png.Encode(&want, img))
			require.NoError(t, usualPNG.encode(&got, img))
			require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), "picture %d: %v", i, img.Bounds())
		}
	}
	for i, img := range pngPictures(func() (int, int) { return 400, 300 }) { // several chunks
		var want, got bytes.Buffer
		require.NoError(t, png.Encode(&want, img))
		require.NoError(t, usualPNG.encode(&got, img))
		require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), "picture %d", i)
		part := img.(interface {
			SubImage(image.Rectangle) image.Image
		}).SubImage(image.Rect(7, 9, 64, 33))
		want.Reset()
		got.Reset()
		require.NoError(t, png.Encode(&want, part))
		require.NoError(t, usualPNG.encode(&got, part))
		require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), "part of picture %d", i)
	}
}

// TestOverlaysAreWrittenWhole: at another level of compression, which the decoder does not see.
func TestOverlaysAreWrittenWhole(t *testing.T) {
	for i, img := range pngPictures(func() (int, int) { return 90, 70 }) {
		img, ok := img.(*image.RGBA)
		if !ok {
			continue
		}
		path := filepath.Join(t.TempDir(), "a.png")
		require.NoError(t, WriteOverlay(path, img))
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		back, err := png.Decode(f)
		require.NoError(t, err)
		require.Equal(t, img.Pix, back.(*image.RGBA).Pix, i)
	}
}

// full is a disk that takes so many bytes.
type full struct{ left int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestPNGEncoderPassesErrorsOn(t *testing.T) {
	img := pngPictures(func() (int, int) { return 200, 200 })[1]
	var whole bytes.Buffer
	require.NoError(t, usualPNG.encode(&whole, img))
	for left := 0; left < whole.Len(); left += 1 + left/2 {
		require.ErrorIs(t, usualPNG.encode(&full{left}, img), errFull, left)
	}
	require.ErrorIs(t, usualPNG.encode(&full{whole.Len() - 1}, img), errFull)
	var again bytes.Buffer
	require.NoError(t, usualPNG.encode(&again, img))
	require.Equal(t, whole.Bytes(), again.Bytes())
}

func BenchmarkPNG(b *testing.B) {
	pictures := pngPictures(func() (int, int) { return 400, 400 })
	for name, img := range map[string]image.Image{"mask": pictures[14], "colours": pictures[9]} {
		b.Run(name+"/own", func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, usualPNG.encode(&full{1 << 30}, img))
			}
		})
		b.Run(name+"/library", func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, png.Encode(&full{1 << 30}, img))
			}
		})
	}
}
