//go:build cgo

package ort

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// resnet builds the first three stages of ResNet-18 or of a Wide ResNet-50-2, BatchNormalizations folded, with random
// weights.
type resnet struct {
	*graph.Builder
	rng *rand.Rand
}

type architecture struct {
	name   string
	blocks [3]int
	block  func(r *resnet, x string, to, stride int) string
	out    int // channels of the first stage
}

var (
	resnet18 = architecture{"ResNet-18", [3]int{2, 2, 2}, (*resnet).basic, 64}
	wide50   = architecture{"WideResNet-50-2", [3]int{3, 4, 6}, (*resnet).bottleneck, 256}
)

// build returns the network for size x size images.
func (a architecture) build(t testing.TB, size int) *graph.Graph {
	r := &resnet{graph.NewBuilder(a.name), rand.New(rand.NewPCG(1, 2))}
	x := r.relu(r.conv(r.Input("x", graph.N, 3, size, size), 64, 7, 2))
	x = r.Op(graph.MaxPool, graph.Attrs{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}, x)
	var outs []string
	for stage, blocks := range a.blocks {
		for b := range blocks {
			stride := 1
			if stage > 0 && b == 0 {
				stride = 2
			}
			x = a.block(r, x, a.out<<stage, stride)
		}
		outs = append(outs, x)
	}
	g, err := r.Graph(outs...)
	require.NoError(t, err)
	return g
}

func (r *resnet) conv(x string, to, k, stride int) string {
	from := r.Shape(x)[1]
	weights, bias := nd.New(to, from, k, k), nd.New(to)
	for i := range nd.Data(weights) {
		nd.Data(weights)[i] = float32(r.rng.NormFloat64() / math.Sqrt(float64(from*k*k)))
	}
	for i := range nd.Data(bias) {
		nd.Data(bias)[i] = float32(r.rng.NormFloat64() / 10)
	}
	p := k / 2
	return r.Conv(x, r.Const(weights), r.Const(bias), graph.Attrs{"pads": []int{p, p, p, p}, "strides": []int{stride, stride}})
}

func (r *resnet) relu(x string) string { return r.Op(graph.Relu, nil, x) }

func (r *resnet) add(y, x string, to, stride int) string {
	if stride > 1 || r.Shape(x)[1] != to {
		x = r.conv(x, to, 1, stride)
	}
	return r.relu(r.Op(graph.Add, nil, y, x))
}

func (r *resnet) basic(x string, to, stride int) string {
	return r.add(r.conv(r.relu(r.conv(x, to, 3, stride)), to, 3, 1), x, to, stride)
}

func (r *resnet) bottleneck(x string, to, stride int) string {
	y := r.relu(r.conv(r.relu(r.conv(x, to/2, 1, 1)), to/2, 3, stride))
	return r.add(r.conv(y, to, 1, 1), x, to, stride)
}

// arrays are a network's inputs and outputs for some images: x and dy are random, y and dx to be filled.
type arrays struct{ x, y, dy, dx []*tensor.Dense }

func newArrays(t testing.TB, g *graph.Graph, images int) (a arrays) {
	shapes, err := g.Infer()
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(shape graph.Shape) *tensor.Dense {
		v := nd.New(append([]int{images}, shape[1:]...)...)
		for i := range nd.Data(v) {
			nd.Data(v)[i] = float32(rng.NormFloat64())
		}
		return v
	}
	for _, in := range g.Inputs {
		a.x, a.dx = append(a.x, random(in.Shape)), append(a.dx, random(in.Shape))
	}
	for _, out := range g.Outputs {
		a.y, a.dy = append(a.y, random(shapes[out])), append(a.dy, random(shapes[out]))
	}
	return a
}

// image is one image's part.
func (a arrays) image(i int) (one arrays) {
	for _, f := range []struct {
		to   *[]*tensor.Dense
		from []*tensor.Dense
	}{{&one.x, a.x}, {&one.y, a.y}, {&one.dy, a.dy}, {&one.dx, a.dx}} {
		for _, t := range f.from {
			s := t.Shape()
			size := nd.Size(s[1:]...)
			*f.to = append(*f.to, nd.Wrap(nd.Data(t)[i*size:][:size], append([]int{1}, s[1:]...)...))
		}
	}
	return one
}

// results are the outputs and the inputs' gradients, copied.
func (a arrays) results() (all [][]float32) {
	for _, ts := range [][]*tensor.Dense{a.y, a.dx} {
		for _, t := range ts {
			all = append(all, append([]float32(nil), nd.Data(t)...))
		}
	}
	return all
}
