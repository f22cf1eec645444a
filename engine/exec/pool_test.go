package exec_test

import (
	"errors"
	"testing"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// counting counts what is compiled, and what is open.
type counting struct {
	exec.Executor
	compiled, open int
}

func (c *counting) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	c.compiled++
	c.open++
	n, err := c.Executor.Compile(g, gradient)
	return &counted{n, c}, err
}

type counted struct {
	exec.Net
	of *counting
}

func (n *counted) Close() error {
	n.of.open--
	return n.Net.Close()
}

func halved(h, w int) (*graph.Graph, error) {
	if h == 13 {
		return nil, errors.New("thirteen")
	}
	b := graph.NewBuilder("halved")
	return b.Graph(b.Op(graph.MaxPool, graph.Attrs{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}}, b.Input("x", graph.N, 3, h, w)))
}

func TestPool(t *testing.T) {
	c := &counting{Executor: goexec.New()}
	p := exec.NewPool(c, halved, 3, 1000)
	take := func(h, w int, gradient bool) *exec.Pooled {
		n, err := p.Take(h, w, gradient)
		require.NoError(t, err)
		return n
	}
	a := take(8, 6, false)
	require.Equal(t, []int{5, 3, 4, 3}, []int(a.Outputs(5)[0].Shape()))
	b := take(8, 6, false)
	require.NotSame(t, a, b, "what is taken is its taker's")
	p.Give(a)
	p.Give(b)
	require.Same(t, b, take(8, 6, false), "what was used last")
	require.NotSame(t, a, take(8, 6, true), "another graph")
	require.Equal(t, 3, c.compiled)
	p.Give(b)
	p.Give(take(6, 8, false))
	require.Equal(t, 4, c.open)
	p.Give(take(4, 4, false))
	require.Equal(t, []int{5, 4}, []int{c.compiled, c.open}, "three wait: the oldest is gone")
	require.NotSame(t, a, take(8, 6, false))
	require.Equal(t, 5, c.compiled)

	// So many pixels wait, or one graph.
	large := take(20, 20, false)
	large.Outputs(3)
	p.Give(large)
	require.Same(t, large, take(20, 20, false))
	require.Equal(t, []int{6, 3}, []int{c.compiled, c.open}, "nothing else waits beside it")
	p.Give(large)
	p.Close()
	require.Equal(t, 2, c.open, "what is taken stays open")

	_, err := p.Take(13, 8, false)
	require.ErrorContains(t, err, "thirteen")
}
