package cflow

import (
	"fmt"
	"math"
	"math/rand/v2"

	"f2pad.example/engine/nd"
)

// flow is the conditional normalizing flow of one layer: z = f(x; c) for features x [D] and the encoding c [C] of their
// position, with
//
//	log p(x | c) = log N(z; 0, I) + log |det df/dx|.
//
// It begins with y = M (x - mean) if features are whitened. Each block then splits y into y1, the first D - D/2 values, and
// y2, and with (a, b) = 0.1 (W2 relu(W1 [y1 c] + b1) + b2) and s = Clamp tanh(a) makes
//
//	y2 <- y2 exp(s) + b,   y <- R (g y + o),   g = 0.2 log(1 + exp(G/2)),
//
// whose log-determinant is the sum of s and of log g. R is a fixed rotation or permutation. Source: FrEIA's AllInOneBlock as
// cflow-ad uses it.
type flow struct {
	d, c   int
	blocks int
	clamp  float64

	mean   []float32 // [D]; nil: no whitening
	whiten []float32 // [D,D]: M'
	mixes  []float32 // [blocks,D,D]: R', so that rows are multiplied from the left
}

// left and right are the parts that y is split into.
func (f *flow) left() int   { return f.d - f.d/2 }
func (f *flow) right() int  { return f.d / 2 }
func (f *flow) inner() int  { return f.left() + f.c }
func (f *flow) hidden() int { return 2 * f.inner() }

// parameter is a part of the vector of all parameters.
type parameter struct {
	name   string
	shape  []int
	at     int
	spread float64 // values begin uniformly in [-spread, spread), plus start
	start  float64
}

func (p *parameter) size() int { return nd.Size(p.shape...) }

// start of G, with g = 1.
var unitScale = 2 * math.Log(math.Expm1(5))

// Parts of a block's parameters, in their order.
const (
	w1 = iota
	b1
	w2
	b2
	scale  // G
	offset // o
	parts
)

// parameters lists the parameters in their order, block by block.
func (f *flow) parameters() []parameter {
	var all []parameter
	at := 0
	add := func(block int, name string, spread, start float64, shape ...int) {
		all = append(all, parameter{fmt.Sprintf("%s%d", name, block), shape, at, spread, start})
		at += nd.Size(shape...)
	}
	in, hidden := f.inner(), f.hidden()
	for k := range f.blocks {
		u, v := 1/math.Sqrt(float64(in)), 1/math.Sqrt(float64(hidden))
		add(k, "W1.", u, 0, in, hidden)
		add(k, "b1.", u, 0, 1, hidden)
		add(k, "W2.", v, 0, hidden, 2*f.right())
		add(k, "b2.", v, 0, 1, 2*f.right())
		add(k, "G", 0, unitScale, 1, f.d)
		add(k, "o", 0, 0, 1, f.d)
	}
	return all
}

// size is the number of parameters.
func (f *flow) size() int {
	all := f.parameters()
	last := all[len(all)-1]
	return last.at + last.size()
}

// initial draws the parameters that training begins with.
func (f *flow) initial(rng *rand.Rand) []float32 {
	theta := make([]float32, f.size())
	for _, p := range f.parameters() {
		for i := range p.size() {
			theta[p.at+i] = float32(p.start + p.spread*(2*rng.Float64()-1))
		}
	}
	return theta
}

// softplus is log(1 + exp(x)).
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// mix draws the rotations, or permutations, of a flow.
func (f *flow) mix(rng *rand.Rand, soft bool) {
	d := f.d
	f.mixes = make([]float32, f.blocks*d*d)
	for k := range f.blocks {
		m := f.mixes[k*d*d : (k+1)*d*d]
		if !soft {
			for i, j := range rng.Perm(d) {
				m[i*d+j] = 1
			}
			continue
		}
		rotation(rng, d, m)
	}
}

// rotation draws a random orthogonal matrix: normal rows, made orthonormal one after another, twice against rounding.
func rotation(rng *rand.Rand, d int, m []float32) {
	q := make([]float64, d*d)
	for i := range d {
		row := q[i*d : (i+1)*d]
		for j := range row {
			row[j] = rng.NormFloat64()
		}
		for range 2 {
			for t := range i {
				other := q[t*d : (t+1)*d]
				dot := 0.0
				for j, v := range row {
					dot += v * other[j]
				}
				for j, v := range other {
					row[j] -= dot * v
				}
			}
		}
		norm := 0.0
		for _, v := range row {
			norm += v * v
		}
		for j := range row {
			row[j] /= math.Sqrt(norm)
		}
	}
	for i, v := range q {
		m[i] = float32(v)
	}
}
