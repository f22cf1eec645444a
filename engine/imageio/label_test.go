package imageio

import (
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLabelIsInTheCorner(t *testing.T) {
	white := color.RGBA{255, 255, 255, 255}
	red := color.RGBA{200, 0, 0, 255}
	drawn := func(w, h int, text string) *image.RGBA {
		img := image.NewRGBA(image.Rect(0, 0, w, h))
		for i := range w * h {
			img.SetRGBA(i%w, i/w, red)
		}
		Label(img, text)
		return img
	}
	ink := func(img *image.RGBA) (n int) {
		for y := range img.Rect.Dy() {
			for x := range img.Rect.Dx() {
				if img.RGBAAt(x, y) == white {
					n++
				}
			}
		}
		return n
	}
	small := drawn(100, 60, "ok")
	require.Equal(t, color.RGBA{0, 0, 0, 255}, small.RGBAAt(0, 0))
	require.Equal(t, red, small.RGBAAt(2*7+2, 0), "no wider than the text")
	require.Equal(t, red, small.RGBAAt(0, 15))
	require.Positive(t, ink(small))
	require.Zero(t, ink(drawn(100, 60, "  ")))
	require.NotEqual(t, small.Pix, drawn(100, 60, "no").Pix)
	require.Equal(t, 9*ink(small), ink(drawn(1000, 24*13*3, "ok")), "large images have large letters")
	require.NotPanics(t, func() { drawn(8, 8, "anomalous 1.5 > 1.2") })
}
