package onnx

import (
	"bytes"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// roundTrip runs what Read makes of what Write has written.
type roundTrip struct{ *goexec.Executor }

func (r roundTrip) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	if slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n != nil && n.Op == graph.MaxPoolGrad }) {
		return r.Executor.Compile(g, gradient) // it is written in comparisons, which are not read: TestWriter sees to it
	}
	again, err := reread(g)
	if err != nil {
		return nil, err
	}
	return r.Executor.Compile(again, gradient)
}

func reread(g *graph.Graph) (*graph.Graph, error) {
	data, err := Write(g)
	if err != nil {
		return nil, err
	}
	m, err := Read(data)
	if err != nil {
		return nil, err
	}
	return m.whole()
}

// whole is the graph of all outputs for the declared inputs, whatever they are.
func (m *Model) whole() (g *graph.Graph, err error) {
	x := startImport(m)
	if in := m.inputs[0].shape; len(m.inputs) == 1 {
		x.batch = max(in[0], 0)
	}
	for _, in := range m.inputs {
		if err := x.input(in.name, append(graph.Shape{graph.N}, in.shape[1:]...)); err != nil {
			return nil, err
		}
	}
	for _, n := range m.nodes {
		if err := x.node(n); err != nil {
			return nil, err
		}
	}
	defer catch(&err)
	var outputs []string
	for _, out := range m.outputs {
		outputs = append(outputs, x.output(out.name).name)
	}
	return x.b.Graph(outputs...)
}

// TestRoundTrip: every operator and network of the executors' suite is the same after writing and reading.
func TestRoundTrip(t *testing.T) {
	// As goexec's own: float32 sums of up to some hundred terms.
	tol := exectest.Tolerances{Forward: compare.Tolerance{Abs: 2e-5, Rel: 2e-5}, Gradient: compare.Tolerance{Abs: 1e-4, Rel: 1e-4}}
	exectest.Test(t, roundTrip{goexec.New()}, tol)
}

// TestWriteTwice: a network reads as it was written, and is written in the same bytes again.
func TestWriteTwice(t *testing.T) {
	m := open(t, "resnet18_ts")
	g, err := m.Graph(64, 64, []string{"layer1", "layer2"})
	require.NoError(t, err)
	first, err := Write(g)
	require.NoError(t, err)
	again, err := reread(g)
	require.NoError(t, err)
	require.Equal(t, g.Nodes, again.Nodes)
	again.Name = g.Name
	second, err := Write(again)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, second))
}
