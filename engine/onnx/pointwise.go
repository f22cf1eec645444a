package onnx

import (
	"math"
	"slices"

	"f2pad.example/engine/graph"
)

// unary are the operators of one number that graph has, too, with the attributes they take.
var unary = map[string]struct {
	op    graph.Op
	attrs []string
}{
	"Relu": {graph.Relu, nil}, "LeakyRelu": {graph.LeakyRelu, []string{"alpha"}}, "Sigmoid": {graph.Sigmoid, nil},
	"HardSigmoid": {graph.HardSigmoid, []string{"alpha", "beta"}}, "HardSwish": {graph.HardSwish, nil},
	"Tanh": {graph.Tanh, nil}, "Exp": {graph.Exp, nil}, "Log": {graph.Log, nil}, "Sqrt": {graph.Sqrt, nil},
	"Abs": {graph.Abs, nil}, "Sign": {graph.Sign, nil}, "Erf": {graph.Erf, nil},
}

func readUnary(x *importer, n *node, in []*value) []*value {
	if in[0].c != nil {
		return []*value{{c: x.constantUnary(n.op, in[0].c)}}
	}
	u, ok := unary[n.op]
	if !ok {
		fail("of what is not known in advance is not supported")
	}
	attr := graph.Attrs{}
	for _, name := range u.attrs {
		if n.attr[name] != nil {
			attr[name] = n.float(name, 0)
		}
	}
	return x.result(in[0], u.op, attr, in[0].name)
}

func readNeg(x *importer, n *node, in []*value) []*value {
	if in[0].c != nil {
		return readUnary(x, n, in)
	}
	return x.result(in[0], graph.Mul, nil, in[0].name, x.scalar(-1))
}

func readReciprocal(x *importer, n *node, in []*value) []*value {
	if in[0].c != nil {
		return readUnary(x, n, in)
	}
	return x.result(in[0], graph.Div, nil, x.scalar(1), in[0].name)
}

// readGelu: x/2 (1 + erf(x/sqrt 2)), or with tanh the approximation x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
func readGelu(x *importer, n *node, in []*value) []*value {
	v := computed(in, 0)
	gate := ""
	switch kind := n.string("approximate", "none"); kind {
	case "none":
		gate = x.op(graph.Erf, nil, x.op(graph.Mul, nil, v.name, x.scalar(1/math.Sqrt2)))
	case "tanh":
		cubic := x.op(graph.Mul, nil, x.op(graph.Mul, nil, v.name, v.name), x.scalar(0.044715))
		scaled := x.op(graph.Mul, nil, v.name, x.scalar(float32(math.Sqrt(2/math.Pi))))
		gate = x.op(graph.Tanh, nil, x.op(graph.Mul, nil, scaled, x.op(graph.Add, nil, cubic, x.scalar(1))))
	default:
		fail("the approximation %q is not supported", kind)
	}
	half := x.op(graph.Mul, nil, v.name, x.scalar(0.5))
	return x.result(v, graph.Mul, nil, half, x.op(graph.Add, nil, gate, x.scalar(1)))
}

func readClip(x *importer, n *node, in []*value) []*value {
	v, attr := in[0], graph.Attrs{}
	for i, name := range []string{"min", "max"} {
		c := known(in, 1+i)
		if a := n.attr[name]; a != nil {
			c = numbers([]float32{a.f})
		}
		if c == nil {
			continue
		}
		if v.c != nil {
			v = &value{c: x.constantBinary([]string{"Max", "Min"}[i], v.c, c)}
			continue
		}
		attr[name] = c.number()
	}
	if v.c != nil {
		return []*value{v}
	}
	return x.result(v, graph.Clip, attr, v.name)
}

// readMinMax: against a number they are Clip.
func readMinMax(x *importer, n *node, in []*value) []*value {
	if in[0].c != nil && in[1].c != nil {
		return readBinary(x, n, in)
	}
	v, c := in[0], in[1].c
	if v.c != nil {
		v, c = in[1], in[0].c
	}
	if c == nil {
		fail("of two computed values is not supported")
	}
	bound := "min"
	if n.op == "Min" {
		bound = "max"
	}
	return x.result(v, graph.Clip, graph.Attrs{bound: c.number()}, v.name)
}

// readPow: powers that are products, roots or quotients.
func readPow(x *importer, n *node, in []*value) []*value {
	v, p := in[0], known(in, 1)
	if v.c != nil {
		if p.isInts && !v.c.isInts {
			p = x.cast(p, elemFloat)
		}
		return []*value{{c: x.constantBinary(n.op, v.c, p)}}
	}
	if p.isInts {
		p = x.cast(p, elemFloat)
	}
	switch p.number() {
	case 1:
		return []*value{v}
	case 2:
		return x.result(v, graph.Mul, nil, v.name, v.name)
	case 3:
		return x.result(v, graph.Mul, nil, x.op(graph.Mul, nil, v.name, v.name), v.name)
	case 0.5:
		return x.result(v, graph.Sqrt, nil, v.name)
	case -1:
		return x.result(v, graph.Div, nil, x.scalar(1), v.name)
	case -0.5:
		return x.result(v, graph.Div, nil, x.scalar(1), x.op(graph.Sqrt, nil, v.name))
	}
	fail("to the power of %g is not supported", p.number())
	return nil
}

