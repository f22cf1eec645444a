package graph_test

import (
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

func TestFLOPs(t *testing.T) {
	b := graph.NewBuilder("net")
	x := b.Input("x", graph.N, 4, 8, 8)
	y := b.Conv(x, b.Const(nd.New(6, 2, 3, 3)), "", graph.Attrs{"group": 2, "pads": []int{1, 1, 1, 1}, "strides": []int{2, 2}})
	up := b.Op(graph.ConvTranspose, graph.Attrs{"strides": []int{2, 2}}, y, b.Const(nd.New(6, 5, 2, 2)))
	g, err := b.Graph(b.Op(graph.Relu, nil, up))
	require.NoError(t, err)
	flops, err := g.FLOPs()
	require.NoError(t, err)
	require.Equal(t, 2*(6*4*4)*(2*3*3)+2*(6*4*4)*(5*2*2), flops)

	g.Nodes[0].In[0] = "gone"
	_, err = g.FLOPs()
	require.ErrorContains(t, err, "gone")
}

func TestTraffic(t *testing.T) {
	b := graph.NewBuilder("net")
	x := b.Input("x", graph.N, 4, 8, 8)
	y := b.Conv(x, b.Const(nd.New(6, 4, 3, 3)), "", graph.Attrs{"pads": []int{1, 1, 1, 1}, "strides": []int{2, 2}})
	z := b.Op(graph.Relu, nil, y)                            // rides along
	sum := b.Op(graph.Add, nil, z, b.Op(graph.Relu, nil, y)) // its second input is read
	g, err := b.Graph(b.Op(graph.Mul, nil, sum, b.Const(nd.New(1, 6, 1, 1))))
	require.NoError(t, err)
	image, weights, err := g.Traffic()
	require.NoError(t, err)
	require.Equal(t, 4*8*8+6*4*4+6*4*4, image)
	require.Equal(t, 6*4*3*3+6, weights)

	g.Nodes[0].In[0] = "gone"
	_, _, err = g.Traffic()
	require.ErrorContains(t, err, "gone")
}
