package goexec

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// The place of the maximum is that of the first that nothing exceeds, whatever the window; NaN exceeds all.
func TestLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 0))
	values := []float32{0, float32(math.Copysign(0, -1)), -1, 2, -1e-45, float32(math.Inf(1)), float32(math.Inf(-1)),
		float32(math.NaN()), float32(math.Copysign(math.NaN(), -1)), math.MaxFloat32, -math.MaxFloat32}
	for range 300 {
		h, w := 4+rng.IntN(5), 4+rng.IntN(5)
		g := &graph.Node{Op: graph.MaxPool, Attr: graph.Attrs{
			"kernel_shape": []int{1 + rng.IntN(3), 2 + rng.IntN(2)}, "strides": []int{1 + rng.IntN(2), 1 + rng.IntN(2)},
			"pads": []int{0, 1, 0, 1}, "dilations": []int{1, 1 + rng.IntN(2)}}}
		win, err := graph.PoolWindow(g)
		require.NoError(t, err)
		p, err := newPool(g, graph.Shape{graph.N, 1, h, w}, graph.Shape{graph.N, 1, win.Out(0, h), win.Out(1, w)})
		require.NoError(t, err)
		x := make([]float32, h*w)
		some := values[:1+rng.IntN(len(values))]
		for i := range x {
			x[i] = some[rng.IntN(len(some))]
		}
		for i, rows := range p.rows {
			for j, cols := range p.cols {
				want := -1
				for r := rows.lo; r < rows.hi; r += win.Dilation[0] {
					for c := cols.lo; c < cols.hi; c += win.Dilation[1] {
						at := r*w + c
						if want < 0 || x[at] > x[want] || (x[at] != x[at] && x[want] == x[want]) {
							want = at
						}
					}
				}
				require.Equal(t, want, p.largest(x, i, j), "%v of %v", win, x)
			}
		}
	}
}
