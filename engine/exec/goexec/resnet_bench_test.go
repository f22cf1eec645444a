package goexec

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/peak"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// resnet18 is the first three layers of ResNet-18 (He et al., "Deep residual learning", 2016) with random weights, its
// BatchNormalizations folded: what PaDiM and PatchCore read of it.
func resnet18(t testing.TB, size int) *graph.Graph {
	rng := rand.New(rand.NewPCG(18, 0))
	b := graph.NewBuilder("resnet18")
	conv := func(x string, outs, kernel, stride int) string {
		ins := b.Shape(x)[1]
		w, bias := nd.New(outs, ins, kernel, kernel), nd.New(outs)
		for i := range nd.Data(w) {
			nd.Data(w)[i] = float32(rng.NormFloat64() * math.Sqrt(2/float64(ins*kernel*kernel)))
		}
		pad := kernel / 2
		return b.Conv(x, b.Const(w), b.Const(bias), graph.Attrs{
			"pads": []int{pad, pad, pad, pad}, "strides": []int{stride, stride}})
	}
	relu := func(x string) string { return b.Op(graph.Relu, nil, x) }
	x := relu(conv(b.Input("x", graph.N, 3, size, size), 64, 7, 2))
	x = b.Op(graph.MaxPool, graph.Attrs{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}, x)
	var outputs []string
	for i, outs := range []int{64, 128, 256} {
		for block := range 2 {
			stride, short := 1, x
			if i > 0 && block == 0 {
				stride = 2
				short = conv(x, outs, 1, stride)
			}
			y := conv(relu(conv(x, outs, 3, stride)), outs, 3, 1)
			x = relu(b.Op(graph.Add, nil, y, short))
		}
		outputs = append(outputs, x)
	}
	g, err := b.Graph(outputs...)
	require.NoError(t, err)
	return g
}

// One image of 256x256, forward, and forward and backward.
func BenchmarkResNet18(b *testing.B) {
	const size = 256
	g := resnet18(b, size)
	shapes, err := g.Infer()
	require.NoError(b, err)
	x := []*tensor.Dense{nd.New(1, 3, size, size)}
	wave(nd.Data(x[0]))
	var y []*tensor.Dense
	for _, name := range g.Outputs {
		y = append(y, nd.New(append([]int{1}, shapes[name][1:]...)...))
	}
	ctx := context.Background()
	for _, gradient := range []bool{false, true} {
		b.Run(map[bool]string{false: "forward", true: "gradient"}[gradient], func(b *testing.B) {
			n, err := New().Compile(g, gradient)
			require.NoError(b, err)
			start := peak.Clock()
			for b.Loop() {
				require.NoError(b, n.Forward(ctx, x, y))
				if gradient {
					require.NoError(b, n.Backward(ctx, y, x))
				}
			}
			b.ReportMetric((peak.Clock()-start)/float64(b.N)*1e3, "cpu-ms/op")
			require.NoError(b, n.Close())
		})
	}
}
