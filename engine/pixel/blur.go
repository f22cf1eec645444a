package pixel

import (
	"math"
	"slices"

	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/internal/vec"
)

// Gaussian is a sampled, normalised Gaussian: taps[k] is the weight of the pixels at distance k, for k up to
// floor(4 sigma + 0.5).
type Gaussian struct{ taps []float32 }

// NewGaussian returns the kernel of the given sigma in pixels; 0 changes nothing.
func NewGaussian(sigma float64) Gaussian {
	r := int(4*sigma + 0.5)
	weights := make([]float64, r+1)
	sum := 0.0
	for k := r; k > 0; k-- {
		weights[k] = math.Exp(-float64(k*k) / (2 * sigma * sigma))
		sum += 2 * weights[k]
	}
	weights[0] = 1
	sum++
	taps := make([]float32, r+1)
	for k, v := range weights {
		taps[k] = float32(v / sum)
	}
	return Gaussian{taps}
}

// Radius is how many pixels the kernel reaches.
func (g Gaussian) Radius() int { return len(g.taps) - 1 }

// Taps returns a copy of the weights; the index is the distance in pixels.
func (g Gaussian) Taps() []float32 { return slices.Clone(g.taps) }

// Scratch is the number of float32 that Blur needs beside an h x w plane.
func (g Gaussian) Scratch(h, w int) int { return h*w + w + 2*g.Radius() }

// Blur convolves the plane [h,w] with the kernel, rows first, in place. Beyond an edge the plane is reflected with the
// edge pixel repeated (d c b a | a b c d | d c b a: scipy.ndimage's "reflect"). scratch has at least g.Scratch(h, w)
// values. About 2 (radius + 1) multiplications per pixel.
func (g Gaussian) Blur(plane []float32, h, w int, scratch []float32) {
	if g.Radius() > 0 {
		g.BlurBox(plane, plane, h, w, Box{0, 0, h, w}, scratch)
	}
}

// BlurBox is Blur of the box alone, into dst [b.H(),b.W()]; dst may be the plane if the box is all of it, and scratch is that of
// Blur. Its time is that of the box's rows and, above and below, of as many more as the kernel reaches.
func (g Gaussian) BlurBox(dst, plane []float32, h, w int, b Box, scratch []float32) {
	r, bw := g.Radius(), b.W()
	top, bottom := max(b.Y0-r, 0), min(b.Y1+r, h)
	rows, line := scratch[:(bottom-top)*bw], scratch[(bottom-top)*bw:][:bw+2*r]
	left, right := max(b.X0-r, 0), min(b.X1+r, w) // of what the line has from the plane itself
	var some [2][64]int                           // enough for most: what follows then allocates nothing
	before, after := append(some[0][:0], make([]int, r+1)...), append(some[1][:0], make([]int, r+1)...)
	for k := range before {
		before[k], after[k] = r-k, r+k
	}
	for i := range bottom - top {
		src := plane[(top+i)*w:][:w]
		copy(line[left-b.X0+r:], src[left:right])
		for x := b.X0 - r; x < 0; x++ {
			line[x-b.X0+r] = src[index.Mirror(x, w)]
		}
		for x := w; x < b.X1+r; x++ {
			line[x-b.X0+r] = src[index.Mirror(x, w)]
		}
		vec.SumPairs(rows[i*bw:][:bw], line, before, after, g.taps)
	}
	for i := range b.H() {
		for k := range before {
			before[k], after[k] = (index.Mirror(b.Y0+i-k, h)-top)*bw, (index.Mirror(b.Y0+i+k, h)-top)*bw
		}
		vec.SumPairs(dst[i*bw:][:bw], rows, before, after, g.taps)
	}
}
