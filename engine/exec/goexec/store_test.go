package goexec

import (
	"runtime"
	"slices"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

func TestStoreKeepsEqualWeightsOnce(t *testing.T) {
	var s store
	a := s.keep([]float32{1, 2, 3})
	require.Same(t, a, s.keep([]float32{1, 2, 3}))
	require.NotSame(t, a, s.keep([]float32{1, 2, 4}))
	require.NotSame(t, a, s.keep([]float32{1, 2}))
	require.Equal(t, []float32{1, 2, 3}, a.floats)
	runtime.KeepAlive(a)
	runtime.GC() // nobody uses them any more
	s.due = 0
	b := s.keep([]float32{5})
	require.Len(t, s.all, 1, "what is not in use goes")
	runtime.KeepAlive(b)
}

// Sweeps become due as often as the number of weights doubles, also where most of them go.
func TestStoreSweepsSeldom(t *testing.T) {
	const kept, gone = 1000, 10_000
	var s store
	var use []*weights
	for i := range kept {
		use = append(use, s.keep([]float32{float32(i)}))
	}
	require.Len(t, s.all, kept)
	require.Greater(t, s.due, kept)
	for i := range gone {
		s.keep([]float32{float32(i), 1})
		if i%kept == 0 {
			runtime.GC()
		}
	}
	require.Less(t, len(s.all), 4*kept)
	runtime.KeepAlive(use)
}

// Nets for several sizes, forward and backward, hold one copy of the weights, and none of what they were packed from.
func TestSizesShareWeights(t *testing.T) {
	const channels = 64
	w := nd.New(channels, channels, 3, 3)
	for i := range nd.Data(w) {
		nd.Data(w)[i] = float32(i%17) - 8
	}
	e := New()
	held := map[*weights]bool{}
	for _, side := range []int{20, 32, 44} {
		b := graph.NewBuilder("n")
		x := b.Input("x", graph.N, channels, side, side)
		g, err := b.Graph(b.Conv(x, b.Const(w), "", graph.Attrs{"pads": []int{1, 1, 1, 1}}))
		require.NoError(t, err)
		n, err := e.Compile(g, true)
		require.NoError(t, err)
		for _, ph := range []*phase{n.(*net).forward, n.(*net).backward} {
			for _, s := range ph.steps {
				require.True(t, slices.ContainsFunc(s.in[1:], func(o operand) bool { return o.data != nil && len(o.data) == 0 }))
			}
		}
		defer n.Close()
	}
	e.store.mu.Lock()
	defer e.store.mu.Unlock()
	for _, list := range e.store.all {
		for _, p := range list {
			held[p.Value()] = true
		}
	}
	require.Len(t, held, 2, "the weights, and those of the gradient")
}
