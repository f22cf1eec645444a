package pretrained

import (
	"fmt"
	"strings"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

// lite is what the EfficientNet-Lites were trained with: (255 v - 127)/128.
var lite = backbone.Preprocess{Mean: [3]float32{127, 127, 127}, Std: [3]float32{128, 128, 128}, Range: 255}

// stages of EfficientNet, before scaling: blocks, kernel, stride of the first block, expansion, channels.
var stages = []struct{ blocks, kernel, stride, expand, channels int }{
	{1, 3, 1, 1, 16}, {2, 3, 2, 6, 24}, {2, 5, 2, 6, 40}, {3, 3, 2, 6, 80}, {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192}, {1, 3, 1, 6, 320},
}

const (
	liteStem    = 32   // channels, which the Lites do not scale
	liteEpsilon = 1e-3 // of batch normalisations
	liteSide    = 64   // of the graph, before it is written for every size
)

// efficientNetLite is the recipe of an EfficientNet-Lite (Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional
// Neural Networks", ICML 2019, without squeeze and excitation and with ReLU6; Liu, "Higher accuracy on vision models with
// EfficientNet-Lite", 2020) up to its last block: head and classifier see the whole image. Channels and blocks are scaled by
// width and depth, in percent. Modules and weights have the names of the Python package efficientnet-lite-pytorch.
//
// Padding is TensorFlow's "same": as much as makes ceil(h/stride) cells, the odd pixel at the end. With a stride of 2 it
// depends on whether h is even; here it is that of even extents, which all are where the image's sides are multiples of
// the stride of the deepest layer that is asked for.
func efficientNetLite(name string, width, depth int) func(Weights) (*graph.Graph, error) {
	return func(w Weights) (*graph.Graph, error) {
		r := &recipe{b: graph.NewBuilder(name), weights: w}
		x := r.b.Input("image", graph.N, 3, liteSide, liteSide)
		x = r.norm("/_bn0", r.conv("/_conv_stem", x, 3, liteStem, 3, 2, 1), liteStem)
		x = r.relu6("/_swish/Clip", x)
		channels, block := liteStem, 0
		for i, s := range stages {
			blocks := s.blocks
			if i > 0 && i < len(stages)-1 { // the Lites scale neither the first nor the last
				blocks = (s.blocks*depth + 99) / 100
			}
			for j := range blocks {
				stride := 1
				if j == 0 {
					stride = s.stride
				}
				out := scaled(s.channels, width)
				x = r.block(fmt.Sprintf("/_blocks.%d", block), x, channels, out, s.kernel, stride, s.expand)
				channels = out
				block++
			}
		}
		g, err := r.b.Graph(x)
		if r.err != nil {
			return nil, r.err
		}
		return g, err
	}
}

// scaled multiplies channels by percent/100 and rounds to a multiple of 8, which loses no more than a tenth.
func scaled(channels, percent int) int {
	n := max(8, (channels*percent+400)/800*8)
	if 1000*n < 9*channels*percent {
		n += 8
	}
	return n
}

// recipe is a graph in the making around weights. It keeps the first error.
type recipe struct {
	b       *graph.Builder
	weights Weights
	err     error
}

// constant adds the weights of a name.
func (r *recipe) constant(name string, shape ...int) string {
	t, err := r.weights(name, shape...)
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		t = nd.New(shape...) // in their place, to go on
	}
	return r.b.ConstAs(name, t)
}

// parameter is the name of a module's weights: "_blocks.0._bn1.weight" of "/_blocks.0/_bn1".
func parameter(module, name string) string {
	return strings.ReplaceAll(module[1:], "/", ".") + "." + name
}

// conv adds a convolution of x [N,C,h,w] without bias to channels out; groups is 1 or C.
func (r *recipe) conv(module, x string, channels, out, kernel, stride, groups int) string {
	pad := kernel - stride // for even extents
	before, after := pad/2, pad-pad/2
	attr := graph.Attrs{"strides": []int{stride, stride}, "pads": []int{before, before, after, after}, "group": groups}
	w := r.constant(parameter(module, "weight"), out, channels/groups, kernel, kernel)
	return r.b.OpAs(module+"/Conv", graph.Conv, attr, x, w)
}

func (r *recipe) norm(module, x string, channels int) string {
	in := []string{x}
	for _, name := range []string{"weight", "bias", "running_mean", "running_var"} {
		in = append(in, r.constant(parameter(module, name), channels))
	}
	return r.b.OpAs(module+"/BatchNormalization", graph.BatchNormalization, graph.Attrs{"epsilon": float32(liteEpsilon)}, in...)
}

// relu6 is min(max(x, 0), 6).
func (r *recipe) relu6(name, x string) string {
	return r.b.OpAs(name, graph.Clip, graph.Attrs{"min": float32(0), "max": float32(6)}, x)
}

// block adds an inverted residual block: 1x1 convolution to expand times the channels, one per channel, 1x1 convolution to
// out channels, and x itself where that has the shape of the result.
func (r *recipe) block(module, x string, channels, out, kernel, stride, expand int) string {
	y, inner := x, channels*expand
	if expand > 1 {
		y = r.norm(module+"/_bn0", r.conv(module+"/_expand_conv", y, channels, inner, 1, 1, 1), inner)
		y = r.relu6(module+"/_swish/Clip", y)
	}
	y = r.norm(module+"/_bn1", r.conv(module+"/_depthwise_conv", y, inner, inner, kernel, stride, inner), inner)
	y = r.relu6(module+"/_swish/Clip_1", y)
	y = r.norm(module+"/_bn2", r.conv(module+"/_project_conv", y, inner, out, 1, 1, 1), out)
	if stride == 1 && channels == out {
		y = r.b.OpAs(module+"/Add", graph.Add, nil, y, x)
	}
	return y
}
