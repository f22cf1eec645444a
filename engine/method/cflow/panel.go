package cflow

import (
	"context"
	"math"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
)

// width is how many vectors go through a flow side by side: as many as the widest kernel's tile takes, and a multiple of what
// others take. The values of such a panel lie row by row, [.,width], so that what one product makes the next one reads. What a
// vector gives does not depend on those beside it.
const width = 48

// panel is width vectors on their way through a flow. The rows of each of its parts follow one another.
type panel struct {
	x      []float32 // [D]: features, and their gradient in the end
	traces []trace   // one for each block and one for z; without gradients two in turn
	dets   []float32 // [blocks]: terms of log |det| / D
	q      [width]float32
	sum    [width]float64
	dy     []float32 // [D]
	s, u   []float32 // [right]
}

// trace is what a block makes of its input.
type trace struct {
	in    []float32 // [C+D]: the position's encodings and y
	h     []float32 // [hidden]: relu(W1 [y1 c] + b1)
	a     []float32 // [2 right]
	t, e  []float32 // [right]: tanh a, exp s
	moved []float32 // [right]: y2 exp(s)
	out   []float32 // [D]: y before it is scaled and rotated

	dout, da, dh []float32 // gradients of the sum that backward is of
}

func (p *packed) newPanel(gradient bool) *panel {
	d, right := p.d, p.right()
	v := &panel{x: p.newRows(d), dets: make([]float32, p.blocks*width), s: p.newRows(right), u: p.newRows(right)}
	n := 2
	if gradient {
		n, v.dy = p.blocks+1, p.newRows(d)
	}
	v.traces = make([]trace, n)
	for k := range v.traces {
		t := &v.traces[k]
		t.in = append(make([]float32, p.c*width), p.newRows(d)...)
		t.h, t.a, t.out = p.newRows(p.hidden()), p.newRows(2*right), p.newRows(d)
		t.t, t.e, t.moved = p.newRows(right), p.newRows(right), p.newRows(right)
		if gradient {
			t.dout, t.da, t.dh = p.newRows(d), p.newRows(2*right), p.newRows(p.hidden())
		}
	}
	return v
}

func (v *panel) trace(k int) *trace { return &v.traces[k%len(v.traces)] }

// encodings are the rows for the positions of the vectors.
func (v *panel) encodings(c int) []float32 { return v.traces[0].in[:c*width] }

func row(x []float32, i int) []float32 { return x[i*width : (i+1)*width] }

// density fills q with log p / D of len(q) vectors and, if it is not nil, unit with dq/dx, panel by panel, [.,D,width]. fill
// puts the vectors from lo to hi into a panel's first columns.
func (p *packed) density(ctx context.Context, fill func(v *panel, lo, hi int), q, unit []float32) error {
	pool := &p.panels[0]
	if unit != nil {
		pool = &p.panels[1]
	}
	par.For((len(q)+width-1)/width, func(i int) {
		if ctx.Err() != nil {
			return
		}
		v := pool.Get().(*panel)
		defer pool.Put(v)
		lo, hi := i*width, min((i+1)*width, len(q))
		fill(v, lo, hi) // behind them stands whatever was there
		p.forward(v)
		copy(q[lo:hi], v.q[:])
		if unit != nil {
			p.backward(v, &ones)
			p.backwardToFeatures(v)
			copy(unit[i*p.d*width:(i+1)*p.d*width], v.x)
		}
	})
	return ctx.Err()
}

// For vec.ShiftRows.
var (
	unbounded = float32(math.Inf(-1))
	nought    = []float32{0}
	minusOne  = []float32{-1}
)

var ones = [width]float32(slices.Repeat([]float32{1}, width))

