package main

import (
	"testing"

	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// A convolution of one weight, 3 at stride 2: y = 3x + 1, whose gradient is 3 times the seed where x was read.
func TestExecutor(t *testing.T) {
	b := graph.NewBuilder("small")
	in := b.Input("image", graph.N, 1, 2, 4)
	out := b.Conv(in, b.Const(nd.Wrap([]float32{3}, 1, 1, 1, 1)), b.Const(nd.Wrap([]float32{1}, 1)), graph.Attrs{"strides": []int{2, 2}})
	g, err := b.Graph(b.Op(graph.Relu, nil, out))
	require.NoError(t, err)
	n, err := operations(g)
	require.NoError(t, err)
	require.Equal(t, 2.0*2, n, "a multiplication and an addition for each of 2 outputs")

	x := nd.Wrap([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 1, 1, 2, 4)
	e := executor{"go", "f2pad, go", goexec.New()}
	u, err := e.compile(g, x, nil)
	require.NoError(t, err)
	require.NoError(t, u.run())
	outputs, gradient := u.results()
	require.Equal(t, []float32{4, 10}, outputs)
	require.Nil(t, gradient)
	require.NoError(t, u.net.Close())

	seed := nd.Wrap([]float32{1, -2}, 1, 1, 1, 2)
	u, err = e.compile(g, x, append(u.out[:0], seed))
	require.NoError(t, err)
	require.NoError(t, u.run())
	outputs, gradient = u.results()
	require.Equal(t, []float32{4, 10}, outputs)
	require.Equal(t, []float32{3, 0, -6, 0, 0, 0, 0, 0}, gradient)
	require.NoError(t, u.net.Close())
}

func TestOperationsOfAGroupedConvolution(t *testing.T) {
	b := graph.NewBuilder("grouped")
	in := b.Input("image", graph.N, 4, 8, 6)
	g, err := b.Graph(b.Conv(in, b.Const(nd.New(6, 2, 3, 3)), "", graph.Attrs{"pads": []int{1, 1, 1, 1}, "group": 2}))
	require.NoError(t, err)
	n, err := operations(g)
	require.NoError(t, err)
	require.Equal(t, 2.0*6*8*6*2*9, n)
}

// Seeded values are the same whenever they are asked for, and of the spread.
func TestNormal(t *testing.T) {
	a, b := nd.Data(normal(1, 2, 100, 100)), nd.Data(normal(1, 2, 100, 100))
	require.Equal(t, a, b)
	require.NotEqual(t, a, nd.Data(normal(2, 2, 100, 100)))
	sum := 0.0
	for _, v := range a {
		sum += float64(v) * float64(v)
	}
	require.InDelta(t, 4, sum/float64(len(a)), 0.2)
}
