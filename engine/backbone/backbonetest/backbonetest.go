// Package backbonetest makes small networks as ONNX files, for tests.
package backbonetest

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/onnx"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// Layers are the names of Residual's feature maps, with strides 4, 8 and 16 and Features channels.
var (
	Layers   = []string{"layer1", "layer2", "layer3"}
	Features = []int{8, 16, 24}
)

// ResNet18 are the channels of ResNet-18's.
var ResNet18 = []int{64, 128, 256}

// Residual is a network like a ResNet, for images of h x w pixels, with seeded weights: a 7x7 stem and a pooling, both of
// stride 2, and three stages of two residual blocks. Its receptive field is 211 pixels wide, like that of ResNet-18.
func Residual(t testing.TB, h, w int, seed uint64) *graph.Graph {
	t.Helper()
	return ResidualOf(t, h, w, seed, Features)
}

// ResidualOf is Residual with other numbers of channels.
func ResidualOf(t testing.TB, h, w int, seed uint64, features []int) *graph.Graph {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	b := graph.NewBuilder("residual")
	weights := func(gain float64, m, c, k int) string {
		x := nd.New(m, c, k, k)
		for i := range nd.Data(x) {
			nd.Data(x)[i] = float32(rng.NormFloat64() * gain * math.Sqrt(2/float64(c*k*k)))
		}
		return b.Const(x)
	}
	conv := func(name, x string, gain float64, c, m, k, stride int) string {
		bias := nd.New(m)
		for i := range m {
			nd.Data(bias)[i] = float32(0.1 * rng.NormFloat64())
		}
		p := k / 2
		return b.OpAs(name, graph.Conv, graph.Attrs{"strides": []int{stride, stride}, "pads": []int{p, p, p, p}},
			x, weights(gain, m, c, k), b.Const(bias))
	}
	x := b.Input("image", graph.N, 3, h, w)
	x = b.OpAs("/relu", graph.Relu, nil, conv("/conv1", x, 1, 3, features[0], 7, 2))
	x = b.OpAs("/maxpool", graph.MaxPool, graph.Attrs{
		"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1},
	}, x)
	c := features[0]
	var out []string
	for l, m := range features {
		for _, block := range []string{"0", "1"} {
			at := "/" + Layers[l] + "/" + Layers[l] + "." + block
			stride, skip := 1, x
			if c != m {
				stride = 2
				skip = conv(at+"/downsample", x, 0.7, c, m, 1, 2)
			}
			y := b.OpAs(at+"/relu", graph.Relu, nil, conv(at+"/conv1", x, 1, c, m, 3, stride))
			y = b.OpAs(at+"/add", graph.Add, nil, conv(at+"/conv2", y, 0.5, m, m, 3, 1), skip)
			x, c = b.OpAs(at+"/relu_1", graph.Relu, nil, y), m
		}
		out = append(out, x)
	}
	g, err := b.Graph(out...)
	require.NoError(t, err)
	return g
}

// Stem is a network of one convolution of stride 4, "layer1", with seeded weights, for images of one channel (grey) or, of the same
// values, of three of which it sees the luminance.
func Stem(t testing.TB, h, w int, seed uint64, grey bool) *graph.Graph {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	b, channels, shares := graph.NewBuilder("stem"), 3, []float64{0.299, 0.587, 0.114}
	if grey {
		channels, shares = 1, []float64{1}
	}
	const features, k = 8, 7
	weights := nd.New(features, channels, k, k)
	for m := range features {
		for i := range k * k {
			v := rng.NormFloat64() / k
			for c, share := range shares {
				nd.Data(weights)[(m*channels+c)*k*k+i] = float32(v * share)
			}
		}
	}
	x := b.Input("image", graph.N, channels, h, w)
	x = b.OpAs("/layer1/conv", graph.Conv, graph.Attrs{"strides": []int{4, 4}, "pads": []int{3, 3, 3, 3}}, x, b.Const(weights))
	g, err := b.Graph(b.OpAs("/layer1/relu", graph.Relu, nil, x))
	require.NoError(t, err)
	return g
}

// Write writes a graph to a new ONNX file and returns its path.
func Write(t testing.TB, name string, g *graph.Graph) string {
	t.Helper()
	data, err := onnx.Write(g)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// Constants lists a graph's constants.
func Constants(g *graph.Graph) (all map[*tensor.Dense]bool) {
	all = map[*tensor.Dense]bool{}
	for _, c := range g.Consts {
		all[c] = true
	}
	return all
}
