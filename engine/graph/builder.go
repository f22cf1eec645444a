package graph

import (
	"fmt"
	"strings"

	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Builder writes a graph node by node. Its methods return names for use as inputs; the first error is kept, the rest does
// nothing, and Graph reports it.
type Builder struct {
	g      *Graph
	scope  *scope
	scalar map[float32]string
	err    error
}

// NewBuilder starts an empty graph.
func NewBuilder(name string) *Builder {
	return &Builder{
		g:      &Graph{Name: name, Consts: map[string]*tensor.Dense{}},
		scope:  newScope(),
		scalar: map[float32]string{},
	}
}

// Input declares an input; shape begins with N.
func (b *Builder) Input(name string, shape ...int) string {
	v := Value{name, shape}
	if b.err == nil {
		b.err = b.scope.input(v)
	}
	if b.err == nil {
		b.g.Inputs = append(b.g.Inputs, v)
	}
	return name
}

// Const adds a constant under a name of its own. The graph shares t.
func (b *Builder) Const(t *tensor.Dense) string { return b.ConstAs(b.fresh("const"), t) }

// ConstAs adds a constant under the given name. The graph shares t.
func (b *Builder) ConstAs(name string, t *tensor.Dense) string {
	if b.err == nil {
		b.err = b.scope.constant(name, t)
	}
	if b.err == nil {
		b.g.Consts[name] = t
	}
	return name
}

// Scalar returns a constant of shape [1] with value v, the same one whenever v is asked for again.
func (b *Builder) Scalar(v float32) string {
	name, ok := b.scalar[v]
	if !ok {
		name = b.Const(nd.Wrap([]float32{v}, 1))
		b.scalar[v] = name
	}
	return name
}

// Op adds a node under a name of its own and returns its output.
func (b *Builder) Op(op Op, attr Attrs, in ...string) string {
	return b.OpAs(b.fresh(strings.ToLower(string(op))), op, attr, in...)
}

// OpAs adds a node and returns its output; both have the given name.
func (b *Builder) OpAs(name string, op Op, attr Attrs, in ...string) string {
	n := &Node{Name: name, Op: op, In: in, Out: name, Attr: attr}
	if b.err == nil {
		b.err = b.scope.node(n)
	}
	if b.err == nil {
		b.g.Nodes = append(b.g.Nodes, n)
	}
	return name
}

// Conv adds a convolution of x with constant weights [M,C/group,kH,kW] and bias [M], or "" for none.
func (b *Builder) Conv(x, weights, bias string, attr Attrs) string {
	if bias == "" {
		return b.Op(Conv, attr, x, weights)
	}
	return b.Op(Conv, attr, x, weights, bias)
}

// Shape is the shape of a value or constant added so far, nil after an error.
func (b *Builder) Shape(name string) Shape { return b.scope.shapes[name] }

// Err is the first error so far.
func (b *Builder) Err() error { return b.err }

// Recover returns the first error and forgets it: what failed was not added, and the work may go on without it.
func (b *Builder) Recover() error {
	err := b.err
	b.err = nil
	return err
}

// Graph ends the work and returns the graph with the given outputs, or the first error.
func (b *Builder) Graph(outputs ...string) (*Graph, error) {
	if b.err == nil {
		b.err = b.scope.outputs(outputs)
	}
	if b.err != nil {
		return nil, b.err
	}
	b.g.Outputs = outputs
	return b.g, nil
}

// fresh is a name that no value has.
func (b *Builder) fresh(stem string) string {
	for i := len(b.scope.shapes); ; i++ {
		name := fmt.Sprintf("%s%d", stem, i)
		if _, taken := b.scope.shapes[name]; !taken && !b.scope.nodes[name] {
			return name
		}
	}
}
