package cflow

import (
	"fmt"
	"math"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// Names of a flow's inputs and outputs.
const (
	features  = "x"
	position  = "c"
	logDense  = "q" // log p / D
	latent    = "z"
	perVector = 2 // axis of the values
)

// graph is the flow's definition, for rows vectors at a time, which naive runs in float64: x [N,rows,D], if C > 0 c [N,rows,C],
// and the parameters [N,...] in their order to the named outputs q [N,rows,1] and z [N,rows,D].
func (f *flow) graph(rows int, outputs ...string) (*graph.Graph, error) {
	b := &builder{Builder: graph.NewBuilder("cflow"), flow: f, values: map[string]string{}}
	x := b.Input(features, graph.N, rows, f.d)
	cond := ""
	if f.c > 0 {
		cond = b.Input(position, graph.N, rows, f.c)
	}
	for _, p := range f.parameters() {
		b.values[p.name] = b.Input(p.name, append([]int{graph.N}, p.shape...)...)
	}
	det := 0.0 // what is constant of log |det| / D
	if f.mean != nil {
		x = b.Op(graph.Sub, nil, x, b.Const(nd.Wrap(f.mean, 1, 1, f.d)))
		x = b.Op(graph.MatMul, nil, x, b.Const(nd.Wrap(f.whiten, f.d, f.d)))
		for i := range f.d {
			det += math.Log(float64(f.whiten[i*f.d+i])) / float64(f.d)
		}
	}
	var dets []string // [N,rows,1] or [N,1,1]
	for k := range f.blocks {
		x, dets = b.block(k, x, cond, dets)
	}
	q := b.Op(graph.Mul, nil, b.mean(b.Op(graph.Mul, nil, x, x)), b.Scalar(-0.5))
	for _, d := range dets {
		q = b.Op(graph.Add, nil, q, d)
	}
	q = b.OpAs(logDense, graph.Add, nil, q, b.Scalar(float32(det-0.5*math.Log(2*math.Pi))))
	b.values[logDense], b.values[latent] = q, x
	names := make([]string, len(outputs))
	for i, o := range outputs {
		names[i] = b.values[o]
	}
	return b.Graph(names...)
}

// builder writes a flow's graph.
type builder struct {
	*graph.Builder
	flow   *flow
	values map[string]string
}

func (b *builder) named(name string, k int) string { return b.values[fmt.Sprintf("%s%d", name, k)] }

func (b *builder) mean(x string) string {
	return b.Op(graph.ReduceMean, graph.Attrs{"axes": []int{perVector}}, x)
}

func (b *builder) part(x string, from, to int) string {
	return b.Op(graph.Slice, graph.Attrs{"starts": []int{from}, "ends": []int{to}, "axes": []int{perVector}}, x)
}

// linear is x w + v.
func (b *builder) linear(x, w, v string) string {
	return b.Op(graph.Add, nil, b.Op(graph.MatMul, nil, x, w), v)
}

// block adds block k. It returns its output and the terms of log |det| / D.
func (b *builder) block(k int, x, cond string, dets []string) (string, []string) {
	f := b.flow
	d := float32(f.d)
	left := b.part(x, 0, f.left())
	right := b.part(x, f.left(), f.d)
	in := left
	if cond != "" {
		in = b.Op(graph.Concat, graph.Attrs{"axis": perVector}, left, cond)
	}
	h := b.Op(graph.Relu, nil, b.linear(in, b.named("W1.", k), b.named("b1.", k)))
	a := b.Op(graph.Mul, nil, b.linear(h, b.named("W2.", k), b.named("b2.", k)), b.Scalar(0.1))
	s := b.Op(graph.Mul, nil, b.Op(graph.Tanh, nil, b.part(a, 0, f.right())), b.Scalar(float32(f.clamp)))
	right = b.Op(graph.Add, nil, b.Op(graph.Mul, nil, right, b.Op(graph.Exp, nil, s)), b.part(a, f.right(), 2*f.right()))
	y := b.Op(graph.Concat, graph.Attrs{"axis": perVector}, left, right)
	dets = append(dets, b.Op(graph.Mul, nil, b.mean(s), b.Scalar(float32(f.right())/d)))
	mix := nd.Wrap(f.mixes[k*f.d*f.d:(k+1)*f.d*f.d], f.d, f.d)
	soft := b.Op(graph.Log, nil, b.Op(graph.Add, nil, b.Op(graph.Exp, nil, b.Op(graph.Mul, nil, b.named("G", k), b.Scalar(0.5))), b.Scalar(1)))
	g := b.Op(graph.Mul, nil, soft, b.Scalar(0.2))
	dets = append(dets, b.mean(b.Op(graph.Log, nil, g)))
	y = b.Op(graph.Add, nil, b.Op(graph.Mul, nil, y, g), b.named("o", k))
	return b.Op(graph.MatMul, nil, y, b.Const(mix)), dets
}

// answer is what the definition says of a batch in float64.
type answer struct {
	q      []float64
	dx     []float64   // gradient of a weighted sum of q
	dtheta [][]float64 // likewise, of each parameter
}

// reference evaluates the definition for vectors x [n,D] with encodings c [n,C]; slope sets the weights.
func reference(t *testing.T, f *flow, theta, x, c []float32, slope func(q, w []float64)) answer {
	t.Helper()
	g, err := f.graph(len(x)/f.d, logDense)
	require.NoError(t, err)
	from := map[string][]float32{features: x, position: c}
	for _, p := range f.parameters() {
		from[p.name] = theta[p.at : p.at+p.size()]
	}
	in := map[string]*naive.Array{}
	for _, input := range g.Inputs {
		a := naive.New(append([]int{1}, input.Shape[1:]...)...)
		for k, v := range from[input.Name] {
			a.Data[k] = float64(v)
		}
		in[input.Name] = a
	}
	values, err := naive.Run(g, in)
	require.NoError(t, err)
	r, err := autodiff.Gradient(g)
	require.NoError(t, err)
	is := answer{q: values[g.Outputs[0]].Data}
	w := naive.New(1, len(is.q), 1)
	slope(is.q, w.Data)
	back := map[string]*naive.Array{r.Graph.Inputs[0].Name: w}
	for _, name := range r.Saved {
		back[name] = values[name]
	}
	d, err := naive.Run(r.Graph, back)
	require.NoError(t, err)
	is.dx = d[r.Graph.Outputs[0]].Data
	for _, out := range r.Graph.Outputs[len(r.Graph.Outputs)-len(f.parameters()):] {
		is.dtheta = append(is.dtheta, d[out].Data)
	}
	return is
}
