package goexec

import (
	"context"
	"math"
	"testing"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// What nets lend each other may hold anything.
func TestArenasMayHoldAnything(t *testing.T) { exectest.Test(t, spoiled{New()}, tolerances) }

// spoiled fills the arenas that nobody has with NaN before each run.
type spoiled struct{ *Executor }

func (s spoiled) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	n, err := s.Executor.Compile(g, gradient)
	if err != nil {
		return nil, err
	}
	return &spoiledNet{n, &s.Executor.memory}, nil
}

type spoiledNet struct {
	exec.Net
	memory *arenas
}

func (n *spoiledNet) spoil() {
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	for _, f := range n.memory.free {
		for i := range f {
			f[i] = float32(math.NaN())
		}
	}
}

func (n *spoiledNet) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	n.spoil()
	return n.Net.Forward(ctx, in, out)
}

func (n *spoiledNet) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	n.spoil()
	return n.Net.Backward(ctx, dout, din)
}

// Nets that wait hold nothing, and take what those before gave back; a Forward's values stay until its Backward, another Forward
// or Close, also where another net runs between.
func TestNetsThatWaitHoldNothing(t *testing.T) {
	e := New()
	free := func() int { return len(e.memory.free) }
	compile := func(h int, gradient bool) *net {
		n, err := e.Compile(small(t, h, 20), gradient)
		require.NoError(t, err)
		return n.(*net)
	}
	const images = 3
	tensors := func(h int) (x, y []*tensor.Dense) {
		return []*tensor.Dense{nd.New(images, 3, h, 20)}, []*tensor.Dense{nd.New(images, 4, h, 20)}
	}
	a, b := compile(16, true), compile(24, true)
	x, y := tensors(16)
	X, Y := tensors(24)
	require.NoError(t, a.Forward(t.Context(), x, y))
	require.Zero(t, free())
	require.NoError(t, b.Forward(t.Context(), X, Y))
	require.NotSame(t, &a.arenas[0][0], &b.arenas[0][0])
	require.NoError(t, a.Backward(t.Context(), y, x))
	require.Equal(t, images, free())
	require.NoError(t, b.Forward(t.Context(), X, Y), "it keeps what it has")
	require.Equal(t, images, free())
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.Equal(t, 2*images, free())

	little, large := compile(16, false), compile(40, false)
	require.NoError(t, little.Forward(t.Context(), x, y))
	require.Equal(t, 2*images, free())
	XL, YL := tensors(40)
	require.NoError(t, large.Forward(t.Context(), XL, YL))
	require.Equal(t, 2*images, free(), "larger ones take the place of smaller ones")

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.Forward(gone, x, y))
	require.Equal(t, 2*images, free())
}

func TestArenasAreTheSmallestThatFit(t *testing.T) {
	var a arenas
	lent := [][]float32{a.take(10), a.take(30), a.take(20)}
	a.give(lent...)
	require.Len(t, a.take(15), 20)
	require.Len(t, a.take(15), 30)
	require.Len(t, a.take(15), 15, "new, in the place of the one that is too small")
	require.Empty(t, a.free)
}
