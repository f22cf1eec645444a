package refine

import (
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/pixel"
)

// Pixels is where the refinement's work on pixels is done, but for the optimisation, which is the Scorer's: each step of it is one call
// for a batch. It is safe for concurrent use. Host is the CPU; what other places compute may differ from it by float32 rounding, and
// depends on one image or region alone, whatever else is in the batch. Together with a Scorer it is a Filler.
type Pixels interface {
	// Offsets and Spreads are a Filler's.
	Offsets(offsets []Offset) error
	Spreads(spreads []Spread) error
	// Smooth enlarges the grids z [n,h,w] s times (pixel.Upsample) into u [n,h*s,w*s] and blurs them with g.
	Smooth(z []float32, n, h, w, s int, g pixel.Gaussian, u []float32) error
	// Compare measures regions against their fills, and fills the comparisons' Residual and Best. Distances are blurred with smooth,
	// their squares with start.
	Compare(comparisons []Comparison, smooth, start pixel.Gaussian) error
}

// filler is a Run's Filler.
type filler struct {
	Pixels
	sc Scorer
}

// Costs implements Filler.
func (f filler) Costs(searches []Search) error { return f.sc.Costs(searches) }

// Comparison is a region in a window of its image beside its K fills. Off the region the image is its own fill, and every distance 0:
// planes [P] have values at the region's pixels alone.
type Comparison struct {
	H, W     int       // of the window
	Pixels   []int32   // [P] indices y*W+x, ascending; at least one
	Y        []float32 // [3,P]
	K        int       // at least 1
	Fills    []float32 // [K,3,P]
	Residual []float32 // [P] the distance to the nearest fill (pixel.FillMin), blurred over the window
	Best     []int32   // [P] the fill with the least squared distance, blurred over the window; the first of equals (pixel.Least)
}

// Host is the CPU, in pure Go.
type Host struct{}

var _ interface {
	Pixels
	Filler
} = Host{}

// Smooth implements Pixels. It never fails.
func (Host) Smooth(z []float32, n, h, w, s int, g pixel.Gaussian, u []float32) error {
	H, W := h*s, w*s
	par.For(n, func(i int) {
		out := u[i*H*W : (i+1)*H*W]
		pixel.Upsample(z[i*h*w:(i+1)*h*w], h, w, s, out)
		g.Blur(out, H, W, make([]float32, g.Scratch(H, W)))
	})
	return nil
}

// Compare implements Pixels. It never fails.
func (Host) Compare(comparisons []Comparison, smooth, start pixel.Gaussian) error {
	par.For(len(comparisons), func(i int) { comparisons[i].measure(smooth, start) })
	return nil
}

func (c *Comparison) measure(smooth, start pixel.Gaussian) {
	P, n := len(c.Pixels), c.H*c.W
	scratch := make([]float32, max(start.Scratch(c.H, c.W), smooth.Scratch(c.H, c.W)))
	plane := make([]float32, n)
	blur := func(g pixel.Gaussian, v []float32) {
		clear(plane)
		for i, p := range c.Pixels {
			plane[p] = v[i]
		}
		g.Blur(plane, c.H, c.W, scratch)
		for i, p := range c.Pixels {
			v[i] = plane[p]
		}
	}
	sq := make([]float32, c.K*P)
	pixel.FillMin(c.Y, c.Fills, c.K, 3, P, sq, c.Residual)
	blur(smooth, c.Residual)
	for k := range c.K {
		blur(start, sq[k*P:(k+1)*P])
	}
	pixel.Least(sq, c.K, P, c.Best)
}
