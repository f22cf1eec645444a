package backbone

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"

	"gorgonia.org/tensor"
)

// Preprocess says what a network expects of its input: it was trained on (Range*v - Mean)/Std for pixel values v in [0,1].
type Preprocess struct {
	Mean  [3]float32 `json:"mean"`  // of R, G, B, after Range
	Std   [3]float32 `json:"std"`   // likewise; positive
	Range float32    `json:"range"` // value of a white pixel before Mean and Std: 1, or 255
	BGR   bool       `json:"bgr"`   // the network's channels are blue, green, red
}

// ImageNet is what torchvision's and most of timm's networks expect.
var ImageNet = Preprocess{Mean: [3]float32{0.485, 0.456, 0.406}, Std: [3]float32{0.229, 0.224, 0.225}, Range: 1}

func (p Preprocess) check() error {
	for c := range 3 {
		if !finite(p.Mean[c]) || !finite(p.Std[c]) || p.Std[c] <= 0 {
			return fmt.Errorf("mean %v and std %v: want finite numbers, std above 0", p.Mean, p.Std)
		}
	}
	if !finite(p.Range) || p.Range <= 0 {
		return fmt.Errorf("range %g: want a finite number above 0", p.Range)
	}
	return nil
}

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

// ONNX is a trained network in a file of its own, and the layers of it that make the features. A model keeps the file's
// hash and not its weights. It is safe for concurrent use once Bind has returned.
//
// Its maps lie where the traditions put them: a layer's map is stretched over the image as if its cells tiled it. (The
// cells of a ResNet look half a stride less half a pixel to the upper left of that; the receptive fields are many times
// wider.)
type ONNX struct {
	info onnxInfo
	net  *onnx.Model // nil before Bind

	mu     sync.Mutex
	shared map[string]*tensor.Dense // constants of the graphs made so far: those of all sizes share them
}

// onnxRevision is that of the section "backbone/onnx", as scatterRevision is of its own.
const onnxRevision = 1

// onnxInfo is the section "backbone/onnx" of a model.
type onnxInfo struct {
	Revision   int        `json:"revision"`
	File       string     `json:"file"` // as it was named when the model was fitted
	SHA256     string     `json:"sha256"`
	Layers     []string   `json:"layers"`   // finest first
	Features   []int      `json:"features"` // channels of each
	Stride     int        `json:"stride"`   // pixels per cell of the first
	Multiple   int        `json:"multiple"` // pixels per cell of the last
	Margin     int        `json:"margin"`
	MinSide    int        `json:"min_side"`
	Preprocess Preprocess `json:"preprocess"`
}

// ErrOtherNetwork means that a file is not the network that a model was fitted with.
var ErrOtherNetwork = errors.New("not the network that the model was fitted with")

// openNetwork reads a network from a regular file: anything else that has its name is not waited for.
func openNetwork(path string) (*onnx.Model, error) {
	if err := openfile.Check(path); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return onnx.Open(path)
}

const onnxName = "onnx"

// Bounds of what a model may say about its network. A square of maxLeast pixels is half of what an image may have.
const (
	maxLeast    = 1 << 13
	maxMultiple = 1 << 8 // several times the coarsest stride in use
	maxLayers   = 64
	maxChannels = 1 << 16
)

// Whole is the Margin of a network whose features depend on the whole image: windows of it cannot stand for it.
const Whole = 1 << 30

