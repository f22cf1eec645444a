package goexec

import (
	"fmt"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/exec/arena"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/nd"
)

// operand is what a step reads or writes: a constant, or a buffer of the arena.
type operand struct {
	data   []float32 // a constant, else nil
	buffer int
	lo, hi int // where in the arena; place sets them
}

// step runs one node for one image.
type step struct {
	kernel
	in  []operand
	out operand
	at  int // when
}

// port is an input or output of a phase: one tensor of the caller's.
type port struct {
	name  string
	shape graph.Shape
	operand
}

// phase is a graph as steps: inputs are copied into the arena, the steps run, outputs are copied out.
type phase struct {
	in, out []port
	steps   []*step
	values  map[string]int // name -> buffer
}

// planner turns graphs into steps. Time counts steps and copies through all phases.
type planner struct {
	isa     *gemm.ISA
	store   *store
	buffers []*arena.Buffer
	phases  []*phase
	now     int
}

// phase plans a graph. The first inputs of its inputs come from the caller; known has the buffers of the others. The values
// named in kept are there when the phase is over.
func (p *planner) phase(g *graph.Graph, inputs int, known map[string]int, kept []string) (*phase, error) {
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	ph := &phase{values: known}
	for _, v := range g.Inputs[:inputs] {
		known[v.Name] = p.create(v.Shape)
		ph.in = append(ph.in, port{v.Name, v.Shape, operand{buffer: known[v.Name]}})
	}
	f := newFuser(p, ph, g, shapes, kept)
	for _, n := range g.Nodes {
		if n.Op == graph.Reshape { // another name for the same buffer
			if err := f.settle(n); err != nil {
				return nil, err
			}
			known[n.Out] = known[n.In[0]]
			continue
		}
		if err := f.node(n); err != nil {
			return nil, err
		}
	}
	p.now++
	for _, name := range g.Outputs {
		ph.out = append(ph.out, port{name, shapes[name], p.use(known[name])})
	}
	p.phases = append(p.phases, ph)
	return ph, nil
}

// reverse plans the gradient r of g, whose own phase is forward: the values that it saves are read where they lie.
func (p *planner) reverse(g *graph.Graph, r *autodiff.Reverse, forward *phase) (*phase, error) {
	known := map[string]int{}
	for i, name := range r.Saved {
		known[r.Graph.Inputs[len(g.Outputs)+i].Name] = forward.values[name]
	}
	p.now++
	return p.phase(r.Graph, len(g.Outputs), known, nil)
}

// step plans a chain.
func (p *planner) step(ph *phase, g *graph.Graph, c *chain, shapes map[string]graph.Shape) error {
	p.now++
	n := c.head
	lower, ok := lowerings[n.Op]
	if !ok {
		return fmt.Errorf("goexec: node %q (%s): the operator is not implemented", n.Name, n.Op)
	}
	s := &step{at: p.now}
	o := &operation{Node: n, isa: p.isa, store: p.store, out: shapes[n.Out], in: make([]graph.Shape, len(n.In)), consts: make([][]float32, len(n.In))}
	for i, name := range n.In {
		if name == "" {
			continue
		}
		o.in[i] = shapes[name]
		if c := g.Consts[name]; c != nil {
			o.consts[i] = nd.Data(c)
			s.in = append(s.in, operand{data: o.consts[i]})
			continue
		}
		s.in = append(s.in, p.use(ph.values[name]))
	}
	for _, l := range c.tail {
		o.after = append(o.after, l.lower(len(s.in)))
		if l.other != "" {
			s.in = append(s.in, p.use(ph.values[l.other]))
		}
	}
	var err error
	if s.kernel, err = lower(o); err != nil {
		return fmt.Errorf("goexec: node %q (%s): %w", n.Name, n.Op, err)
	}
	if s.kernel.packed {
		for i := range s.in[1:] {
			if o := &s.in[1+i]; o.data != nil {
				o.data = []float32{}
			}
		}
	}
	ph.values[c.out] = p.create(o.out)
	s.out = operand{buffer: ph.values[c.out]}
	ph.steps = append(ph.steps, s)
	return nil
}

func (p *planner) create(shape graph.Shape) int {
	p.buffers = append(p.buffers, &arena.Buffer{Size: shape.PerImage(), First: p.now, Last: p.now})
	return len(p.buffers) - 1
}

func (p *planner) use(buffer int) operand {
	p.buffers[buffer].Last = p.now
	return operand{buffer: buffer}
}

// line is the alignment of buffers, in floats: a cache line.
const line = 16

// place lays the buffers out and returns the floats that an arena and a core's scratch take.
func (p *planner) place() (size, scratch int) {
	home := p.share()
	var own []*arena.Buffer
	for b := range p.buffers {
		if home[b] == b {
			own = append(own, p.buffers[b])
		}
	}
	size = arena.Place(own, line)
	locate := func(o *operand) {
		if o.data == nil {
			b := p.buffers[home[o.buffer]]
			o.lo, o.hi = b.Offset, b.Offset+b.Size
		}
	}
	for _, ph := range p.phases {
		for i := range ph.in {
			locate(&ph.in[i].operand)
		}
		for i := range ph.out {
			locate(&ph.out[i].operand)
		}
		for _, s := range ph.steps {
			for i := range s.in {
				locate(&s.in[i])
			}
			locate(&s.out)
			scratch = max(scratch, s.scratch)
		}
	}
	return size, scratch
}

// share lets a step that may work in place write to the buffer of an input that dies there. It returns, for each buffer,
// the one whose place it takes.
func (p *planner) share() []int {
	home := make([]int, len(p.buffers))
	for b := range home {
		home[b] = b
	}
	for _, ph := range p.phases {
		for _, s := range ph.steps {
			if !s.inPlace {
				continue
			}
			out := p.buffers[s.out.buffer]
			for _, in := range s.in {
				if in.data != nil {
					continue
				}
				if b := p.buffers[home[in.buffer]]; b.Last == s.at && b.Size == out.Size {
					home[s.out.buffer] = home[in.buffer]
					b.Last = out.Last
					break
				}
			}
		}
	}
	return home
}
