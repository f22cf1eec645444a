package goexec

import (
	"testing"

	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// A chain of element-wise steps runs in the input's own buffer; what Backward reads is kept.
func TestElementwiseStepsWorkInPlace(t *testing.T) {
	const size = 5 * 7
	chain := func(gradient bool) *net {
		b := graph.NewBuilder("chain")
		x := b.Input("x", graph.N, 5, 7)
		for range 10 {
			y := b.Op(graph.Reshape, graph.Attrs{"shape": []int{0, 7, 5}}, x)
			x = b.Op(graph.Add, nil, b.Op(graph.Tanh, nil, y), b.Scalar(1))
		}
		g, err := b.Graph(x)
		require.NoError(t, err)
		n, err := New().Compile(g, gradient)
		require.NoError(t, err)
		return n.(*net)
	}
	require.Equal(t, size, chain(false).arena)
	kept := chain(true).arena / size // each Tanh's output, and what is at work
	require.GreaterOrEqual(t, kept, 10)
	require.LessOrEqual(t, kept, 19)
}

// An input that is read again later may not be overwritten, nor one of another size, nor a constant.
func TestInPlaceSparesWhatIsStillNeeded(t *testing.T) {
	b := graph.NewBuilder("diamond")
	x := b.Input("x", graph.N, 4)
	y := b.Op(graph.Exp, nil, x)
	z := b.Op(graph.Mul, nil, b.Op(graph.Tanh, nil, y), y)
	g, err := b.Graph(z)
	require.NoError(t, err)
	n, err := New().Compile(g, false)
	require.NoError(t, err)
	steps := n.(*net).forward.steps
	require.Equal(t, n.(*net).forward.in[0].lo, steps[0].out.lo, "Exp replaces x")
	require.NotEqual(t, steps[0].out.lo, steps[1].out.lo, "Tanh leaves Exp's result")
	require.Equal(t, steps[1].out.lo, steps[2].out.lo, "Mul replaces its first operand")
}
