package graph

import (
	"fmt"
	"maps"
	"slices"

	"gorgonia.org/tensor"
)

// Sort puts the nodes in an order in which every input precedes its use; nodes that are already so keep their order. A
// cycle is an error that names a node on it, an undefined input one that names its reader.
func (g *Graph) Sort() error {
	makers := map[string]*Node{}
	for i, n := range g.Nodes {
		if n == nil {
			return fmt.Errorf("graph: node %d is nil", i)
		}
		if makers[n.Out] != nil {
			return fmt.Errorf("graph: node %q (%s): the name %q is defined twice", n.Name, n.Op, n.Out)
		}
		makers[n.Out] = n
	}
	known := map[string]bool{"": true}
	for _, in := range g.Inputs {
		known[in.Name] = true
	}
	for name := range g.Consts {
		known[name] = true
	}
	// Depth first with a stack of our own: a chain of a million nodes must not be a million calls deep.
	sorted := make([]*Node, 0, len(g.Nodes))
	open := map[*Node]bool{}
	for _, root := range g.Nodes {
		for stack := []*Node{root}; len(stack) > 0; {
			n := stack[len(stack)-1]
			if known[n.Out] {
				stack = stack[:len(stack)-1]
				continue
			}
			open[n] = true
			i := slices.IndexFunc(n.In, func(name string) bool { return !known[name] })
			if i < 0 {
				known[n.Out] = true
				sorted = append(sorted, n)
				continue
			}
			maker := makers[n.In[i]]
			if maker == nil {
				return fmt.Errorf("graph: node %q (%s): input %q is not defined", n.Name, n.Op, n.In[i])
			}
			if open[maker] {
				return fmt.Errorf("graph: node %q (%s) is part of a cycle", maker.Name, maker.Op)
			}
			stack = append(stack, maker)
		}
	}
	g.Nodes = sorted
	return nil
}

// Prune drops the nodes and constants that no output needs. The nodes must be sorted; inputs stay.
func (g *Graph) Prune() {
	needed := map[string]bool{}
	for _, name := range g.Outputs {
		needed[name] = true
	}
	for _, n := range slices.Backward(g.Nodes) {
		if needed[n.Out] {
			for _, name := range n.In {
				needed[name] = true
			}
		}
	}
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool { return !needed[n.Out] })
	maps.DeleteFunc(g.Consts, func(name string, _ *tensor.Dense) bool { return !needed[name] })
}

// Clone returns a copy that shares only the constants' values, which nobody writes to.
func (g *Graph) Clone() *Graph {
	c := &Graph{Name: g.Name, Outputs: slices.Clone(g.Outputs), Consts: maps.Clone(g.Consts)}
	for _, in := range g.Inputs {
		c.Inputs = append(c.Inputs, Value{in.Name, slices.Clone(in.Shape)})
	}
	for _, n := range g.Nodes {
		c.Nodes = append(c.Nodes, n.clone())
	}
	return c
}

func (n *Node) clone() *Node {
	c := &Node{Name: n.Name, Op: n.Op, In: slices.Clone(n.In), Out: n.Out, Attr: maps.Clone(n.Attr)}
	for name, v := range c.Attr {
		switch v := v.(type) {
		case []int:
			c.Attr[name] = slices.Clone(v)
		case []float32:
			c.Attr[name] = slices.Clone(v)
		}
	}
	return c
}
