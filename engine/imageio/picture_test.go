package imageio

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// lightness is CIE L* of an sRGB colour.
func lightness(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	linear := func(v uint32) float64 {
		s := float64(v) / 65535
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	y := 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
	if y <= 216.0/24389 {
		return y * 24389 / 27
	}
	return 116*math.Cbrt(y) - 16
}

func TestHeatGetsLighterEvenly(t *testing.T) {
	const n = 61
	m := nd.New(1, n)
	for i := range n {
		nd.Data(m)[i] = 2 + 3*float32(i)/(n-1)
	}
	img := HeatMap(m, 2, 5)
	require.Equal(t, image.Rect(0, 0, n, 1), img.Bounds())
	require.Equal(t, color.RGBA{0, 0, 0, 255}, img.At(0, 0))
	last := -1.0
	for i := range n {
		l := lightness(img.At(i, 0))
		require.Greater(t, l, last, "step %d", i)
		require.InDelta(t, 97*float64(i)/(n-1), l, 5, "step %d", i)
		last = l
	}
}

func TestHeatMapClips(t *testing.T) {
	m := nd.Wrap([]float32{-1, 0, 1, 2, float32(math.NaN())}, 1, 5)
	img := HeatMap(m, 0, 1)
	require.Equal(t, img.At(1, 0), img.At(0, 0))
	require.Equal(t, img.At(2, 0), img.At(3, 0))
	require.Equal(t, img.At(1, 0), img.At(4, 0))
}

func TestOverlay(t *testing.T) {
	art := []string{ // '#' exceeds the threshold, 'o' does too and is outline; the image's border is none
		"##o...o##",
		"##o...o##",
		"ooo...ooo",
		".........",
		"..ooooo..",
		".o#####o.",
		".o#####o.",
	}
	h, w := len(art), len(art[0])
	img := &Image{Pix: nd.New(1, h, w), Depth: 8}
	m := nd.New(h, w)
	for i := range nd.Data(m) {
		nd.Data(img.Pix)[i] = 0.2
		if art[i/w][i%w] != '.' {
			nd.Data(m)[i] = 4
		}
	}
	nd.Data(m)[3*w+0], nd.Data(m)[3*w+4], nd.Data(m)[3*w+8] = -9, 1, 2
	out := Overlay(img, m, 2, 4)
	require.Equal(t, image.Rect(0, 0, w, h), out.Bounds())
	for y := range h {
		for x := range w {
			want := blend(heat(float64(nd.Data(m)[y*w+x])/4), 51, overlayOpacity*max(float64(nd.Data(m)[y*w+x])/4, 0))
			if art[y][x] == 'o' {
				want = color.RGBA{0, 255, 255, 255}
			}
			require.Equal(t, want, out.At(x, y), "%d,%d", x, y)
		}
	}
	require.Equal(t, color.RGBA{51, 51, 51, 255}, out.At(0, 3))
	require.Equal(t, color.RGBA{180, 180, 128, 255}, out.At(0, 0), "65 % of the lightest heat")
	require.Equal(t, out.At(0, 0), Overlay(img, m, 5, 2).At(0, 0), "values beyond the limit")
}

func blend(c [3]float64, under, opacity float64) color.RGBA {
	mix := func(v float64) uint8 { return uint8(math.Round(opacity*v + (1-opacity)*under)) }
	return color.RGBA{mix(c[0]), mix(c[1]), mix(c[2]), 255}
}

func TestThumbnail(t *testing.T) {
	img := image.NewGray(image.Rect(0, 0, 100, 37))
	for i := range img.Pix {
		img.Pix[i] = 200
	}
	small := Thumbnail(img, 20)
	require.Equal(t, image.Rect(0, 0, 20, 7), small.Bounds())
	require.Equal(t, color.RGBA{200, 200, 200, 255}, small.At(19, 6))
	require.Equal(t, image.Rect(0, 0, 10, 1), Thumbnail(image.NewGray(image.Rect(0, 0, 1000, 3)), 10).Bounds())
	require.Equal(t, img, Thumbnail(img, 100))
}

func TestWritePNG(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.png")
	img := HeatMap(nd.Wrap(make([]float32, 64), 8, 8), 0, 1)
	require.NoError(t, WritePNG(path, img))
	got, err := Decode(path, Limits{})
	require.NoError(t, err)
	require.Equal(t, nd.Data(FromImage(img).Pix), nd.Data(got.Pix))
	require.Error(t, WritePNG(filepath.Join(path, "below"), img))
}

// An overlay's file has its pixels, also where rows are far longer than what is written at once.
func TestEncodeOverlay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, size := range [][2]int{{1, 1}, {3, 7}, {64, 5}, {2, 40000}, {300, 200}} {
		img := image.NewRGBA(image.Rect(0, 0, size[1], size[0]))
		for i := range img.Pix {
			img.Pix[i] = uint8(rng.IntN(256))
			if i%4 == 3 {
				img.Pix[i] = 255
			}
		}
		for range 2 { // the second time with what the first has left
			var file bytes.Buffer
			require.NoError(t, EncodeOverlay(&file, img))
			got, err := png.Decode(&file)
			require.NoError(t, err)
			require.Equal(t, img, got, size)
			require.Zero(t, file.Len(), "nothing follows")
		}
		path := filepath.Join(t.TempDir(), "x.png")
		require.NoError(t, WriteOverlay(path, img))
		require.Error(t, WriteOverlay(filepath.Join(path, "below"), img))
	}
	part := image.NewRGBA(image.Rect(0, 0, 9, 9)).SubImage(image.Rect(2, 3, 7, 6)).(*image.RGBA)
	draw.Draw(part, part.Rect, image.White, image.Point{}, draw.Src)
	var file bytes.Buffer
	require.NoError(t, EncodeOverlay(&file, part))
	got, err := png.Decode(&file)
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 5, 3), got.Bounds())
	require.Equal(t, color.RGBA{255, 255, 255, 255}, got.At(4, 2))
	for calls := range 10 { // the beginning, and three chunks in three parts each
		require.ErrorIs(t, EncodeOverlay(&full{calls}, part), errFull)
	}
}

