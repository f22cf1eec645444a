package onnx

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// TestWriter runs the executors' suite on what Write makes of graphs and gradients, interpreted in float64 as ONNX defines
// its operators; so the spelling of the backward operators is checked, too.
func TestWriter(t *testing.T) {
	one := compare.Tolerance{Abs: 1e-6, Rel: 1e-6} // a few roundings to float32: of results and of constants
	exectest.Test(t, interpreter{goexec.New()}, exectest.Tolerances{Forward: one, Gradient: one})
}

// interpreter compiles graphs to what has been written of them. The executor within looks after the promises of exec.Net;
// its results are overwritten.
type interpreter struct{ *goexec.Executor }

func (i interpreter) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	inner, err := i.Executor.Compile(g, gradient)
	if err != nil {
		return nil, err
	}
	n := &interpreted{Net: inner, outputs: len(g.Outputs)}
	forward := g
	if gradient {
		r, err := autodiff.Gradient(g)
		if err != nil {
			return nil, err
		}
		forward = g.Clone()
		if err := forward.Fold(); err != nil {
			return nil, err
		}
		for _, name := range r.Saved {
			at := slices.Index(forward.Outputs, name)
			if at < 0 {
				at = len(forward.Outputs)
				forward.Outputs = append(forward.Outputs, name)
			}
			n.saved = append(n.saved, at)
		}
		if n.backward, err = rewritten(r.Graph); err != nil {
			return nil, err
		}
	}
	n.forward, err = rewritten(forward)
	return n, err
}

func rewritten(g *graph.Graph) (*Model, error) {
	data, err := Write(g)
	if err != nil {
		return nil, err
	}
	return Read(data)
}

type interpreted struct {
	exec.Net
	forward, backward *Model
	outputs           int
	saved             []int // places of the saved values among forward's outputs
	values            []*naive.Array
}

func (n *interpreted) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	if err := n.Net.Forward(ctx, in, out); err != nil {
		return err
	}
	values, err := interpret(n.forward, doubles(in))
	if err != nil {
		return err
	}
	n.values = values
	return store(out, values[:n.outputs])
}

func (n *interpreted) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	if err := n.Net.Backward(ctx, dout, din); err != nil {
		return err
	}
	in := doubles(dout)
	for _, at := range n.saved {
		in = append(in, n.values[at])
	}
	values, err := interpret(n.backward, in)
	if err != nil {
		return err
	}
	return store(din, values)
}

func doubles(ts []*tensor.Dense) (out []*naive.Array) {
	for _, t := range ts {
		a := naive.New(t.Shape()...)
		for i, v := range nd.Data(t) {
			a.Data[i] = float64(v)
		}
		out = append(out, a)
	}
	return out
}

func store(ts []*tensor.Dense, values []*naive.Array) error {
	for i, t := range ts {
		if t == nil {
			continue
		}
		if !slices.Equal([]int(t.Shape()), values[i].Shape) {
			return fmt.Errorf("output %d has shape %v, want %v", i, values[i].Shape, t.Shape())
		}
		for k, v := range values[i].Data {
			nd.Data(t)[k] = float32(v)
		}
	}
	return nil
}

// interpret runs a model as ONNX (opset 18) defines it. Truth values are 0 and 1.
func interpret(m *Model, in []*naive.Array) (out []*naive.Array, err error) {
	values, consts := map[string]*naive.Array{}, map[string]*constant{}
	for i, p := range m.inputs {
		values[p.name] = in[i]
	}
	for name, t := range m.tensors {
		c, err := t.decode()
		if err != nil {
			return nil, err
		}
		a := naive.New(c.shape...)
		for i := range a.Data {
			if c.isInts {
				a.Data[i] = float64(c.ints[i].v)
			} else {
				a.Data[i] = float64(c.floats[i])
			}
		}
		values[name], consts[name] = a, c
	}
	for _, n := range m.nodes {
		y, err := evaluate(n, values, consts)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", n, err)
		}
		values[n.out[0]] = y
	}
	for _, p := range m.outputs {
		out = append(out, values[p.name])
	}
	return out, nil
}

