// Package method defines what a feature-level anomaly detector is to the rest of the program: fitted on the feature maps
// of normal images, it scores every location of an image and gives the gradient of those scores w.r.t. the features.
package method

import (
	"context"

	"f2pad.example/engine/artifact"

	"gorgonia.org/tensor"
)

// Features visits the feature maps of the training images, one image at a time in a fixed order, as often as it is called
// (a flow is trained over many epochs): one [1,D,h,w] tensor per backbone layer, finest first. The visitor must not keep
// them. All images have the same h x w unless the model is of native size.
type Features func(ctx context.Context, visit func(f []*tensor.Dense) error) error

// Method is a fitted detector, which computes on the CPU. It is safe for concurrent use.
type Method interface {
	// Name is what --method takes: "padim", "patchcore", "cflow".
	Name() string
	// Score fills r.S for the feature maps f ([N,D,h,w] per layer), and r.Image if it is not nil and the method has an
	// image score of its own. Where r.Where is set, other locations may be left alone. r keeps what Grad needs.
	Score(ctx context.Context, f []*tensor.Dense, r *Result) error
	// Grad fills df (shapes of f) with sum_v dS[v] * ds_v/df for the features and result of a Score call with r.Gradient.
	// dS is 0 where a location was not wanted.
	Grad(ctx context.Context, f []*tensor.Dense, r *Result, dS *tensor.Dense, df []*tensor.Dense) error
	// Shape is what the method was fitted on.
	Shape() Shape
	// Map says how scores become a map at the image's resolution.
	Map() MapOptions
	// Describe lists the fitted state for people: profile, options, sizes (JSON-encodable).
	Describe() any
	// Save writes the fitted state under the prefix "method/".
	Save(w *artifact.Writer) error
}

// Shape is what a method takes: layers of the given widths, finest first, on a grid of H x W cells, or on any if H is 0.
type Shape struct {
	Widths []int
	H, W   int
}

// Result holds the scores of one batch.
type Result struct {
	S     *tensor.Dense // [N,h,w] on the finest layer's grid; made by the caller
	Where []bool        // N*h*w; nil: every location
	// Gradient says that Grad will follow: Score keeps what it needs, some D values per wanted location.
	Gradient bool
	// Image takes N image scores; nil: not wanted. Needs Where == nil. A method whose image score is the maximum of its
	// map (PaDiM) leaves it as it is: the caller, who knows which pixels are padding, takes that from BaseMap.
	Image []float32
	// Inside are the locations, N*h*w, that image scores are of; nil: all. Each image has some.
	Inside []bool
	// Origins are, for each of N windows, the grid cell (row, column) of its image's full grid that cell (0,0) of f is; nil:
	// whole images. Methods with one state per location need them.
	Origins [][2]int
	// Aux is the method's own: what Score found that Grad would have to find again.
	Aux any
}

// MapOptions is a method's convention for its own map ("base"): resize the grid of scores to the input, then blur.
// BaseMap makes it.
type MapOptions struct {
	Nearest bool    // nearest instead of half-pixel bilinear
	Sigma   float64 // Gaussian, input pixels; 0: no blur
	// Reflect101 mirrors without repeating the edge pixel (PyTorch's "reflect"); otherwise the edge pixel repeats (scipy's).
	Reflect101 bool
	Radius     int // kernel radius in pixels
}
