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
	r := g.Radius()
	if r == 0 {
		return
	}
	rows, line := scratch[:h*w], scratch[h*w:][:w+2*r]
	for i := range h {
		src := plane[i*w : (i+1)*w]
		copy(line[r:], src)
		for k := 1; k <= r; k++ {
			line[r-k] = src[index.Mirror(-k, w)]
			line[r+w-1+k] = src[index.Mirror(w-1+k, w)]
		}
		dst := rows[i*w : (i+1)*w]
		g.start(dst, line[r:])
		for k := 1; k <= r; k++ {
			vec.AddPair(dst, line[r-k:], line[r+k:], g.taps[k])
		}
	}
	for i := range h {
		dst := plane[i*w : (i+1)*w]
		g.start(dst, rows[i*w:])
		for k := 1; k <= r; k++ {
			vec.AddPair(dst, rows[index.Mirror(i-k, h)*w:], rows[index.Mirror(i+k, h)*w:], g.taps[k])
		}
	}
}

// start sets dst to the kernel's middle times src.
func (g Gaussian) start(dst, src []float32) {
	vec.ShiftRows(dst, src, len(dst), unmoved, g.taps[0], float32(math.Inf(-1)))
}

var unmoved = []float32{0}