func evaluate(n *node, values map[string]*naive.Array, consts map[string]*constant) (*naive.Array, error) {
	arg := func(i int) *naive.Array {
		if i >= len(n.in) {
			return nil
		}
		return values[n.in[i]]
	}
	list := func(i int) []int {
		var l []int
		for _, v := range arg(i).Data {
			l = append(l, int(v))
		}
		return l
	}
	x := arg(0)
	truth := map[string]func(a, b float64) bool{
		"Greater": func(a, b float64) bool { return a > b },
		"Less":    func(a, b float64) bool { return a < b },
		"Equal":   func(a, b float64) bool { return a == b },
		"And":     func(a, b float64) bool { return a != 0 && b != 0 },
	}
	switch n.op {
	case "Identity", "Cast":
		return x, nil
	case "Greater", "Less", "Equal", "And":
		return mapped(func(v []float64) float64 {
			if truth[n.op](v[0], v[1]) {
				return 1
			}
			return 0
		}, x, arg(1)), nil
	case "Not":
		return mapped(func(v []float64) float64 { return 1 - v[0] }, x), nil
	case "Where":
		return mapped(func(v []float64) float64 {
			if v[0] != 0 {
				return v[1]
			}
			return v[2]
		}, x, arg(1), arg(2)), nil
	case "Reshape":
		shape := list(1)
		for i, d := range shape {
			if d == 0 {
				shape[i] = x.Shape[i]
			}
		}
		if nd.Size(shape...) != len(x.Data) {
			return nil, fmt.Errorf("%v as %v", x.Shape, shape)
		}
		return &naive.Array{Shape: shape, Data: x.Data}, nil
	case "Gather":
		axis, index := n.int("axis", 0), list(1)
		shape := slices.Clone(x.Shape)
		shape[axis] = len(index)
		return picked(x, shape, func(at []int) { at[axis] = index[at[axis]] }), nil
	case "Slice":
		shape := slices.Clone(x.Shape)
		starts, ends, axes, steps := list(1), list(2), list(3), list(4)
		for i, a := range axes {
			extent := x.Shape[a]
			lo, hi := 0, extent
			if steps[i] < 0 {
				lo, hi = -1, extent-1
			}
			for _, v := range []*int{&starts[i], &ends[i]} {
				if *v < 0 {
					*v += extent
				}
				*v = min(max(*v, lo), hi)
			}
			shape[a] = 0
			for at := starts[i]; (steps[i] > 0 && at < ends[i]) || (steps[i] < 0 && at > ends[i]); at += steps[i] {
				shape[a]++
			}
		}
		return picked(x, shape, func(at []int) {
			for i, a := range axes {
				at[a] = starts[i] + at[a]*steps[i]
			}
		}), nil
	case "ReduceSum":
		shape := slices.Clone(x.Shape)
		for _, a := range list(1) {
			shape[a] = 1
		}
		y := naive.New(shape...)
		walk(x.Shape, func(i int, at []int) { y.Data[place(shape, at)] += x.Data[i] })
		return y, nil
	}
	// The rest is as package graph has it, with attributes in the place of constant inputs.
	g := &graph.Graph{Consts: map[string]*tensor.Dense{}}
	op := &graph.Node{Name: "n", Op: graph.Op(n.op), In: n.in, Out: "y", Attr: graph.Attrs{}}
	for name, a := range n.attr {
		switch a.kind {
		case attrTypeInt:
			op.Attr[name] = int(a.i)
		case attrTypeFloat:
			op.Attr[name] = a.f
		case attrTypeString:
			op.Attr[name] = a.s
		case attrTypeInts:
			op.Attr[name] = n.ints(name)
		}
	}
	keep := 1
	switch n.op {
	case "Clip":
		for i, name := range []string{"min", "max"} {
			if a := arg(1 + i); a != nil {
				op.Attr[name] = float32(a.Data[0])
			}
		}
	case "Pad":
		op.Attr["pads"] = list(1)
		if a := arg(2); a != nil {
			op.Attr["value"] = float32(a.Data[0])
		}
	case "ReduceMean":
		op.Attr["axes"] = list(1)
	case "Resize":
		delete(op.Attr, "axes")
		if a := arg(2); a != nil {
			op.Attr["scales"] = []float32{1, 1, float32(a.Data[0]), float32(a.Data[1])}
		} else {
			op.Attr["sizes"] = append([]int{graph.N, x.Shape[1]}, list(3)...)
		}
	default:
		keep = len(n.in)
	}
	op.In = op.In[:keep]
	in := map[string]*naive.Array{}
	for _, name := range op.In {
		if c := consts[name]; c != nil {
			shape := c.shape
			if len(shape) == 0 {
				shape = []int{1}
			}
			g.Consts[name] = nd.Wrap(c.floats, shape...)
		} else if in[name] == nil {
			in[name] = values[name]
			g.Inputs = append(g.Inputs, graph.Value{Name: name, Shape: append(graph.Shape{graph.N}, values[name].Shape[1:]...)})
		}
	}
	op.Out = "the result"
	g.Nodes, g.Outputs = []*graph.Node{op}, []string{op.Out}
	result, err := naive.Run(g, in)
	if err != nil {
		return nil, err
	}
	return result[op.Out], nil
}

