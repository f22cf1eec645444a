package imageio

import (
	"image"
	"io"
	"math"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// photo is a picture of h x w pixels with structure and noise, and a map of it, low but for a spot.
func photo(h, w int) (*image.YCbCr, []float32) {
	img, m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420), make([]float32, h*w)
	for i := range img.Y {
		y, x := float64(i/w), float64(i%w)
		img.Y[i] = uint8(128 + 60*math.Sin(x/19)*math.Cos(y/23) + 8*math.Mod(math.Abs(math.Sin(float64(i)*12.9898)*43758.5453), 1))
		m[i] = float32(0.1 + 4*math.Exp(-((x-300)*(x-300)+(y-200)*(y-200))/2000))
	}
	for i := range img.Cb {
		img.Cb[i], img.Cr[i] = uint8(120+i%7), uint8(130+i%5)
	}
	return img, m
}

// BenchmarkPicture takes a photo of 460 x 1130 pixels through what is done with one beside its scores.
func BenchmarkPicture(b *testing.B) {
	const h, w = 460, 1130
	img, values := photo(h, w)
	im, m := FromImage(img), nd.Wrap(values, h, w)
	overlay := OverlayMarks(im, m, make([]bool, h*w), 3)
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"convert", func() { FromImage(img) }},
		{"resize", func() { Resize(im.Pix, 256, 256) }},
		{"overlay", func() { OverlayMarks(im, m, make([]bool, h*w), 3) }},
		{"encode the overlay", func() { require.NoError(b, EncodeOverlay(io.Discard, overlay)) }},
		{"encode the map", func() { require.NoError(b, EncodeMap(io.Discard, m)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(h * w)
			for b.Loop() {
				c.do()
			}
		})
	}
}
