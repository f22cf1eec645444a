//go:build cgo

package ort

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// The step in Go has the bits of the Go executor's, which the suite compares with the interpreter: with ties, zeros of both
// signs, infinities and all sorts of NaN, too, and however the planes are dealt out.
func TestMaxPoolGrad(t *testing.T) {
	type ints = []int
	nan := math.Float32frombits
	special := []float32{0, float32(math.Copysign(0, -1)), 1, 1, -1, -2.5, nan(0x7fc00000), nan(0xffc00000), nan(0x7f800001),
		float32(math.Inf(1)), float32(math.Inf(-1)), math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32}
	for _, c := range []struct {
		name    string
		h, w    int
		attr    graph.Attrs
		special bool
	}{
		{"ResNet's", 17, 20, graph.Attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{1, 1, 1, 1}}, false},
		{"VGG's", 12, 10, graph.Attrs{"kernel_shape": ints{2, 2}, "strides": ints{2, 2}}, true},
		{"Inception's", 9, 9, graph.Attrs{"kernel_shape": ints{3, 3}, "pads": ints{1, 1, 1, 1}}, true},
		{"dilated", 11, 13, graph.Attrs{"kernel_shape": ints{2, 3}, "dilations": ints{3, 2}, "pads": ints{1, 1, 0, 2}}, true},
		{"uneven", 8, 15, graph.Attrs{"kernel_shape": ints{4, 3}, "strides": ints{1, 3}, "pads": ints{2, 0, 1, 2}}, true},
		{"apart", 9, 9, graph.Attrs{"kernel_shape": ints{1, 2}, "strides": ints{3, 4}}, true},
		{"ceil", 6, 8, graph.Attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{0, 1, 0, 1}, "ceil_mode": 1}, true},
		{"rows only", 7, 1, graph.Attrs{"kernel_shape": ints{3, 1}, "strides": ints{2, 1}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			const channels = 5
			forward := graph.NewBuilder("forward")
			y := forward.Op(graph.MaxPool, c.attr, forward.Input("x", graph.N, channels, c.h, c.w))
			require.NoError(t, forward.Err())
			shape := forward.Shape(y)
			b := graph.NewBuilder("backward")
			g, err := b.Graph(b.Op(graph.MaxPoolGrad, c.attr, b.Input("dy", shape...), b.Input("x", graph.N, channels, c.h, c.w)))
			require.NoError(t, err)

			rng := rand.New(rand.NewPCG(5, 6))
			x, dy, want := nd.New(1, channels, c.h, c.w), nd.New(1, channels, shape[2], shape[3]), nd.New(1, channels, c.h, c.w)
			for i := range nd.Data(x) {
				nd.Data(x)[i] = rng.Float32() - 0.5
				if c.special && rng.IntN(2) == 0 {
					nd.Data(x)[i] = special[rng.IntN(len(special))]
				}
			}
			for i := range nd.Data(dy) {
				nd.Data(dy)[i] = rng.Float32() - 0.5
			}
			n := compile(t, goexec.New(), g, false)
			require.NoError(t, n.Forward(context.Background(), []*tensor.Dense{dy, x}, []*tensor.Dense{want}))

			shapes, err := g.Infer()
			require.NoError(t, err)
			h, err := maxPoolGrad(g.Nodes[0], shapes)
			require.NoError(t, err)
			require.Equal(t, channels, h.planes)
			got, scratch := make([]float32, channels*c.h*c.w), make([]int64, h.scratch)
			for i := range got {
				got[i] = float32(math.NaN())
			}
			for i := range scratch {
				scratch[i] = math.MaxInt64
			}
			for _, r := range [][2]int{{3, 5}, {0, 1}, {1, 3}} {
				h.run([][]float32{nd.Data(dy), nd.Data(x)}, got, scratch, r[0], r[1])
			}
			require.Equal(t, nd.Data(want), got)
		})
	}
}