// walk visits the indices of a shape in row-major order.
func walk(shape []int, visit func(i int, at []int)) {
	at := make([]int, len(shape))
	for i := range nd.Size(shape...) {
		rest := i
		for a := len(shape) - 1; a >= 0; a-- {
			at[a], rest = rest%shape[a], rest/shape[a]
		}
		visit(i, at)
	}
}

// place is the offset of an index in a shape that broadcasts to the index's.
func place(shape, at []int) int {
	offset := 0
	for a, d := range shape {
		offset = offset*d + at[len(at)-len(shape)+a]%d
	}
	return offset
}

// picked has at each index the element of x at the index that from turns it into.
func picked(x *naive.Array, shape []int, from func(at []int)) *naive.Array {
	y := naive.New(shape...)
	walk(shape, func(i int, at []int) {
		source := slices.Clone(at)
		from(source)
		y.Data[i] = x.At(source...)
	})
	return y
}

// mapped applies f to all elements with broadcasting.
func mapped(f func(v []float64) float64, args ...*naive.Array) *naive.Array {
	var shape []int
	for _, a := range args {
		for len(shape) < len(a.Shape) {
			shape = append([]int{1}, shape...)
		}
		for i, d := range a.Shape {
			at := len(shape) - len(a.Shape) + i
			shape[at] = max(shape[at], d)
		}
	}
	y := naive.New(shape...)
	v := make([]float64, len(args))
	walk(shape, func(i int, at []int) {
		for k, a := range args {
			v[k] = a.Data[place(a.Shape, at)]
		}
		y.Data[i] = f(v)
	})
	return y
}

// TestMaximumOfNothing: padding never takes a part of the gradient, however small the elements are.
func TestMaximumOfNothing(t *testing.T) {
	b := graph.NewBuilder("low")
	x := b.Input("x", graph.N, 1, 3, 3)
	dy := b.Input("dy", graph.N, 1, 2, 2)
	attr := graph.Attrs{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}
	g, err := b.Graph(b.OpAs("dx", graph.MaxPoolGrad, attr, dy, x))
	require.NoError(t, err)
	m, err := rewritten(g)
	require.NoError(t, err)
	low := naive.New(1, 1, 3, 3)
	for i := range low.Data {
		low.Data[i] = -math.MaxFloat32
	}
	ones := naive.New(1, 1, 2, 2)
	for i := range ones.Data {
		ones.Data[i] = 1
	}
	out, err := interpret(m, []*naive.Array{low, ones})
	require.NoError(t, err)
	require.Equal(t, []float64{1, 1, 0, 1, 1, 0, 0, 0, 0}, out[0].Data)
}
