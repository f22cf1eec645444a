package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Softmax tests the kernel softmax against the interpreter of graphs.
func Softmax(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ outer, n, inner int }{{1, 1, 1}, {5, 7, 3}, {2, 40, 1}, {3, 197, 2}} {
		Case(t, m, seed, func(r *Rig) {
			x := r.Normal(s.outer * s.n * s.inner)
			for i := range x {
				x[i] *= 20
			}
			b := graph.NewBuilder("softmax")
			g, err := b.Graph(b.OpAs("y", graph.Softmax, graph.Attrs{"axis": 1}, b.Input("x", graph.N, s.n, s.inner)))
			require.NoError(r.T, err)
			values, err := naive.Run(g, map[string]*naive.Array{"x": {Shape: []int{s.outer, s.n, s.inner}, Data: widened(x)}})
			require.NoError(r.T, err)
			in, out := In(r, x), Out[float32](r, len(x))
			k := kernels.Softmax{Outer: s.outer, N: s.n, Inner: s.inner, X: in.Ptr, Out: out.Ptr}
			r.Run(k.Enqueue, []Array{in}, []Array{out})
			compare.Require(r.T, "y", out.Read(), values["y"].Data, rounding)
		}, "%v", s)
	}
	Case(t, m, seed, func(r *Rig) {
		x := make([]float32, 80)
		x[3], x[70] = float32(math.NaN()), 5
		in, out := In(r, x), Out[float32](r, len(x))
		k := kernels.Softmax{Outer: 2, N: 40, Inner: 1, X: in.Ptr, Out: out.Ptr}
		r.Run(k.Enqueue, []Array{in}, []Array{out})
		y := out.Read()
		require.True(r.T, math.IsNaN(float64(y[0])) && math.IsNaN(float64(y[39])))
		require.False(r.T, math.IsNaN(float64(y[40])))
	}, "NaN")
	t.Run("refuses", func(t *testing.T) {
		require.ErrorContains(t, kernels.Softmax{Outer: 1, N: 0, Inner: 1, X: 4, Out: 4}.Enqueue(m), "[1,0,1]")
		require.ErrorContains(t, kernels.Softmax{Outer: 1, N: 1, Inner: 1, Out: 4}.Enqueue(m), "x is null")
	})
}

func init() {
	register("softmax", Softmax)
	const outer, n = 32 * 12 * 197, 197
	registerBench(Bench{
		Kernel: "softmax", Size: "75648 x 197", Params: map[string]int{"rows": outer, "n": n},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			s := kernels.Softmax{Outer: outer, N: n, Inner: 1}
			return setUp(b, s.Cost(), func() func(kernels.Queue) error { return s.Enqueue },
				memory{&s.X, func() (kernels.Ptr, error) { return b.Normal(outer*n, 0, 1) }},
				memory{&s.Out, func() (kernels.Ptr, error) { return b.Alloc(outer * n) }})
		},
	})
}
