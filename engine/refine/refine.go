// Package refine turns a detector's coarse scores into pixel-accurate maps by optimising the image's own pixels (F2PAD).
//
// The idea of an optimisation at inference time, guided by feature-level scores, is that of Tao, Xu and Du, "F2PAD: A
// General Optimization Framework for Feature-Level to Pixel-Level Anomaly Detection", arXiv 2407.06519. The terms, the
// fills, the optimiser and every constant here are this project's own, found by experiment.
package refine

import (
	"context"

	"gorgonia.org/tensor"
)

// Kind names a map. All kinds are peers: every report shows all of them side by side.
type Kind string

const (
	Base     Kind = "base"     // the method's own map: scores, upsampled and blurred
	Residual Kind = "residual" // the control: fills and contrast, no optimisation (steps 1-3, 6, 7 with P = P_res)
	F2PAD    Kind = "f2pad"    // all steps
)

// Scorer is the network and the method as the optimiser sees them: pixels in, calibrated scores z on a grid of Stride
// pixels out. z = (s - q50)/(q99.5 - q50), quantiles of held-out normal images: one scale for every method.
type Scorer interface {
	Stride() int
	// Score fills z [N,h,w] for the images x [N,3,H,W] in [0,1]; H and W are multiples of Stride.
	Score(ctx context.Context, x, z *tensor.Dense) error
	// Gradient computes, for each image n, energy[n] = sum of e(z_v) over the grid cells with where[n*h*w+v], and its
	// gradient dx [N,3,H,W] w.r.t. x. Images with no such cell cost nothing and get zeros.
	Gradient(ctx context.Context, x *tensor.Dense, where []bool, e Energy, energy []float64, dx *tensor.Dense) error
}

// Energy is the data term of one grid cell as a function of its score.
type Energy interface {
	Value(z float64) float64
	Slope(z float64) float64
}

// Options holds every constant of the refinement.
type Options struct{}
