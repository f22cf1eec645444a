package refine

import "f2pad.example/engine/pixel"

// Pixels is where the refinement's work on pixels is done, but for the optimisation, which is the Scorer's. It is safe for
// concurrent use. Host is the CPU; what other places compute may differ from it by float32 rounding.
type Pixels interface {
	// Smooth enlarges the grid z [h,w] s times (pixel.Upsample) into u [h*s,w*s] and blurs it with g.
	Smooth(z []float32, h, w, s int, g pixel.Gaussian, u []float32) error
	// Compare measures a window y [3,h,w] against K fills [K,3,h,w] of it: residual [h,w] is the distance to the nearest
	// fill (pixel.FillMin), blurred with smooth; best [h,w] is the fill with the least squared distance, blurred with start
	// (pixel.Least).
	Compare(y, fills []float32, k, h, w int, smooth, start pixel.Gaussian, residual []float32, best []int32) error
}

// Host is the CPU, in pure Go.
type Host struct{}

var _ Pixels = Host{}

// Smooth implements Pixels. It never fails.
func (Host) Smooth(z []float32, h, w, s int, g pixel.Gaussian, u []float32) error {
	pixel.Upsample(z, h, w, s, u)
	g.Blur(u, h*s, w*s, make([]float32, g.Scratch(h*s, w*s)))
	return nil
}

// Compare implements Pixels. It never fails.
func (Host) Compare(y, fills []float32, k, h, w int, smooth, start pixel.Gaussian, residual []float32, best []int32) error {
	n := h * w
	scratch := make([]float32, max(start.Scratch(h, w), smooth.Scratch(h, w)))
	sq := make([]float32, k*n)
	pixel.FillMin(y, fills, k, 3, n, sq, residual)
	smooth.Blur(residual, h, w, scratch)
	for i := range k {
		start.Blur(sq[i*n:(i+1)*n], h, w, scratch)
	}
	pixel.Least(sq, k, n, best)
	return nil
}