// OpenONNX reads a network from an ONNX file. layers name its feature maps (a module such as "layer2", a node or a tensor),
// in any order. Errors name the file, and the node, operator or layer.
func OpenONNX(path string, layers []string, p Preprocess) (*ONNX, error) {
	net, err := openNetwork(path)
	if err != nil {
		return nil, err
	}
	b := &ONNX{net: net, info: onnxInfo{
		Revision: onnxRevision, File: path, SHA256: net.SHA256(), Layers: slices.Clone(layers), Preprocess: p,
	}}
	if err := b.measure(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// probe is the side of the image that a network without a size of its own is measured with.
const probe = 256

// measure finds what the interface promises: strides, margin and the least image.
func (b *ONNX) measure() error {
	if len(b.info.Layers) == 0 {
		return errors.New("no layers named: f2pad inspect lists them")
	}
	for i, l := range b.info.Layers {
		if slices.Contains(b.info.Layers[:i], l) {
			return fmt.Errorf("layer %q is named twice", l)
		}
	}
	if err := b.info.Preprocess.check(); err != nil {
		return err
	}
	if b.net.Grey() && b.info.Preprocess.BGR {
		return errors.New("it takes images of one channel, which has no order")
	}
	h, w := b.net.InputSize()
	if h == 0 {
		h = probe
	}
	if w == 0 {
		w = probe
	}
	g, err := b.graph(h, w)
	if err != nil {
		return err
	}
	shapes, err := g.Infer()
	if err != nil {
		return err
	}
	type layer struct {
		name           string
		stride, number int
	}
	var all []layer
	for i, out := range g.Outputs {
		s := shapes[out]
		if len(s) != 4 {
			return fmt.Errorf("layer %q has shape %v: want a map [N,D,h,w]", b.info.Layers[i], s)
		}
		if h%s[2] != 0 || w%s[3] != 0 || h/s[2] != w/s[3] {
			return fmt.Errorf("layer %q has %dx%d cells for %dx%d pixels: want square cells of whole pixels",
				b.info.Layers[i], s[2], s[3], h, w)
		}
		all = append(all, layer{b.info.Layers[i], h / s[2], s[1]})
	}
	slices.SortStableFunc(all, func(a, b layer) int { return a.stride - b.stride })
	finest, coarsest := all[0].stride, all[len(all)-1].stride
	b.info.Stride, b.info.Multiple = finest, coarsest
	b.info.Layers = b.info.Layers[:0]
	for _, l := range all {
		if coarsest%l.stride != 0 || l.stride%finest != 0 {
			return fmt.Errorf("layer %q has stride %d, others %d and %d: want each a multiple of the finer ones", l.name, l.stride, finest, coarsest)
		}
		b.info.Layers = append(b.info.Layers, l.name)
		b.info.Features = append(b.info.Features, l.number)
	}
	b.info.Margin = Whole
	if radius, ok := g.Margin(); ok {
		b.info.Margin = radius
	}
	for b.info.MinSide = coarsest; b.info.MinSide < min(h, w); b.info.MinSide += coarsest {
		if _, err := b.graph(b.info.MinSide, b.info.MinSide); err == nil {
			break
		}
	}
	return b.info.check()
}

// Name is the file's name without its folder: "resnet18.onnx".
func (b *ONNX) Name() string { return filepath.Base(filepath.ToSlash(b.info.File)) }

// Stride implements Backbone.
func (b *ONNX) Stride() int { return b.info.Stride }

// Multiple implements Backbone.
func (b *ONNX) Multiple() int { return b.info.Multiple }

// Margin implements Backbone; Whole where every feature sees the whole image.
func (b *ONNX) Margin() int { return b.info.Margin }

// MinSide implements Backbone.
func (b *ONNX) MinSide() int { return b.info.MinSide }

// Widths implements Backbone.
func (b *ONNX) Widths() []int { return slices.Clone(b.info.Features) }

// Normalize implements Backbone: it is the same for all images.
func (b *ONNX) Normalize(*tensor.Dense) Affine {
	p := &b.info.Preprocess
	var a Affine
	for c := range 3 {
		a.Scale[c] = p.Range / p.Std[c]
		a.Shift[c] = -p.Mean[c] / p.Std[c]
	}
	return a
}

// Graph implements Backbone. Graphs of different sizes share their constants. It fails before Bind, and for sizes that the
// network cannot take.
func (b *ONNX) Graph(h, w int) (*graph.Graph, error) {
	if b.net == nil {
		return nil, fmt.Errorf("backbone: the network %s is not loaded", b.info.File)
	}
	g, err := b.graph(h, w)
	if err != nil {
		return nil, fmt.Errorf("backbone: %s: %w", b.info.File, err)
	}
	return g, nil
}

func (b *ONNX) graph(h, w int) (*graph.Graph, error) {
	g, err := b.net.Graph(h, w, b.info.Layers)
	if err != nil {
		return nil, err
	}
	if b.info.Preprocess.BGR {
		reverseChannels(g)
	}
	if err := g.Fold(); err != nil {
		return nil, err
	}
	g.Prune()
	b.share(g)
	return g, nil
}

// share puts the constants of earlier graphs in the place of equal ones.
func (b *ONNX) share(g *graph.Graph) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shared == nil {
		b.shared = map[string]*tensor.Dense{}
	}
	for name, c := range g.Consts {
		before, ok := b.shared[name]
		if ok && before.Shape().Eq(c.Shape()) && slices.Equal(nd.Data(before), nd.Data(c)) {
			g.Consts[name] = before
		} else {
			b.shared[name] = c
		}
	}
}

// reverseChannels puts a 1x1 convolution that swaps the first and the last channel before everything else.
func reverseChannels(g *graph.Graph) {
	in, swapped, weights := g.Inputs[0].Name, "f2pad/bgr", "f2pad/bgr/W"
	for _, n := range g.Nodes {
		for i, name := range n.In {
			if name == in {
				n.In[i] = swapped
			}
		}
	}
	g.Consts[weights] = nd.Wrap([]float32{0, 0, 1, 0, 1, 0, 1, 0, 0}, 3, 3, 1, 1)
	g.Nodes = slices.Insert(g.Nodes, 0, &graph.Node{Name: swapped, Op: graph.Conv, In: []string{in, weights}, Out: swapped})
}

// Describe returns what a model records about the network.
func (b *ONNX) Describe() any { return b.info }

// Save writes the sections backbone/info and backbone/onnx.
func (b *ONNX) Save(w *artifact.Writer) error {
	return errors.Join(w.JSON("backbone/info", info{Name: onnxName}), w.JSON("backbone/onnx", b.info))
}

// loadONNX reads what Save wrote.
func loadONNX(f *artifact.File) (*ONNX, error) {
	b := &ONNX{}
	if err := f.Options("backbone/onnx", onnxRevision, func(int) any { return &b.info }); err != nil {
		return nil, err
	}
	b.info.Revision = onnxRevision
	if err := b.info.check(); err != nil {
		return nil, fmt.Errorf("section %q: %w", "backbone/onnx", err)
	}
	return b, nil
}

// check refuses what no network is like, before images and maps of such sizes are allocated.
func (i *onnxInfo) check() error {
	for _, f := range []struct {
		name           string
		got, low, high int
	}{
		{"number of layers", len(i.Layers), 1, maxLayers},
		{"number of features", len(i.Features), len(i.Layers), len(i.Layers)},
		{"stride", i.Stride, 1, maxMultiple},
		{"multiple", i.Multiple, i.Stride, maxMultiple},
		{"multiple's remainder by the stride", i.Multiple % max(i.Stride, 1), 0, 0},
		{"least side, min_side,", i.MinSide, i.Multiple, maxLeast},
		{"margin", i.Margin, 0, Whole},
		{"length of the hash, sha256,", len(i.SHA256), 1, 64},
	} {
		if f.got < f.low || f.got > f.high {
			return fmt.Errorf("the %s is %d: want %d to %d", f.name, f.got, f.low, f.high)
		}
	}
	for l, n := range i.Features {
		if n < 1 || n > maxChannels {
			return fmt.Errorf("the features of layer %q are %d: want 1 to %d", i.Layers[l], n, maxChannels)
		}
	}
	return i.Preprocess.check()
}

// File implements External.
func (b *ONNX) File() string { return b.info.File }

// Bound implements External.
func (b *ONNX) Bound() bool { return b.net != nil }

// Bind implements External.
func (b *ONNX) Bind(path string) error {
	net, err := openNetwork(path)
	if err != nil {
		return err
	}
	if got := net.SHA256(); got != b.info.SHA256 {
		return fmt.Errorf("%s: %w, %s (sha256 %.12s..., want %.12s...)", path, ErrOtherNetwork, b.info.File, got, b.info.SHA256)
	}
	b.net = net
	return nil
}
