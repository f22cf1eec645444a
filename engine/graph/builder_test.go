package graph_test

import (
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

func TestBuilder(t *testing.T) {
	b := graph.NewBuilder("net")
	x := b.Input("image", n, 3, 8, 8)
	w, bias := b.Const(nd.New(4, 3, 3, 3)), b.ConstAs("bias", nd.New(4))
	y := b.Conv(x, w, bias, attrs{"strides": ints(2, 2)})
	z := b.Conv(x, w, "", nil)
	require.Equal(t, graph.Shape{n, 4, 3, 3}, b.Shape(y))
	require.Equal(t, graph.Shape{4, 3, 3, 3}, b.Shape(w))
	require.Equal(t, b.Scalar(2), b.Scalar(2))
	require.NotEqual(t, b.Scalar(2), b.Scalar(3))
	last := b.OpAs("last", graph.Mul, nil, b.Op(graph.Relu, nil, y), b.Scalar(2))
	g, err := b.Graph(last, z)
	require.NoError(t, err)
	require.NoError(t, g.Validate())
	require.Equal(t, "net", g.Name)
	require.Equal(t, []string{"last", z}, g.Outputs)
	require.Equal(t, []graph.Value{{Name: "image", Shape: graph.Shape{n, 3, 8, 8}}}, g.Inputs)
	require.Equal(t, []string{x, w, bias}, g.Nodes[0].In)
	require.Equal(t, []string{x, w}, g.Nodes[1].In)
	require.Equal(t, float32(2), nd.Data(g.Consts[b.Scalar(2)])[0])
}

// TestBuilderNames: names that the builder makes up avoid those it was given.
func TestBuilderNames(t *testing.T) {
	b := graph.NewBuilder("names")
	x := b.Input("relu1", n, 3)
	b.OpAs("relu2", graph.Relu, nil, x)
	b.ConstAs("const3", nd.New(1))
	b.Const(nd.New(1))
	g, err := b.Graph(b.Op(graph.Relu, nil, x))
	require.NoError(t, err)
	require.Len(t, g.Nodes, 2)
	require.Len(t, g.Consts, 2)
}

// TestBuilderError: the first error is kept, and what comes after it does nothing.
func TestBuilderError(t *testing.T) {
	for name, broken := range map[string]func(b *graph.Builder){
		`node "bad" (Concat)`: func(b *graph.Builder) { b.OpAs("bad", graph.Concat, nil, "x") },
		`constant "bad"`:      func(b *graph.Builder) { b.ConstAs("bad", nil) },
		`input "bad"`:         func(b *graph.Builder) { b.Input("bad", 3) },
	} {
		b := graph.NewBuilder("errors")
		x := b.Input("x", n, 3)
		require.NoError(t, b.Err())
		broken(b)
		require.ErrorContains(t, b.Err(), name)
		b.Input("late", 7)
		b.ConstAs("late", nil)
		y := b.OpAs("late", "Nonsense", nil, x)
		require.Nil(t, b.Shape(y))
		_, err := b.Graph(y)
		require.ErrorContains(t, err, name)
	}
	b := graph.NewBuilder("outputs")
	b.Input("x", n, 3)
	_, err := b.Graph("y")
	require.ErrorContains(t, err, `output "y" is not defined`)
}

// TestBuilderRecover: after a failure that was asked for, the work goes on without what failed.
func TestBuilderRecover(t *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", graph.N, 3)
	require.NoError(t, b.Recover())
	b.OpAs("odd", "Unheard", nil, x)
	require.ErrorContains(t, b.Recover(), "odd")
	g, err := b.Graph(b.OpAs("y", graph.Relu, nil, x))
	require.NoError(t, err)
	require.Len(t, g.Nodes, 1)
}