// full is a disk that has room again after it had none, for one call of Write after some.
type full struct{ calls int }

var errFull = errors.New("no room")

func (f *full) Write(p []byte) (int, error) {
	f.calls--
	if f.calls == -1 {
		return 0, errFull
	}
	return len(p), nil
}

// An overlay is each pixel's colour, blended by itself, whatever the values and the limit are.
func TestOverlayOfAnyValues(t *testing.T) {
	values := []float32{0, -1, 1e-9, 0.0029, 0.003, 0.00301, 0.00302, 0.1, 0.5, 0.999, 1, 7, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	levels := 256
	img, m := &Image{Pix: nd.New(1, levels, len(values)), Depth: 8}, nd.New(levels, len(values))
	for i := range nd.Data(m) {
		nd.Data(img.Pix)[i] = float32(i/len(values)) / 255
		nd.Data(m)[i] = values[i%len(values)]
	}
	for _, limit := range []float64{1, 0.25, 30, 0, -1, math.NaN()} {
		out := OverlayMarks(img, m, make([]bool, len(nd.Data(m))), limit)
		want := img.RGBA()
		for i, v := range nd.Data(m) {
			share := float64(v) / limit
			if !(share > 0) {
				continue
			}
			opacity := overlayOpacity * min(share, 1)
			for k, c := range heat(share) {
				want.Pix[4*i+k] = uint8(math.Round(opacity*c + (1-opacity)*float64(want.Pix[4*i+k])))
			}
		}
		require.Equal(t, want, out, limit)
	}
}

func TestNearestIsRound(t *testing.T) {
	for i := range 256 {
		for _, v := range []float64{float64(i), float64(i) + 0.5, math.Nextafter(float64(i)+0.5, 0), math.Nextafter(float64(i)+0.5, 256), float64(i) + 0.25} {
			if v < 255.5 {
				require.Equal(t, uint8(math.Round(v)), nearest(v), v)
			}
		}
	}
}
