package backbone

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

const (
	scatterName   = "scatter"
	scatterStride = 4
	scatterSide   = 20 // reflecting 4 pixels needs 5 of them at the coarsest level, which is decimated by 4
	scatterMargin = 32
	maxFeatures   = 48
	greyMean      = 0.4
)

// Scatter is the built-in backbone: a two-layer scattering network of analytic filters, with a principal component
// analysis learned from normal images. Nothing is downloaded and no gradient is needed to train it. Design: this
// project's own, after Mallat, "Group invariant scattering" (2012), and Bruna and Mallat, "Invariant scattering
// convolution networks" (2013).
//
// With the luminance L = 0.299 R + 0.587 G + 0.114 B, G_s a Gaussian of s pixels cut at 3 s, * its convolution, and all
// maps sampled at stride 4, the channels before projection are, in this order,
//
//	4 (G_3 * x)                                        low-pass, for x = L-0.4 and, in colour, R-G and (R+G)/2-B
//	log(sqrt(G_3 * x^2 - (G_3 * x)^2 + 1e-6) + 0.01)   local deviation, for the same x
//	log(G_3 * |L_l . psi_k| + 0.004)                   level l = 0, 1, 2, orientation k = 0..5
//	log(G_3 * ||L . psi_j|_1 . psi_k| + 0.002)         orientations j = 0..5, k = 0..5
//
// 60 channels in colour, 56 in grey. Here psi_k is a complex 9x9 Gabor filter (see gabor), |z| = sqrt(re^2+im^2+1e-6),
// level l is blurred by G_1 and decimated by 2, l times over (as |.|_1 is, once), and G_3 is 3 pixels of the image at
// every level. Taking 0.4 off L makes the difference of squares round less; standardisation removes it again. Every
// convolution reflects the image at its border, the border pixel not repeated. Decimations use an even number of taps, so
// that cell i is centred on pixel 4i+1.5 exactly.
//
// Each channel is standardised and the channels are projected onto their first 48 principal components, unwhitened, both
// as one 1x1 convolution. A model is grey if all its training images have equal colour channels; a grey model sees the
// luminance alone, divided by its mean over the image and multiplied by 0.4, whatever image it is given.
//
// Cost: about 3,000 multiplications per pixel, twice that with the gradient. A fitted Scatter is safe for concurrent use.
type Scatter struct {
	grey       bool
	mean       []float32 // [C] of the channels
	deviation  []float32 // [C]
	projection []float32 // [D,C], rows orthonormal
}

// scatterRevision is that of the section "backbone/scatter": one more when a field of it comes, goes or means something
// else. loadScatter then says what the older revisions mean by it.
const scatterRevision = 1

// scatterInfo is the section "backbone/scatter" of a model.
type scatterInfo struct {
	Revision int  `json:"revision"`
	Grey     bool `json:"grey"`
}

// NewScatter returns a backbone that is ready for Fit.
func NewScatter() *Scatter { return &Scatter{} }

var errUnfitted = errors.New("backbone: scatter is not fitted")

// Name returns "scatter".
func (s *Scatter) Name() string { return scatterName }

// Stride returns 4.
func (s *Scatter) Stride() int { return scatterStride }

// Multiple returns 4.
func (s *Scatter) Multiple() int { return scatterStride }

// Margin returns 32: the coarsest path reaches 31.5 pixels from a cell's centre.
func (s *Scatter) Margin() int { return scatterMargin }

// MinSide is the least height and width of an image, 20 pixels: the filters reflect the image at its border.
func (s *Scatter) MinSide() int { return scatterSide }

// Grey reports whether the model looks at the luminance only.
func (s *Scatter) Grey() bool { return s.grey }

// Features is the number of features per cell; 0 before Fit.
func (s *Scatter) Features() int {
	if len(s.mean) == 0 {
		return 0
	}
	return len(s.projection) / len(s.mean)
}

// Widths is Features, of the only layer.
func (s *Scatter) Widths() []int {
	if n := s.Features(); n > 0 {
		return []int{n}
	}
	return nil
}

// Normalize of a grey model scales the image to a mean luminance of 0.4; an image darker than one step of 8 bits counts
// as one step bright. A colour model takes images as they are. img is [3,H,W].
func (s *Scatter) Normalize(img *tensor.Dense) Affine {
	a := Affine{Scale: [3]float32{1, 1, 1}}
	if s.grey {
		data := nd.Data(img)
		pixels := len(data) / 3
		sum := 0.0
		for c, weight := range luminance {
			plane := 0.0
			for _, v := range data[c*pixels : (c+1)*pixels] {
				plane += float64(v)
			}
			sum += weight * plane
		}
		scale := float32(greyMean / max(sum/float64(pixels), 1.0/255))
		a.Scale = [3]float32{scale, scale, scale}
	}
	return a
}

// Graph builds the network for images of h x w pixels: image [N,3,h,w] to features [N,D,h/4,w/4]. It fails before Fit,
// and for sides that are below MinSide or not multiples of the stride.
func (s *Scatter) Graph(h, w int) (*graph.Graph, error) {
	if s.Features() == 0 {
		return nil, errUnfitted
	}
	return s.build(h, w, true)
}

