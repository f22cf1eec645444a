//go:build cgo

package ort

import (
	"fmt"
	"slices"

	"f2pad/engine/autodiff"
	"f2pad/engine/graph"
	"f2pad/engine/onnx"

	ort "github.com/yalue/onnxruntime_go"
	"gorgonia.org/tensor"
)

// port is a value that crosses the border of a session: an input or output of the graph or of its gradient, what is kept
// between them, or what a step in Go reads or writes. Each has a place in every slot.
type port struct {
	name  string
	shape graph.Shape
	at    int // its number
}

// phase is the graph, or its gradient, as steps in order.
type phase struct {
	in, out []port
	steps   []*step
}

// step is a piece of a graph: as an ONNX model for a session, or one node that Go runs.
type step struct {
	in, out []port
	model   []byte
	session [2]*ort.DynamicAdvancedSession // on one thread, and on many
	host    *host
}

// planner cuts graphs into steps.
type planner struct{ shapes []graph.Shape } // of the ports

func (p *planner) port(name string, shape graph.Shape) port {
	p.shapes = append(p.shapes, shape)
	return port{name, shape, len(p.shapes) - 1}
}

// plan cuts g and, if asked, its gradient.
func (p *planner) plan(g *graph.Graph, gradient bool) (forward, backward *phase, err error) {
	var reverse *autodiff.Reverse
	var saved []string
	if gradient {
		if reverse, err = autodiff.Gradient(g); err != nil {
			return nil, nil, err
		}
		saved = reverse.Saved
	}
	known := map[string]port{}
	if forward, err = p.phase(g, g.Inputs, saved, known); err != nil || !gradient {
		return forward, nil, err
	}
	kept := map[string]port{}
	for _, name := range saved {
		kept[name] = known[name]
	}
	backward, err = p.phase(reverse.Graph, reverse.Graph.Inputs[:len(g.Outputs)], nil, kept)
	return forward, backward, err
}

// phase cuts g. inputs come from the caller; known has the ports of the other inputs and gets those of all values that
// have one; saved are values that must.
func (p *planner) phase(g *graph.Graph, inputs []graph.Value, saved []string, known map[string]port) (*phase, error) {
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	ph := &phase{}
	for _, v := range inputs {
		known[v.Name] = p.port(v.Name, v.Shape)
		ph.in = append(ph.in, known[v.Name])
	}
	wanted := map[string]bool{}
	for _, name := range slices.Concat(g.Outputs, saved) {
		wanted[name] = true
	}
	for _, nodes := range cut(g, wanted) {
		s, err := p.step(g, nodes, shapes, wanted, known)
		if err != nil {
			return nil, err
		}
		ph.steps = append(ph.steps, s)
	}
	for _, name := range g.Outputs {
		ph.out = append(ph.out, known[name])
	}
	return ph, nil
}

// cut deals the nodes out to steps: what Go runs is alone, and what depends on it goes to a later session than what it
// depends on. wanted gets the values that cross.
func cut(g *graph.Graph, wanted map[string]bool) (steps [][]*graph.Node) {
	levels := map[string]int{} // value -> level of the node that makes it: even ones are sessions, odd ones are Go's
	var byLevel [][]*graph.Node
	for _, n := range g.Nodes {
		level := 0
		for _, name := range n.In {
			level = max(level, levels[name])
		}
		if host := hosts[n.Op] != nil; host != (level%2 == 1) {
			level++
		}
		for len(byLevel) <= level {
			byLevel = append(byLevel, nil)
		}
		byLevel[level] = append(byLevel[level], n)
		levels[n.Out] = level
		for _, name := range n.In {
			if from, ok := levels[name]; ok && (from != level || level%2 == 1) {
				wanted[name] = true
			}
		}
		if level%2 == 1 {
			wanted[n.Out] = true
		}
	}
	for level, nodes := range byLevel {
		switch {
		case level%2 == 1:
			steps = slices.AppendSeq(steps, slices.Chunk(nodes, 1))
		case len(nodes) > 0:
			steps = append(steps, nodes)
		}
	}
	return steps
}

// step makes a step of nodes, whose wanted values get ports.
func (p *planner) step(
	g *graph.Graph, nodes []*graph.Node, shapes map[string]graph.Shape, wanted map[string]bool, known map[string]port,
) (*step, error) {
	s := &step{}
	part := &graph.Graph{Name: nodes[0].Name, Nodes: nodes, Consts: map[string]*tensor.Dense{}}
	made := map[string]bool{}
	for _, n := range nodes {
		for _, name := range n.In {
			switch c := g.Consts[name]; {
			case c != nil:
				part.Consts[name] = c
			case name != "" && !made[name]:
				if in := known[name]; !slices.ContainsFunc(s.in, func(q port) bool { return q.at == in.at }) {
					s.in = append(s.in, in)
					part.Inputs = append(part.Inputs, graph.Value{Name: name, Shape: in.shape})
				}
			}
		}
		made[n.Out] = true
	}
	for _, n := range nodes {
		if wanted[n.Out] {
			known[n.Out] = p.port(n.Out, shapes[n.Out])
			s.out = append(s.out, known[n.Out])
			part.Outputs = append(part.Outputs, n.Out)
		}
	}
	var err error
	if lower := hosts[nodes[0].Op]; lower != nil {
		if s.host, err = lower(nodes[0], shapes); err != nil {
			return nil, fmt.Errorf("ort: node %q (%s): %w", nodes[0].Name, nodes[0].Op, err)
		}
		return s, nil
	}
	s.model, err = onnx.Write(part)
	return s, err
}
