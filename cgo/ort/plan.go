//go:build cgo

package ort

import (
	"fmt"
	"slices"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/graph"

	"gorgonia.org/tensor"
)

// port is a value that steps pass on: an input or output of the graph or of its gradient, what is kept between the two, what
// a step in Go reads or writes.
type port struct {
	name  string
	shape graph.Shape
	at    int // its number, in both phases together
}

// phase is the graph, or its gradient, as steps in order.
type phase struct {
	in, out []port
	steps   []*step
}

// step is a piece of a graph for ONNX Runtime, or one node for Go.
type step struct {
	at      int // its number, in both phases together
	in, out []port
	host    *host

	part    *graph.Graph // what is not Go's, as long as sessions are made of it
	session *session     // on one thread
	wide    *session     // on several, if their number does not show in the results
}

// planner cuts graphs into steps.
type planner struct {
	ports []port
	steps []*step
}

// floats is how many of them the ports of one image hold.
func (p *planner) floats() (sum int) {
	for _, q := range p.ports {
		sum += q.shape.PerImage()
	}
	return sum
}

func (p *planner) port(name string, shape graph.Shape) port {
	p.ports = append(p.ports, port{name, shape, len(p.ports)})
	return p.ports[len(p.ports)-1]
}

// plan cuts g and, if asked, its gradient.
func (p *planner) plan(g *graph.Graph, gradient bool) (forward, backward *phase, err error) {
	known := map[string]port{}
	if !gradient {
		forward, err = p.phase(g, len(g.Inputs), nil, known)
		return forward, nil, err
	}
	r, err := autodiff.Gradient(g)
	if err != nil {
		return nil, nil, err
	}
	if forward, err = p.phase(g, len(g.Inputs), r.Saved, known); err != nil {
		return nil, nil, err
	}
	saved := map[string]port{}
	for _, name := range r.Saved {
		saved[name] = known[name]
	}
	backward, err = p.phase(r.Graph, len(g.Outputs), nil, saved)
	return forward, backward, err
}

// phase cuts g. The first inputs of its inputs come from the caller; known has the ports of the others, and gets those of
// what has one, saved values included.
func (p *planner) phase(g *graph.Graph, inputs int, saved []string, known map[string]port) (*phase, error) {
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	ph := &phase{}
	for _, v := range g.Inputs[:inputs] {
		known[v.Name] = p.port(v.Name, v.Shape)
		ph.in = append(ph.in, known[v.Name])
	}
	parts, crossing := cut(g)
	for _, name := range slices.Concat(g.Outputs, saved) {
		crossing[name] = true
	}
	for _, nodes := range parts {
		s, err := p.step(g, nodes, shapes, crossing, known)
		if err != nil {
			return nil, fmt.Errorf("ort: node %q (%s): %w", nodes[0].Name, nodes[0].Op, err)
		}
		ph.steps = append(ph.steps, s)
	}
	for _, name := range g.Outputs {
		ph.out = append(ph.out, known[name])
	}
	return ph, nil
}

// cut deals the nodes out to steps, as few as can be but one for each node of Go's, and says which values pass between them.
func cut(g *graph.Graph) (steps [][]*graph.Node, crossing map[string]bool) {
	level := levels(g)
	crossing = map[string]bool{}
	var byLevel [][]*graph.Node
	for _, n := range g.Nodes {
		at := level[n.Out]
		for _, name := range n.In {
			if from, made := level[name]; made && from != at {
				crossing[name] = true
			}
		}
		crossing[n.Out] = crossing[n.Out] || at%2 == 1
		for len(byLevel) <= at {
			byLevel = append(byLevel, nil)
		}
		byLevel[at] = append(byLevel[at], n)
	}
	for at, nodes := range byLevel {
		size := 1
		if at%2 == 0 {
			size = max(1, len(nodes))
		}
		steps = slices.AppendSeq(steps, slices.Chunk(nodes, size))
	}
	return steps, crossing
}

// levels says when each value is made: ONNX Runtime makes those of even levels, one level in a session, Go those of odd
// ones. A value is made as soon as can be, except that what depends on no node of Go's waits for the first that needs it.
func levels(g *graph.Graph) map[string]int {
	level := map[string]int{}
	for _, n := range g.Nodes {
		at := 0
		for _, name := range n.In {
			at = max(at, level[name])
		}
		if byGo := hosts[n.Op] != nil; byGo != (at%2 == 1) {
			at++
		}
		level[n.Out] = at
	}
	needed := map[string]int{} // level of the first session that can make it in time
	for _, n := range slices.Backward(g.Nodes) {
		if at, ok := needed[n.Out]; ok && level[n.Out] == 0 {
			level[n.Out] = at
		}
		for _, name := range n.In {
			at := level[n.Out] / 2 * 2
			if before, ok := needed[name]; !ok || at < before {
				needed[name] = at
			}
		}
	}
	return level
}

// step makes a step of nodes of g. The values that it passes on get ports.
func (p *planner) step(
	g *graph.Graph, nodes []*graph.Node, shapes map[string]graph.Shape, crossing map[string]bool, known map[string]port,
) (*step, error) {
	s := &step{at: len(p.steps)}
	part := &graph.Graph{Name: nodes[0].Name, Nodes: nodes, Consts: map[string]*tensor.Dense{}}
	here := map[string]bool{} // values that are made here, or are inputs already
	for _, n := range nodes {
		for _, name := range n.In {
			switch c := g.Consts[name]; {
			case c != nil:
				part.Consts[name] = c
			case name != "" && !here[name]:
				here[name] = true
				s.in = append(s.in, known[name])
				part.Inputs = append(part.Inputs, graph.Value{Name: name, Shape: shapes[name]})
			}
		}
		here[n.Out] = true
		if crossing[n.Out] {
			known[n.Out] = p.port(n.Out, shapes[n.Out])
			s.out = append(s.out, known[n.Out])
			part.Outputs = append(part.Outputs, n.Out)
		}
	}
	p.steps = append(p.steps, s)
	if lower := hosts[nodes[0].Op]; lower != nil {
		var err error
		s.host, err = lower(nodes[0], shapes)
		return s, err
	}
	s.part = part
	return s, nil
}

func names(ports []port) (names []string) {
	for _, p := range ports {
		names = append(names, p.name)
	}
	return names
}
