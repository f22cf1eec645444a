package graph_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func nodeNames(g *graph.Graph) []string {
	var names []string
	for _, n := range g.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// diamond is a -> b, c -> d (b + c), with a dead end e behind a, in order.
func diamond(t *testing.T) *graph.Graph {
	b := graph.NewBuilder("diamond")
	x := b.Input("x", n, 3)
	one := b.OpAs("a", graph.Relu, nil, x)
	two, three := b.OpAs("b", graph.Add, nil, one, b.ConstAs("k", nd.New(3))), b.OpAs("c", graph.Exp, nil, one)
	b.OpAs("e", graph.Mul, nil, one, b.ConstAs("unused", nd.New(3)))
	g, err := b.Graph(b.OpAs("d", graph.Add, nil, two, three))
	require.NoError(t, err)
	return g
}

func TestSort(t *testing.T) {
	sorted := diamond(t)
	require.NoError(t, sorted.Sort())
	require.Equal(t, []string{"a", "b", "c", "e", "d"}, nodeNames(sorted), "what is sorted stays")
	for seed := range uint64(20) {
		g := diamond(t)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(g.Nodes), func(i, j int) { g.Nodes[i], g.Nodes[j] = g.Nodes[j], g.Nodes[i] })
		require.NoError(t, g.Sort())
		require.NoError(t, g.Validate())
		require.Len(t, g.Nodes, 5)
	}
}

func TestSortErrors(t *testing.T) {
	g := diamond(t)
	g.Nodes[0].In[0] = "d"
	require.ErrorContains(t, g.Sort(), "is part of a cycle")
	g = diamond(t)
	g.Nodes[0].In[0] = "a"
	require.ErrorContains(t, g.Sort(), `node "a" (Relu) is part of a cycle`)
	g = diamond(t)
	g.Nodes[4].In[1] = "z"
	require.ErrorContains(t, g.Sort(), `node "d" (Add): input "z" is not defined`)
	g = diamond(t)
	g.Nodes[1].Out = "c"
	require.ErrorContains(t, g.Sort(), `the name "c" is defined twice`)
	g = diamond(t)
	g.Nodes[1] = nil
	require.ErrorContains(t, g.Sort(), "node 1 is nil")
}

// TestSortDeep: a long chain in the worst order does not overflow the stack, and takes no quadratic time.
func TestSortDeep(t *testing.T) {
	const length = 200_000
	g := &graph.Graph{
		Inputs:  []graph.Value{{Name: "v0", Shape: graph.Shape{n, 1}}},
		Outputs: []string{fmt.Sprint("v", length)},
	}
	for i := length; i > 0; i-- {
		name := fmt.Sprint("v", i)
		g.Nodes = append(g.Nodes, &graph.Node{Name: name, Op: graph.Relu, In: []string{fmt.Sprint("v", i-1)}, Out: name})
	}
	require.NoError(t, g.Sort())
	require.NoError(t, g.Validate())
}

func TestPrune(t *testing.T) {
	g := diamond(t)
	g.Prune()
	require.Equal(t, []string{"a", "b", "c", "d"}, nodeNames(g))
	require.Contains(t, g.Consts, "k")
	require.NotContains(t, g.Consts, "unused")
	g.Outputs = []string{"c"}
	g.Prune()
	require.Equal(t, []string{"a", "c"}, nodeNames(g))
	require.Empty(t, g.Consts)
	require.NoError(t, g.Validate())
}

func TestClone(t *testing.T) {
	b := graph.NewBuilder("clone")
	x := b.Input("x", n, 1, 4, 4)
	g, err := b.Graph(b.OpAs("y", graph.Resize, attrs{"scales": []float32{1, 1, 2, 2}}, b.OpAs("p", graph.Pad,
		attrs{"pads": make([]int, 8)}, b.OpAs("s", graph.Add, nil, x, b.ConstAs("k", nd.New(4))))))
	require.NoError(t, err)
	c := g.Clone()
	require.Equal(t, g, c)
	require.Same(t, g.Consts["k"], c.Consts["k"])

	want := g.Clone()
	c.Name, c.Outputs[0], c.Inputs[0].Name, c.Inputs[0].Shape[1] = "other", "p", "z", 7
	c.Consts["new"] = nd.New(1)
	c.Nodes[0].In[0], c.Nodes[0].Name = "z", "first"
	c.Nodes[1].Attr["pads"].([]int)[1] = 1
	c.Nodes[1].Attr["mode"] = "edge"
	c.Nodes[2].Attr["scales"].([]float32)[2] = 9
	require.Equal(t, want, g, "the original changed with its copy")
	var none map[string]*tensor.Dense
	require.Equal(t, none, (&graph.Graph{}).Clone().Consts)
}
