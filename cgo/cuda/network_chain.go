package cuda

import (
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/kernels"
)

// chain is what one launch computes: a convolution and what it does to its sums before it writes them, or a program of
// element-wise operators. It is put off for as long as its only reader may join it. Values that somebody else wants, saved
// ones among them, are always computed.
type chain struct {
	node  *graph.Node // the last
	shape graph.Shape

	conv *graph.Node // nil: a program
	done finishing   // how far the convolution's is

	inputs  []string
	program []kernels.PointProgramStep

	add, gate string // of a convolution, "" for none
	clip      [2]float32
	open      [2]float32 // of the gate
}

// finishing are the things that a convolution does to its sums, in their order.
type finishing int

const (
	summed finishing = iota
	added
	clipped
	gated
)

// plan plans a node, or puts it off.
func (p *planner) plan(n *graph.Node) error {
	if n.Op == graph.Conv || n.Op == graph.ConvTranspose {
		return p.put(&chain{node: n, shape: p.shapes[n.Out], conv: n, clip: [2]float32{-infinite, infinite}})
	}
	if op, ok := pointOp(n); ok {
		return p.pointwise(n, op)
	}
	lower, ok := lowerings[n.Op]
	if !ok {
		return errNoKernel
	}
	return lower(p, n)
}

// pointwise adds an element-wise node to the chain of an operand, or begins a program.
func (p *planner) pointwise(n *graph.Node, op kernels.PointProgramStep) error {
	for i, name := range n.In {
		other := ""
		if len(n.In) == 2 {
			other = n.In[1-i]
		}
		c := p.chains[name]
		if c == nil || other == name || !c.shape.Equal(p.shapes[n.Out]) {
			continue
		}
		if ok, err := p.join(c, n, turned(op, i), other); ok || err != nil {
			return err
		}
	}
	c := &chain{node: n, shape: p.shapes[n.Out], program: []kernels.PointProgramStep{op}, inputs: []string{n.In[0]}}
	if len(n.In) == 2 {
		c.program[0].Operand = c.input(n.In[1])
	}
	for _, name := range n.In {
		if err := p.ready(name); err != nil {
			return err
		}
	}
	return p.put(c)
}

// turned is a binary operation whose left operand, which a program has at hand, is the node's input number i.
func turned(op kernels.PointProgramStep, i int) kernels.PointProgramStep {
	if i == 1 {
		switch op.Op {
		case kernels.PointSub:
			op.Op = kernels.PointSubFrom
		case kernels.PointDiv:
			op.Op = kernels.PointDivInto
		}
	}
	return op
}

// join makes a node, which does op to what a chain has computed, the chain's last, if the chain can do that.
func (p *planner) join(c *chain, n *graph.Node, op kernels.PointProgramStep, other string) (bool, error) {
	if op.Op == kernels.PointMul {
		// Where the other operand is a Step that nobody else wants, it is a gate, and needs no memory.
		if g := p.chains[other]; g != nil && g.conv == nil && len(g.program) == 1 && g.program[0].Op == kernels.PointStep && g.shape.Equal(c.shape) {
			step := g.program[0]
			step.Op = kernels.PointGate
			if c.fits(p, step, g.inputs[0]) {
				delete(p.chains, other)
				return true, p.extend(c, n, step, g.inputs[0])
			}
		}
	}
	if !c.fits(p, op, other) {
		return false, nil
	}
	if err := p.ready(other); err != nil {
		return false, err
	}
	return true, p.extend(c, n, op, other)
}

// fits reports that a chain can do one thing more.
func (c *chain) fits(p *planner, op kernels.PointProgramStep, other string) bool {
	if c.conv == nil {
		return len(c.program) < kernels.PointSteps && (other == "" || slices.Contains(c.inputs, other) || len(c.inputs) < kernels.PointInputs)
	}
	alike := other != "" && p.g.Consts[other] == nil && p.shapes[other].Equal(c.shape)
	switch op.Op {
	case kernels.PointAdd:
		return alike && c.done < added
	case kernels.PointClip:
		return c.done < clipped
	case kernels.PointGate:
		return alike && c.done < gated
	}
	return false
}

func (p *planner) extend(c *chain, n *graph.Node, op kernels.PointProgramStep, other string) error {
	delete(p.chains, c.node.Out)
	c.node = n
	if c.conv == nil {
		if other != "" {
			op.Operand = c.input(other)
		}
		c.program = append(c.program, op)
		return p.put(c)
	}
	switch op.Op {
	case kernels.PointAdd:
		c.add, c.done = other, added
	case kernels.PointClip:
		c.clip, c.done = [2]float32{op.P, op.Q}, clipped
	case kernels.PointGate:
		c.gate, c.open, c.done = other, [2]float32{op.P, op.Q}, gated
	}
	return p.put(c)
}

// input is the number of an input of a program, which it becomes if it is none yet.
func (c *chain) input(name string) int {
	if i := slices.Index(c.inputs, name); i >= 0 {
		return i
	}
	c.inputs = append(c.inputs, name)
	return len(c.inputs) - 1
}