func readNot(x *importer, _ *node, in []*value) []*value {
	return []*value{{c: x.constantBinary("Equal", known(in, 0), &constant{isInts: true, ints: []dim{{}}})}}
}

// readWhere chooses between constants.
func readWhere(x *importer, _ *node, in []*value) []*value {
	c, a, b := known(in, 0), known(in, 1), known(in, 2)
	if !c.isInts || a.isInts != b.isInts {
		fail("the inputs are of the wrong types")
	}
	shape := broadcast(broadcast(c.shape, a.shape), b.shape)
	c, a, b = x.expand(c, shape), x.expand(a, shape), x.expand(b, shape)
	both := x.joined(0, []*constant{a.reshaped(a.len()), b.reshaped(b.len())})
	return []*value{{c: x.pick(both, shape, func(index []int) int {
		at := offset(shape, index)
		if d := c.ints[at]; d.v != 0 {
			return at
		}
		return a.len() + at
	})}}
}

func readSum(x *importer, n *node, in []*value) []*value {
	sum := in[0]
	for _, v := range in[1:] {
		if v == nil {
			fail("an input is left out")
		}
		sum = readBinary(x, &node{op: "Add"}, []*value{sum, v})[0]
	}
	return []*value{sum}
}

var arithmetic = map[string]graph.Op{"Add": graph.Add, "Sub": graph.Sub, "Mul": graph.Mul, "Div": graph.Div}

func readBinary(x *importer, n *node, in []*value) []*value {
	a, b := in[0], in[1]
	if a.c != nil && b.c != nil {
		if n.int("fmod", 0) != 0 {
			fail("fmod is not supported")
		}
		return []*value{{c: x.constantBinary(n.op, a.c, b.c)}}
	}
	op, ok := arithmetic[n.op]
	if !ok {
		fail("of what is not known in advance is not supported")
	}
	switch {
	case b.c != nil:
		a = x.raised(a, b.rank())
		return x.result(a, op, nil, a.name, x.against(b.c, a))
	case a.c != nil:
		b = x.raised(b, a.rank())
		return x.result(b, op, nil, x.against(a.c, b), b.name)
	}
	a, b = x.raised(a, b.rank()), x.raised(b, a.rank())
	a, b = x.aligned(a, b)
	return x.result(a, op, nil, a.name, b.name)
}

// raised gives a value axes of extent 1 in front, up to a rank. They lie behind the images in the graph.
func (x *importer) raised(v *value, rank int) *value {
	more := rank - v.rank()
	if more <= 0 {
		return v
	}
	shape := append([]int{0}, slices.Repeat([]int{1}, more)...)
	name := x.op(graph.Reshape, graph.Attrs{"shape": append(shape, v.shape[1:]...)}, v.name)
	axes := single(more + 1)[1:]
	for _, group := range v.axes {
		moved := slices.Clone(group)
		for i, a := range moved {
			if a > 0 {
				moved[i] = a + more
			}
		}
		axes = append(axes, moved)
	}
	return &value{name: name, shape: x.b.Shape(name), axes: axes}
}

// aligned brings two values of the same rank to one order of the graph's axes.
func (x *importer) aligned(a, b *value) (*value, *value) {
	if a.images() != b.images() || len(a.order()) != len(b.order()) {
		fail("the images lie on different axes")
	}
	for i := range a.axes {
		if len(a.axes[i]) != len(b.axes[i]) {
			fail("the images lie on different axes")
		}
	}
	to, from := a, b
	if inOrder(b.order()) {
		to, from = b, a
	}
	perm := make([]int, len(to.order()))
	for i, at := range to.order() {
		perm[at] = from.order()[i]
	}
	if !inOrder(perm) {
		name := x.transpose(from.name, perm)
		from = &value{name: name, shape: x.b.Shape(name), axes: to.axes}
	}
	if to == a {
		return to, from
	}
	return from, to
}

// against is a constant, which broadcasts to the tensor v, in the order of v's axes in the graph.
func (x *importer) against(c *constant, v *value) string {
	if c.len() == 1 {
		return x.constant(c)
	}
	whole := append(slices.Repeat([]int{1}, v.rank()-len(c.shape)), c.shape...)
	var shape []int // c's, in the tensor's order of the graph's axes
	for i, group := range v.axes {
		if len(group) == 1 && group[0] != 0 {
			shape = append(shape, whole[i])
			continue
		}
		if whole[i] != 1 {
			fail("a constant of shape %v differs between images", c.shape)
		}
		shape = append(shape, slices.Repeat([]int{1}, len(group))...)
	}
	order := v.order()
	perm := make([]int, len(order))
	for i, a := range order {
		perm[a] = i
	}
	moved := c.reshaped(shape...)
	if !inOrderBut1(perm, shape) {
		moved = x.permuted(moved, perm)
	} else {
		moved = &constant{name: c.name, shape: c.shape, floats: c.floats, isInts: c.isInts}
	}
	out := make([]int, len(perm))
	for i, a := range perm {
		out[i] = shape[a]
	}
	for len(out) > 1 && out[0] == 1 {
		out = out[1:]
	}
	return x.constant(moved, out...)
}

// inOrderBut1 reports whether a permutation leaves the elements of a shape where they are: only extents of 1 move.
func inOrderBut1(perm, shape []int) bool {
	last := -1
	for _, a := range perm {
		if shape[a] == 1 {
			continue
		}
		if a < last {
			return false
		}
		last = a
	}
	return true
}
