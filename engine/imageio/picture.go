package imageio

import (
	"image"
	"math"

	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// heatStops are the colours of the heat scale at equal distances. Their lightness (CIE L*) rises evenly from 0 to 97, so
// the order of values shows in print and to the colour-blind.
var heatStops = [...][3]float64{
	{0, 0, 0}, {62, 8, 92}, {140, 22, 108}, {208, 48, 72}, {240, 110, 24}, {246, 178, 36}, {250, 250, 170},
}

// heat is the colour of a value in [0,1]; others are clipped, NaN is black.
func heat(v float64) [3]float64 {
	if !(v > 0) {
		return heatStops[0]
	}
	pos := min(v, 1) * float64(len(heatStops)-1)
	i := min(int(pos), len(heatStops)-2)
	t := pos - float64(i)
	var c [3]float64
	for k := range c {
		c[k] = heatStops[i][k] + t*(heatStops[i+1][k]-heatStops[i][k])
	}
	return c
}

// HeatMap shows m [H,W] in heat colours, black at lo and below, pale yellow at hi and above.
func HeatMap(m *tensor.Dense, lo, hi float64) image.Image {
	out := image.NewRGBA(image.Rect(0, 0, m.Shape()[1], m.Shape()[0]))
	for i, v := range nd.Data(m) {
		paint(out, i, heat((float64(v)-lo)/(hi-lo)), 1)
	}
	return out
}

// paint blends a colour of 0..255 over pixel i.
func paint(out *image.RGBA, i int, c [3]float64, opacity float64) {
	p := out.Pix[4*i:][:4]
	for k := range c {
		p[k] = nearest(opacity*c[k] + (1-opacity)*float64(p[k]))
	}
	p[3] = 255
}

// tint is paint of a value's heat, the more opaque the higher it is; of one that is not above 0 it is nothing.
func tint(p []uint8, v float64) {
	if !(v > 0) {
		return
	}
	v = min(v, 1)
	pos, opacity := v*float64(len(heatStops)-1), overlayOpacity*v
	i := min(int(pos), len(heatStops)-2)
	t, a, b := pos-float64(i), &heatStops[i], &heatStops[i+1]
	for k := range p {
		c := a[k] + t*(b[k]-a[k])
		p[k] = nearest(opacity*c + (1-opacity)*float64(p[k]))
	}
}

// nearest is math.Round of a value from 0 to 255, which is what most of an overlay's time would go into.
func nearest(v float64) uint8 {
	n := int(v)
	return uint8(n + int(2*(v-float64(n))))
}

// Dim darkens the pixels [H,W] of the image that are not in; nil: none. It changes Pix.
func (im *Image) Dim(in []bool) {
	const left = 0.35 // of the brightness
	if in == nil {
		return
	}
	for i, v := range nd.Data(im.Pix) {
		if !in[i%len(in)] {
			nd.Data(im.Pix)[i] = left * v
		}
	}
}

// HeatLimit times a map's pixel threshold is the hottest colour, wherever maps are shown: all images share a map's scale.
const HeatLimit = 3

// overlayOpacity is how much of the image the largest values hide.
const overlayOpacity = 0.65

// Overlay shows the map m [H,W] over img, which has the same size: heat colours, the more opaque the closer a value
// comes to limit (values of 0 and below leave the image as it is), and in cyan the outline of where m exceeds threshold.
func Overlay(img *Image, m *tensor.Dense, threshold, limit float64) image.Image {
	return OverlayMarks(img, m, above(m, threshold), limit)
}

// OverlayMarks is Overlay with the outline of a mask [H,W] of any kind.
func OverlayMarks(img *Image, m *tensor.Dense, mask []bool, limit float64) *image.RGBA {
	out := img.RGBA()
	h, w := m.Shape()[0], m.Shape()[1]
	none := 0.499 / 255 / overlayOpacity * limit // so little moves no colour by half a level
	if !(limit > 0) {
		none = math.NaN()
	}
	for i, v := range nd.Data(m) {
		if v := float64(v); !(v <= none) {
			tint(out.Pix[4*i:][:3], v/limit)
		}
	}
	for i, in := range mask {
		if !in {
			continue
		}
		y, x := i/w, i%w
		if y > 0 && !mask[i-w] || y < h-1 && !mask[i+w] || x > 0 && !mask[i-1] || x < w-1 && !mask[i+1] {
			paint(out, i, [3]float64{0, 255, 255}, 1)
		}
	}
	return out
}

// Thumbnail shrinks img until neither side exceeds maxSide; smaller images keep their size.
func Thumbnail(img image.Image, maxSide int) image.Image {
	b := img.Bounds()
	shrink := float64(maxSide) / float64(max(b.Dx(), b.Dy()))
	if shrink >= 1 {
		return img
	}
	side := func(n int) int { return max(int(math.Round(float64(n)*shrink)), 1) }
	im := FromImage(img)
	return (&Image{Pix: Resize(im.Pix, side(b.Dy()), side(b.Dx())), Depth: im.Depth}).RGBA()
}