// put plans a chain, unless it may become longer.
func (p *planner) put(c *chain) error {
	if p.reads[c.node.Out] == 1 {
		p.chains[c.node.Out] = c
		return nil
	}
	return p.settle(c)
}

// ready plans what was put off if it is the named value; constants and "" are always ready.
func (p *planner) ready(name string) error {
	if c := p.chains[name]; c != nil {
		return p.settle(c)
	}
	return nil
}

// settle plans a chain.
func (p *planner) settle(c *chain) error {
	delete(p.chains, c.node.Out)
	asking := p.node
	p.node = c.node
	defer func() { p.node = asking }()
	if c.conv != nil {
		return p.convolve(c)
	}
	return p.compute(c)
}

// compute emits a program. Its result lies as the first of its inputs does that is as large. It is float16 if one of its inputs is and
// none as large was computed in float32: constants are not, nor is what comes from the caller.
func (p *planner) compute(c *chain) error {
	in := make([]array, len(c.inputs))
	var strides []int
	half, wide := false, false
	for i, name := range c.inputs {
		v, err := p.get(name)
		if err != nil {
			return err
		}
		if in[i] = v; strides == nil && v.data == nil && v.shape.Equal(c.shape) {
			strides = v.strides
		}
		half = half || v.half || v.bits
		given := v.data != nil || slices.ContainsFunc(p.ph.in, func(in port) bool { return in.name == name })
		wide = wide || !v.half && !v.bits && !given && v.shape.Equal(c.shape)
	}
	half = half && !wide
	if strides == nil {
		strides = usual(c.shape)
	}
	axes := inner(c.shape, strides)
	form := kernels.PointForm{Program: c.program, HalfOut: half}
	for _, a := range axes {
		form.Extents = append(form.Extents, c.shape[a])
	}
	images := [kernels.PointInputs]int{}
	for i, name := range c.inputs {
		if v := in[i]; v.data == nil && v.shape.Equal(c.shape) { // in some other order, or in this one
			for _, v := range p.values[name] {
				if v.lies(strides) && !in[i].lies(strides) {
					in[i] = v
				}
			}
		}
		v := in[i]
		form.Halves[i], form.Bits[i] = v.half, v.bits
		if v.data == nil {
			images[i] = v.shape.PerImage()
		}
		if v.shape.Equal(c.shape) && v.lies(strides) {
			form.Strides = append(form.Strides, nil)
			continue
		}
		along := make([]int, len(axes))
		for j, a := range axes {
			if own := a - (len(c.shape) - len(v.shape)); own >= 0 && v.shape[own] > 1 {
				along[j] = v.strides[own]
			}
		}
		form.Strides = append(form.Strides, along)
	}
	words, err := form.Words()
	if err != nil {
		return err
	}
	p.now++
	for _, v := range in {
		p.use(v)
	}
	y, data := p.output(strides, half), p.blob(kernels.Bytes(words))
	p.emit(func(b *batch) error {
		k := kernels.Pointwise{Images: b.images, Elements: y.shape.PerImage(), Form: data.at, InImage: images, Out: b.at(y)}
		for i, v := range in {
			k.In[i] = b.at(v)
		}
		return k.Enqueue(b)
	})
	return nil
}

// pointOp is an element-wise node's operation.
func pointOp(n *graph.Node) (s kernels.PointProgramStep, ok bool) {
	lo, hi := n.Float("min", -infinite), n.Float("max", infinite)
	switch n.Op {
	case graph.Relu:
		return kernels.PointProgramStep{Op: kernels.PointClip, Q: infinite}, true
	case graph.Clip:
		return kernels.PointProgramStep{Op: kernels.PointClip, P: lo, Q: hi}, true
	case graph.Step:
		return kernels.PointProgramStep{Op: kernels.PointStep, P: lo, Q: hi}, true
	case graph.LeakyRelu:
		return kernels.PointProgramStep{Op: kernels.PointLeakyRelu, P: n.Float("alpha", 0.01)}, true
	case graph.HardSigmoid:
		return kernels.PointProgramStep{Op: kernels.PointHardSigmoid, P: n.Float("alpha", 0.2), Q: n.Float("beta", 0.5)}, true
	}
	op, ok := plainOps[n.Op]
	return kernels.PointProgramStep{Op: op}, ok
}

// plainOps are the operations without constants. It is never written to.
var plainOps = map[graph.Op]kernels.PointOp{
	graph.Sigmoid:   kernels.PointSigmoid,
	graph.HardSwish: kernels.PointHardSwish,
	graph.Tanh:      kernels.PointTanh,
	graph.Exp:       kernels.PointExp,
	graph.Log:       kernels.PointLog,
	graph.Sqrt:      kernels.PointSqrt,
	graph.Abs:       kernels.PointAbs,
	graph.Erf:       kernels.PointErf,
	graph.Sign:      kernels.PointSign,
	graph.Add:       kernels.PointAdd,
	graph.Sub:       kernels.PointSub,
	graph.Mul:       kernels.PointMul,
	graph.Div:       kernels.PointDiv,
}
