// Package backbone holds the networks that turn an image into feature maps. A backbone makes graphs; it runs nothing.
package backbone

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"

	"gorgonia.org/tensor"
)

// Backbone is a network, trained or fitted, that every method can sit on.
type Backbone interface {
	// Name is what models and reports call it: "scatter", or the name of an ONNX file.
	Name() string
	// Stride is the number of pixels per cell of the finest feature map. Cell (i,j) is centred on pixel
	// ((i+0.5)*Stride-0.5, (j+0.5)*Stride-0.5), so that half-pixel bilinear resizing brings maps back in place.
	Stride() int
	// Multiple is what the image's height and width have to be multiples of: the pixels per cell of the coarsest feature map,
	// a multiple of Stride.
	Multiple() int
	// Margin is the radius of the receptive field in pixels: a feature is the same whatever lies further away. Windows
	// overlap by it. Whole where every feature depends on the whole image.
	Margin() int
	// MinSide is the least height and width that Graph takes.
	MinSide() int
	// Widths lists the channels of each layer, finest first; nil before a Fitter has learned.
	Widths() []int
	// Normalize says how an image's pixels become the graph's input; it sees the whole image, also when windows of it
	// are run.
	Normalize(img *tensor.Dense) Affine
	// Graph builds the network for images of h x w pixels, both multiples of Multiple: one input [N,3,h,w], one output
	// per layer [N,D,h/s,w/s], finest first.
	Graph(h, w int) (*graph.Graph, error)
	// Save writes the backbone's parameters under the prefix "backbone/".
	Save(w *artifact.Writer) error
	// Describe returns what it is, for people (JSON-encodable).
	Describe() any
}

// External is a backbone whose network is in a file of its own, outside of the model.
type External interface {
	Backbone
	// File is the network's file as it was named when the model was fitted.
	File() string
	// Bind reads the network, without which there is no Graph, from a file. It has to be the one that the model was fitted
	// with: ErrOtherNetwork. Bind comes before all other use.
	Bind(path string) error
	// Bound reports whether the network is there.
	Bound() bool
}

// Affine maps a pixel value v of channel c to v*Scale[c]+Shift[c].
type Affine struct{ Scale, Shift [3]float32 }

// Images visits training images [3,H,W] in [0,1], in a fixed order, as often as it is called; H and W are multiples of
// the stride and may differ between images. The visitor must not keep the tensor.
type Images func(ctx context.Context, visit func(img *tensor.Dense) error) error

// ErrNotFinite is what a Fitter says, wrapped, of an image for which its network gives NaN or Inf: to who shows it that image.
var ErrNotFinite = errors.New("features that are not finite")

// Fitter is a backbone that learns something from normal images before it can be used (scatter's PCA).
type Fitter interface {
	Backbone
	Fit(ctx context.Context, ex exec.Executor, imgs Images, seed uint64) error
}

// info is the section "backbone/info" of a model: which backbone the rest belongs to.
type info struct {
	Name string `json:"name"`
}

// Load reads the backbone that a model was fitted with. Errors name the section at fault.
func Load(f *artifact.File) (Backbone, error) {
	var stored info
	if err := f.JSON("backbone/info", &stored); err != nil {
		return nil, fmt.Errorf("backbone: %w", err)
	}
	switch stored.Name {
	case scatterName:
		s, err := loadScatter(f)
		if err != nil {
			return nil, fmt.Errorf("backbone: scatter: %w", err)
		}
		return s, nil
	case onnxName:
		b, err := loadONNX(f)
		if err != nil {
			return nil, fmt.Errorf("backbone: onnx: %w", err)
		}
		return b, nil
	default:
		return nil, fmt.Errorf("backbone: unknown backbone %q", stored.Name)
	}
}