// forward fills v.q from x and the encodings; x is lost.
func (p *packed) forward(v *panel) {
	d, c := p.d, p.c*width
	for k := range v.traces[1:] {
		copy(v.traces[1+k].in[:c], v.traces[0].in)
	}
	if y := v.traces[0].in[c:]; p.center == nil {
		copy(y, v.x)
	} else {
		vec.ShiftRows(v.x, v.x, width, p.center, 1, unbounded)
		p.product(y, d, p.whiten, v.x, p.rows[:d], false)
	}
	for k := range p.couplings {
		p.couple(v, k)
	}
	clear(v.sum[:])
	z := v.trace(p.blocks).in[c:]
	for i := range d {
		square := v.s[:width]
		vec.Mul(square, row(z, i), row(z, i))
		vec.Accumulate(v.sum[:], square)
	}
	for j, sum := range v.sum {
		q := float32(float32(sum/float64(d)) * -0.5)
		for k := range p.couplings {
			q += v.dets[k*width+j]
		}
		v.q[j] = q + p.constant
	}
}

// couple takes a panel through block k.
func (p *packed) couple(v *panel, k int) {
	b, t, next := &p.couplings[k], v.trace(k), v.trace(k+1)
	d, left, n := p.d, p.left(), p.right()*width
	p.product(t.h, p.hidden(), b.w1, t.in, p.couplers, false)
	vec.ShiftRows(t.h, t.h, width, b.b1, 1, 0)
	p.product(t.a, 2*p.right(), b.w2, t.h, p.rows[:p.hidden()], false)
	vec.ShiftRows(t.a, t.a, width, b.b2, 0.1, unbounded)
	s := v.s[:n]
	vec.Tanh(t.t[:n], t.a)
	vec.ShiftRows(s, t.t, n, nought, float32(p.clamp), unbounded)
	clear(v.sum[:])
	for i := range p.right() {
		vec.Accumulate(v.sum[:], row(s, i))
	}
	share := float32(p.right()) / float32(d)
	for j, sum := range v.sum {
		v.dets[k*width+j] = float32(sum/float64(p.right())) * share
	}
	vec.Exp(t.e[:n], s)
	y := t.in[p.c*width:]
	copy(t.out[:left*width], y)
	vec.Mul(t.moved[:n], y[left*width:], t.e)
	vec.Add(t.out[left*width:][:n], t.moved, t.a[n:])
	y = next.in[p.c*width:]
	p.product(y, d, b.mix, t.out, p.rows[:d], false)
	vec.ShiftRows(y, y, width, b.o, 1, unbounded)
}

// backward fills dy with the gradient of the sum of w q w.r.t. what goes into the first block, and the gradients of all traces.
func (p *packed) backward(v *panel, w *[width]float32) {
	d, left, right := p.d, p.left(), p.right()
	n := right * width
	var up, down [width]float32
	for j, x := range w {
		up[j], down[j] = x/float32(d), -x/float32(d)
	}
	z := v.trace(p.blocks).in[p.c*width:]
	for i := range d {
		vec.Mul(row(v.dy, i), row(z, i), down[:])
	}
	s, u := v.s[:n], v.u[:n]
	for k := p.blocks - 1; k >= 0; k-- {
		b, t := &p.couplings[k], v.trace(k)
		p.product(t.dout, d, b.mixBack, v.dy, p.rows[:d], false)
		dy2 := t.dout[left*width:][:n]
		vec.Mul(s, dy2, t.moved)
		for i := range right {
			vec.Add(row(s, i), row(s, i), up[:])
		}
		vec.Mul(u, t.t, t.t)
		vec.ShiftRows(u, u, n, minusOne, -float32(p.clamp), unbounded)
		vec.Mul(t.da[:n], s, u)
		copy(t.da[n:2*n], dy2)
		p.product(t.dh, p.hidden(), b.w2Back, t.da, p.rows[:2*right], false)
		vec.Gate(t.dh, t.dh, t.h, 0, float32(math.Inf(1)))
		copy(v.dy[:left*width], t.dout)
		p.product(v.dy, left, b.w1Back, t.dh, p.rows[:p.hidden()], true)
		vec.Mul(v.dy[left*width:][:n], dy2, t.e) // after the product, whose last band may reach here
	}
}

// backwardToFeatures fills x with the gradient w.r.t. the features, after backward.
func (p *packed) backwardToFeatures(v *panel) {
	if p.center == nil {
		copy(v.x, v.dy)
		return
	}
	p.product(v.x, p.d, p.unwhiten, v.dy, p.rows[:p.d], false)
}
