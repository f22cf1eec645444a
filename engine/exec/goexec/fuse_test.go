package goexec

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// What is fused has the bits of what is not: the same network gives them when every value is an output.
func TestFusedIsUnfused(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	const channels, height, width = 5, 11, 13
	type build func(b *graph.Builder, x string) string
	weights := func(b *graph.Builder, shape ...int) string {
		v := nd.New(shape...)
		for i := range nd.Data(v) {
			nd.Data(v)[i] = float32(rng.NormFloat64()) / 4
		}
		return b.Const(v)
	}
	conv := func(b *graph.Builder, x string) string {
		c := b.Shape(x)[1]
		return b.Conv(x, weights(b, channels, c, 3, 3), weights(b, channels), graph.Attrs{"pads": []int{1, 1, 1, 1}})
	}
	up := func(b *graph.Builder, x string) string {
		return b.Op(graph.ConvTranspose, graph.Attrs{"strides": []int{2, 3}, "pads": []int{1, 0, 0, 1}}, x,
			weights(b, channels, 3, 3, 4), weights(b, 3))
	}
	op := func(op graph.Op, b *graph.Builder, x ...string) string { return b.Op(op, nil, x...) }
	positive := graph.Attrs{"min": float32(0)}
	for _, c := range []struct {
		name  string
		steps int // of the forward phase
		build build
	}{
		{"activation", 1, func(b *graph.Builder, x string) string { return op(graph.LeakyRelu, b, conv(b, x)) }},
		{"activations", 1, func(b *graph.Builder, x string) string {
			return op(graph.Tanh, b, b.Op(graph.Clip, graph.Attrs{"min": float32(-0.5), "max": float32(2)}, conv(b, x)))
		}},
		{"residual", 2, func(b *graph.Builder, x string) string {
			y := op(graph.Relu, b, conv(b, x))
			return op(graph.Relu, b, op(graph.Add, b, conv(b, y), y))
		}},
		{"residual on the left", 2, func(b *graph.Builder, x string) string {
			y := op(graph.Relu, b, conv(b, x))
			return op(graph.Relu, b, op(graph.Add, b, y, conv(b, y)))
		}},
		{"residual that comes later", 2, func(b *graph.Builder, x string) string {
			y := conv(b, x)
			return op(graph.Add, b, y, op(graph.Exp, b, x))
		}},
		{"two convolutions", 2, func(b *graph.Builder, x string) string {
			return op(graph.Relu, b, op(graph.Add, b, conv(b, x), conv(b, x)))
		}},
		{"twice the same", 2, func(b *graph.Builder, x string) string {
			y := conv(b, x)
			return op(graph.Add, b, y, y)
		}},
		{"two readers", 4, func(b *graph.Builder, x string) string {
			y := conv(b, x)
			return op(graph.Add, b, op(graph.Tanh, b, y), op(graph.Abs, b, y))
		}},
		{"constant", 2, func(b *graph.Builder, x string) string {
			return op(graph.Add, b, conv(b, x), weights(b, 1, channels, height, width))
		}},
		{"broadcast", 3, func(b *graph.Builder, x string) string {
			return op(graph.Add, b, conv(b, x), op(graph.GlobalAveragePool, b, x))
		}},
		{"transposed", 1, func(b *graph.Builder, x string) string { return op(graph.Relu, b, up(b, x)) }},
		{"groups", 1, func(b *graph.Builder, x string) string {
			return op(graph.Relu, b, b.Conv(x, weights(b, 2*channels, 1, 3, 3), "", graph.Attrs{"group": channels}))
		}},
		{"gate", 2, func(b *graph.Builder, x string) string {
			y := op(graph.Tanh, b, x)
			return op(graph.Mul, b, x, b.Op(graph.Step, positive, y))
		}},
		{"gate after a convolution", 2, func(b *graph.Builder, x string) string {
			y := op(graph.Tanh, b, x)
			return op(graph.Mul, b, b.Op(graph.Step, positive, y), conv(b, x))
		}},
		{"gate that is read twice", 3, func(b *graph.Builder, x string) string {
			y := b.Op(graph.Step, positive, x)
			return op(graph.Mul, b, op(graph.Mul, b, x, y), y)
		}},
		{"gate of a convolution", 2, func(b *graph.Builder, x string) string {
			return op(graph.Mul, b, x, b.Op(graph.Step, positive, conv(b, x)))
		}},
		{"gates", 3, func(b *graph.Builder, x string) string {
			y := b.Op(graph.Step, positive, b.Op(graph.Step, graph.Attrs{"max": float32(0.3)}, x))
			return op(graph.Mul, b, y, b.Op(graph.Step, positive, x))
		}},
		{"gate that is broadcast", 3, func(b *graph.Builder, x string) string {
			return op(graph.Mul, b, x, b.Op(graph.Step, positive, op(graph.GlobalAveragePool, b, x)))
		}},
		{"through a Reshape", 2, func(b *graph.Builder, x string) string {
			y := b.Op(graph.Reshape, graph.Attrs{"shape": []int{0, channels, width, height}}, conv(b, x))
			return op(graph.Relu, b, y)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := graph.NewBuilder(c.name)
			y := c.build(b, b.Input("x", graph.N, channels, height, width))
			g, err := b.Graph(y)
			require.NoError(t, err)
			all := g.Clone()
			all.Outputs = nil
			for _, n := range g.Nodes {
				all.Outputs = append(all.Outputs, n.Out)
			}
			shapes, err := g.Infer()
			require.NoError(t, err)

			const images = 2
			x := nd.New(images, channels, height, width)
			for i := range nd.Data(x) {
				nd.Data(x)[i] = float32(rng.NormFloat64())
			}
			run := func(g *graph.Graph, gradient bool) (n *net, y, dx *tensor.Dense) {
				compiled, err := New().Compile(g, gradient)
				require.NoError(t, err)
				var out []*tensor.Dense
				for _, name := range g.Outputs {
					out = append(out, nd.New(append([]int{images}, shapes[name][1:]...)...))
				}
				require.NoError(t, compiled.Forward(context.Background(), []*tensor.Dense{x}, out))
				y = out[len(out)-1].Clone().(*tensor.Dense)
				if gradient { // of the sum of y's squares
					for _, o := range out[:len(out)-1] {
						clear(nd.Data(o))
					}
					dx = nd.New(images, channels, height, width)
					require.NoError(t, compiled.Backward(context.Background(), out, []*tensor.Dense{dx}))
				}
				return compiled.(*net), y, dx
			}
			n, got, _ := run(g, false)
			require.Len(t, n.forward.steps, c.steps)
			_, want, _ := run(all, false)
			require.Equal(t, nd.Data(want), nd.Data(got))
			if strings.HasPrefix(c.name, "gate") { // Step has no gradient; it is part of others'
				return
			}
			_, got, dx := run(g, true)
			require.Equal(t, nd.Data(want), nd.Data(got))
			_, _, dwant := run(all, true)
			require.Equal(t, nd.Data(dwant), nd.Data(dx))
		})
	}
}
