package goexec

import (
	"math"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/vec"
)

// after is an element-wise operator that a convolution applies to what it has just written.
type after struct {
	do    func(c *call, lo, hi int) // to c.out[lo:hi]
	clips bool                      // it does nothing but to clip
	to    gemm.Bounds
}

// chain is a node with the element-wise ones that are computed with it. It runs when the last of them would.
type chain struct {
	head *graph.Node
	tail []link
	out  string
}

// link is a node of a chain's tail, and its operand that comes from elsewhere, "" if there is none.
type link struct {
	*graph.Node
	other string
}

// fuser puts off convolutions whose only reader is an element-wise operator, so that they become a chain, and Steps whose
// only reader multiplies by them. A value that somebody else wants, a saved one of the gradient's among them, is always
// computed. Fusing changes no bit.
type fuser struct {
	p       *planner
	ph      *phase
	g       *graph.Graph
	shapes  map[string]graph.Shape
	readers map[string]int
	chains  map[string]*chain      // by what they compute
	gates   map[string]*graph.Node // Steps, likewise
}

func newFuser(p *planner, ph *phase, g *graph.Graph, shapes map[string]graph.Shape, kept []string) *fuser {
	f := &fuser{p, ph, g, shapes, map[string]int{}, map[string]*chain{}, map[string]*graph.Node{}}
	for _, n := range g.Nodes {
		for _, name := range n.In {
			f.readers[name]++
		}
	}
	const always = 2 // readers, none of which is a node
	for _, name := range append(kept, g.Outputs...) {
		f.readers[name] += always
	}
	return f
}

// node plans a node, or puts it off.
func (f *fuser) node(n *graph.Node) error {
	switch {
	case n.Op == graph.Conv || n.Op == graph.ConvTranspose:
		if err := f.settle(n); err != nil {
			return err
		}
		return f.put(&chain{head: n, out: n.Out})
	case n.Op == graph.Step && f.readers[n.Out] == 1 && f.there(n.In[0]):
		f.gates[n.Out] = n
		return nil
	case n.Op == graph.Mul:
		for i, name := range n.In {
			gate := f.gates[name]
			x := n.In[1-i]
			if c := f.chains[x]; gate != nil && f.alike(n) && (c != nil || f.there(x)) {
				delete(f.gates, name)
				if c != nil {
					return f.extend(c, link{gated(n, x, gate), gate.In[0]})
				}
				return f.step(&chain{head: gated(n, x, gate), out: n.Out})
			}
		}
	case n.Op == graph.Add && f.alike(n):
		for i, name := range n.In {
			other := n.In[1-i]
			if c := f.chains[name]; c != nil && other != name && f.g.Consts[other] == nil {
				if err := f.value(other); err != nil {
					return err
				}
				return f.extend(c, link{n, other})
			}
		}
	case elementwise[n.Op] && f.chains[n.In[0]] != nil:
		return f.extend(f.chains[n.In[0]], link{n, ""})
	}
	if err := f.settle(n); err != nil {
		return err
	}
	return f.step(&chain{head: n, out: n.Out})
}

// there reports that a name stands for a value that has been planned.
func (f *fuser) there(name string) bool {
	return f.chains[name] == nil && f.gates[name] == nil && f.g.Consts[name] == nil
}

// alike reports that both operands of a node have its output's elements, one for one.
func (f *fuser) alike(n *graph.Node) bool {
	size := f.shapes[n.Out].PerImage()
	return f.shapes[n.In[0]].PerImage() == size && f.shapes[n.In[1]].PerImage() == size
}

// extend adds a node to a chain.
func (f *fuser) extend(c *chain, l link) error {
	delete(f.chains, c.out)
	c.tail, c.out = append(c.tail, l), l.Out
	return f.put(c)
}

// put plans a chain, unless it may become longer.
func (f *fuser) put(c *chain) error {
	if f.readers[c.out] == 1 {
		f.chains[c.out] = c
		return nil
	}
	return f.step(c)
}

// settle plans what was put off and n reads.
func (f *fuser) settle(n *graph.Node) error {
	for _, name := range n.In {
		if err := f.value(name); err != nil {
			return err
		}
	}
	return nil
}

// value plans what was put off if it is the named value.
func (f *fuser) value(name string) error {
	if c := f.chains[name]; c != nil {
		delete(f.chains, name)
		return f.step(c)
	}
	if n := f.gates[name]; n != nil {
		delete(f.gates, name)
		return f.step(&chain{head: n, out: n.Out})
	}
	return nil
}

func (f *fuser) step(c *chain) error { return f.p.step(f.ph, f.g, c, f.shapes) }

// gate is an operator of this package alone: Mul of x by Step of y, with Step's attributes.
const gate graph.Op = "Gate"

func gated(n *graph.Node, x string, step *graph.Node) *graph.Node {
	return &graph.Node{Name: n.Name, Op: gate, In: []string{x, step.In[0]}, Out: n.Out, Attr: step.Attr}
}

// stepBounds are a Step's, or a Clip's.
func stepBounds(n *graph.Node) (lo, hi float32) {
	return n.Float("min", float32(math.Inf(-1))), n.Float("max", float32(math.Inf(1)))
}

// lowerGate is for operands of one size.
func lowerGate(o *operation) (kernel, error) {
	n := o.out.PerImage()
	min1, max1 := stepBounds(o.Node)
	return kernel{
		units:   chunks(n),
		cost:    min(n, chunk) / 4,
		inPlace: true,
		run: func(c *call, lo, hi int) {
			lo, hi = lo*chunk, min(hi*chunk, n)
			vec.Gate(c.out[lo:hi], c.in[0][lo:hi], c.in[1][lo:hi], min1, max1)
		},
	}, nil
}

// lower makes the link work in place on what the chain has computed so far; its operand is the call's input number at.
func (l link) lower(at int) after {
	switch l.Op {
	case graph.Add:
		return after{do: func(c *call, lo, hi int) { vec.Add(c.out[lo:hi], c.out[lo:hi], c.in[at][lo:hi]) }}
	case gate:
		min1, max1 := stepBounds(l.Node)
		return after{do: func(c *call, lo, hi int) { vec.Gate(c.out[lo:hi], c.out[lo:hi], c.in[at][lo:hi], min1, max1) }}
	default:
		f, _ := unary(l.Node)
		a := after{do: func(c *call, lo, hi int) { f(c.out[lo:hi], c.out[lo:hi]) }}
		a.to.Lo, a.to.Hi = stepBounds(l.Node)
		if l.Op == graph.Relu {
			a.to.Lo = 0
		}
		a.clips = l.Op == graph.Relu || l.Op == graph.Clip && a.to.Lo <= a.to.Hi
		return a
	}
}

// elementwise are the operators that lowerUnary lowers.
var elementwise = func() map[graph.Op]bool {
	ops := map[graph.Op]bool{}
	for _, op := range []graph.Op{
		graph.Relu, graph.LeakyRelu, graph.Clip, graph.Sigmoid, graph.HardSigmoid, graph.HardSwish, graph.Tanh, graph.Exp,
		graph.Log, graph.Sqrt, graph.Abs, graph.Step, graph.Sign,
	} {
		ops[op] = true
	}
	return ops
}()
