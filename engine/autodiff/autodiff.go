// Package autodiff turns a graph into the graph of its gradient, made of the same operators and the few backward ones
// that package graph lists. At kinks it does as PyTorch does: Relu's slope at 0 is 0, a MaxPool's first maximum takes the
// whole gradient, and Clip passes nothing at its bounds (as PyTorch's ReLU6).
package autodiff

import (
	"fmt"
	"maps"
	"slices"

	"f2pad.example/engine/graph"
)

// Reverse is the gradient of a graph g.
//
// Graph's inputs are the gradients of a scalar w.r.t. g's outputs, named "d:" and the output's name, in g's order; then
// the forward values that Saved lists, under their names in g, in that (sorted) order. Its outputs are the gradients
// w.r.t. g's inputs, in order. It shares g's constants.
type Reverse struct {
	Graph *graph.Graph
	Saved []string
}

// Gradient builds the gradient of g's outputs w.r.t. its inputs; constants have none. g is not changed. Saved values are
// never those that graph.Fold removes, so the result serves g folded and as it is. Errors name the node and operator.
func Gradient(g *graph.Graph) (*Reverse, error) {
	g = g.Clone()
	if err := g.Fold(); err != nil {
		return nil, err
	}
	g.Prune()
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	r := &reverse{graph.NewBuilder(g.Name + " gradient"), g, shapes, map[string]string{}}
	r.declare()
	for _, n := range slices.Backward(g.Nodes) {
		if err := r.node(n); err != nil {
			return nil, fmt.Errorf("autodiff: node %q (%s): %w", n.Name, n.Op, err)
		}
	}
	var outputs []string
	for _, in := range g.Inputs {
		dx := r.grad[in.Name]
		switch {
		case dx == "": // nothing depends on it: zeros, since no x is between 0 and 0
			dx = r.Op(graph.Step, graph.Attrs{"min": float32(0), "max": float32(0)}, in.Name)
		case slices.Contains(outputs, dx): // inputs that were added share a gradient; outputs must differ
			dx = r.Op(graph.Reshape, graph.Attrs{"shape": append([]int{0}, in.Shape[1:]...)}, dx)
		}
		outputs = append(outputs, dx)
	}
	d, err := r.Graph(outputs...)
	if err != nil {
		return nil, err
	}
	d.Prune()
	return &Reverse{d, dropUnread(d, len(g.Outputs))}, nil
}

// reverse is a gradient graph in the making. It begins with every forward value as an input and every constant, so that
// rules can use them by name and new names never clash; what is not read goes at the end.
type reverse struct {
	*graph.Builder
	g      *graph.Graph
	shapes map[string]graph.Shape // of g
	grad   map[string]string      // forward value -> its gradient so far
}

func (r *reverse) declare() {
	for _, out := range r.g.Outputs {
		r.grad[out] = r.Input("d:"+out, r.shapes[out]...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.shapes)) {
		if t, ok := r.g.Consts[name]; ok {
			r.ConstAs(name, t)
		} else {
			r.Input(name, r.shapes[name]...)
		}
	}
}

// node adds the gradients w.r.t. a node's inputs to what is known of them. All readers of the node's output have been
// here before.
func (r *reverse) node(n *graph.Node) error {
	rule, ok := rules[n.Op]
	if !ok {
		return fmt.Errorf("the operator has no gradient rule")
	}
	for i, dx := range rule(r, n, r.grad[n.Out]) {
		if err := r.Err(); err != nil {
			return err
		}
		if dx == "" {
			continue
		}
		x := n.In[i]
		if !r.Shape(dx).Equal(r.shapes[x]) {
			return fmt.Errorf("the gradient of input %q has shape %v, want %v", x, r.Shape(dx), r.shapes[x])
		}
		if sum := r.grad[x]; sum != "" {
			dx = r.Op(graph.Add, nil, sum, dx)
		}
		r.grad[x] = dx
	}
	return r.Err()
}

// varies reports whether a name stands for a value, which has a gradient, and not for a constant.
func (r *reverse) varies(name string) bool { return r.g.Consts[name] == nil }

// dropUnread removes the inputs behind the first keep that no node reads and returns the names of those that stay.
func dropUnread(d *graph.Graph, keep int) []string {
	read := map[string]bool{}
	for _, n := range d.Nodes {
		for _, name := range n.In {
			read[name] = true
		}
	}
	var saved []string
	inputs := d.Inputs[:keep:keep]
	for _, in := range d.Inputs[keep:] {
		if read[in.Name] {
			inputs, saved = append(inputs, in), append(saved, in.Name)
		}
	}
	d.Inputs = inputs
	return saved
}