// Fit decides between grey and colour and learns the channels' means, deviations and principal components, each in one
// pass over the images. There is nothing random in it: seed is not used. Cost per image: one forward pass and h/4 w/4 C^2
// multiplications.
func (s *Scatter) Fit(ctx context.Context, ex exec.Executor, imgs Images, seed uint64) error {
	grey, err := allGrey(ctx, imgs)
	if err != nil {
		return err
	}
	fitted := Scatter{grey: grey}
	channels := fitted.channels()
	nets := exec.NewPool(ex, func(h, w int) (*graph.Graph, error) { return fitted.build(h, w, false) }, fitSizes, math.MaxInt)
	defer nets.Close()
	m := newMoments(channels)
	err = imgs(ctx, func(img *tensor.Dense) error {
		h, w := img.Shape()[1], img.Shape()[2]
		net, err := nets.Take(h, w, false)
		if err != nil {
			return err
		}
		defer nets.Give(net)
		x, f := fitted.Normalize(img).apply(img), net.Outputs(1)
		if err := net.Forward(ctx, []*tensor.Dense{x}, f); err != nil {
			return err
		}
		if slices.ContainsFunc(nd.Data(f[0]), func(v float32) bool { return !finite(v) }) {
			return fmt.Errorf("backbone: scatter gives %w", ErrNotFinite)
		}
		m.add(nd.Data(f[0]))
		return nil
	})
	if err != nil {
		return err
	}
	deviation, vectors, err := m.pca(min(maxFeatures, channels))
	if err != nil {
		return fmt.Errorf("backbone: scatter: %w", err)
	}
	fitted.mean, fitted.deviation, fitted.projection = float32s(m.mean), float32s(deviation), float32s(vectors)
	*s = fitted
	return nil
}

// fitSizes is how many sizes of images a fit keeps graphs for: data sets mostly have one size, some have one per image.
const fitSizes = 4

// errColour ends the search for a colour image.
var errColour = errors.New("a colour image")

// allGrey reports whether every image has equal channels, and checks their shapes.
func allGrey(ctx context.Context, imgs Images) (bool, error) {
	seen := false
	err := imgs(ctx, func(img *tensor.Dense) error {
		seen = true
		if err := nd.Check("image", img, 3, -1, -1); err != nil {
			return fmt.Errorf("backbone: scatter: %w", err)
		}
		data := nd.Data(img)
		p := len(data) / 3
		if !slices.Equal(data[:p], data[p:2*p]) || !slices.Equal(data[:p], data[2*p:]) {
			return errColour
		}
		return nil
	})
	if err == nil && !seen {
		err = errors.New("backbone: scatter: no training images")
	}
	if errors.Is(err, errColour) {
		return false, nil
	}
	return err == nil, err
}

// apply returns the image [3,H,W] as the network's input [1,3,H,W].
func (a Affine) apply(img *tensor.Dense) *tensor.Dense {
	s := img.Shape()
	x := nd.New(1, s[0], s[1], s[2])
	from, to := nd.Data(img), nd.Data(x)
	p := len(from) / 3
	for i, v := range from {
		to[i] = v*a.Scale[i/p] + a.Shift[i/p]
	}
	return x
}

// Describe says what was learned.
func (s *Scatter) Describe() any {
	return struct {
		Grey     bool `json:"grey"`
		Features int  `json:"features"`
	}{s.grey, s.Features()}
}

// Save writes the sections backbone/info, backbone/scatter, backbone/mean [C], backbone/deviation [C] and backbone/pca
// [D,C].
func (s *Scatter) Save(w *artifact.Writer) error {
	d, c := s.Features(), len(s.mean)
	if d == 0 {
		return errUnfitted
	}
	return errors.Join(
		w.JSON("backbone/info", info{Name: scatterName}),
		w.JSON("backbone/scatter", scatterInfo{scatterRevision, s.grey}),
		w.Float32("backbone/mean", s.mean, c),
		w.Float32("backbone/deviation", s.deviation, c),
		w.Float32("backbone/pca", s.projection, d, c),
	)
}

// loadScatter reads what Save wrote.
func loadScatter(f *artifact.File) (*Scatter, error) {
	var stored scatterInfo
	if err := f.Options("backbone/scatter", scatterRevision, func(int) any { return &stored }); err != nil {
		return nil, err
	}
	s := &Scatter{grey: stored.Grey}
	c := s.channels()
	mean, _, err := f.Float32("backbone/mean", c)
	if err != nil {
		return nil, err
	}
	deviation, _, err := f.Float32("backbone/deviation", c)
	if err != nil {
		return nil, err
	}
	projection, shape, err := f.Float32("backbone/pca", -1, c)
	if err != nil {
		return nil, err
	}
	if shape[0] > c {
		return nil, fmt.Errorf("section %q: %d components of %d channels", "backbone/pca", shape[0], c)
	}
	if least := slices.Min(deviation); !(least >= minDeviation) {
		return nil, fmt.Errorf("section %q: a deviation of %g, at least %g is possible", "backbone/deviation", least, minDeviation)
	}
	s.mean, s.deviation, s.projection = mean, deviation, projection
	return s, nil
}

func float32s(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
