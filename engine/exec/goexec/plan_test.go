package goexec

import (
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

func TestBuffersInUseTogetherLieApart(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	for range 50 {
		p := &planner{}
		for range 60 {
			first := rng.IntN(100)
			p.buffers = append(p.buffers, buffer{size: 1 + rng.IntN(500), first: first, last: first + rng.IntN(20)})
		}
		arena, _ := p.place()
		total, most := 0, 0
		for now := range 120 {
			live := 0
			for i, a := range p.buffers {
				require.LessOrEqual(t, a.offset+a.size, arena)
				if now < a.first || now > a.last {
					continue
				}
				live += a.size
				for _, b := range p.buffers[:i] {
					if b.first <= now && now <= b.last {
						require.True(t, a.offset+a.size <= b.offset || b.offset+b.size <= a.offset, "%+v and %+v", a, b)
					}
				}
			}
			most = max(most, live)
		}
		for _, b := range p.buffers {
			total += b.size
		}
		require.Less(t, arena, total/2, "buffers are reused")
		require.Less(t, float64(arena), 1.4*float64(most)+16*60, "the arena is not much larger than what is in use at once")
	}
}

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
