package imageio

import (
	"image"
	"image/color"
	"math"
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

func TestNearestIsRound(t *testing.T) {
	for i := range 256 {
		for _, v := range []float64{float64(i), float64(i) + 0.5, math.Nextafter(float64(i)+0.5, 0), math.Nextafter(float64(i)+0.5, 256), float64(i) + 0.25} {
			if v < 255.5 {
				require.Equal(t, uint8(math.Round(v)), nearest(v), v)
			}
		}
	}
}
