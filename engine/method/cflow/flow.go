package cflow

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"f2pad/engine/graph"
	"f2pad/engine/nd"

	"gorgonia.org/tensor"
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

// parameters lists the parameters in their order.
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

// Names of a flow's inputs and outputs.
const (
	features  = "x"
	position  = "c"
	logDense  = "q" // log p / D
	latent    = "z"
	perVector = 2 // axis of the values
)

// graph builds the flow for rows vectors at a time: x [N,rows,D] and, if C > 0, c [N,rows,C] to the named outputs q [N,rows,1]
// and z [N,rows,D]. With theta nil the parameters are further inputs [N,...] in their order, and their gradient comes with x's;
// otherwise they are constants.
func (f *flow) graph(rows int, theta []float32, outputs ...string) (*graph.Graph, error) {
	b := &builder{Builder: graph.NewBuilder("cflow"), flow: f, theta: theta, values: map[string]string{}}
	x := b.Input(features, graph.N, rows, f.d)
	cond := ""
	if f.c > 0 {
		cond = b.Input(position, graph.N, rows, f.c)
	}
	for _, p := range f.parameters() {
		b.parameter(p)
	}
	det := 0.0 // what is constant of log |det| / D
	if f.mean != nil {
		x = b.Op(graph.Sub, nil, x, b.Const(nd.Wrap(f.mean, 1, 1, f.d)))
		x = b.Op(graph.MatMul, nil, x, b.Const(nd.Wrap(f.whiten, f.d, f.d)))
		for i := range f.d {
			det += math.Log(float64(f.whiten[i*f.d+i])) / float64(f.d)
		}
	}
	var dets []string // [N,rows,1] or [N,1,1]
	for k := range f.blocks {
		x, dets, det = b.block(k, x, cond, dets, det)
	}
	q := b.Op(graph.Mul, nil, b.mean(b.Op(graph.Mul, nil, x, x)), b.Scalar(-0.5))
	for _, d := range dets {
		q = b.Op(graph.Add, nil, q, d)
	}
	q = b.OpAs(logDense, graph.Add, nil, q, b.Scalar(float32(det-0.5*math.Log(2*math.Pi))))
	b.values[logDense], b.values[latent] = q, x
	names := make([]string, len(outputs))
	for i, o := range outputs {
		names[i] = b.values[o]
	}
	return b.Graph(names...)
}

// builder writes a flow's graph.
type builder struct {
	*graph.Builder
	flow   *flow
	theta  []float32 // nil: parameters are inputs
	values map[string]string
}

func (b *builder) parameter(p parameter) {
	if b.theta != nil {
		return
	}
	b.values[p.name] = b.Input(p.name, append([]int{graph.N}, p.shape...)...)
}

// named is a parameter: an input, or a constant.
func (b *builder) named(name string, k int) string {
	name = fmt.Sprintf("%s%d", name, k)
	if b.theta != nil && b.values[name] == "" {
		all := b.flow.parameters()
		p := all[slices.IndexFunc(all, func(p parameter) bool { return p.name == name })]
		b.values[name] = b.ConstAs(name, b.constant(p))
	}
	return b.values[name]
}

func (b *builder) constant(p parameter) *tensor.Dense {
	shape := p.shape
	if shape[0] == 1 {
		shape = append([]int{1}, shape...)
	}
	return nd.Wrap(b.theta[p.at:p.at+p.size()], shape...)
}

func (b *builder) mean(x string) string {
	return b.Op(graph.ReduceMean, graph.Attrs{"axes": []int{perVector}}, x)
}

func (b *builder) part(x string, from, to int) string {
	return b.Op(graph.Slice, graph.Attrs{"starts": []int{from}, "ends": []int{to}, "axes": []int{perVector}}, x)
}

// linear is x w + v.
func (b *builder) linear(x, w, v string) string {
	return b.Op(graph.Add, nil, b.Op(graph.MatMul, nil, x, w), v)
}

// block adds block k. It returns its output and what is known of log |det| / D: terms, and a sum of constants.
func (b *builder) block(k int, x, cond string, dets []string, det float64) (string, []string, float64) {
	f := b.flow
	d := float32(f.d)
	left := b.part(x, 0, f.left())
	right := b.part(x, f.left(), f.d)
	in := left
	if cond != "" {
		in = b.Op(graph.Concat, graph.Attrs{"axis": perVector}, left, cond)
	}
	h := b.Op(graph.Relu, nil, b.linear(in, b.named("W1.", k), b.named("b1.", k)))
	a := b.Op(graph.Mul, nil, b.linear(h, b.named("W2.", k), b.named("b2.", k)), b.Scalar(0.1))
	s := b.Op(graph.Mul, nil, b.Op(graph.Tanh, nil, b.part(a, 0, f.right())), b.Scalar(float32(f.clamp)))
	right = b.Op(graph.Add, nil, b.Op(graph.Mul, nil, right, b.Op(graph.Exp, nil, s)), b.part(a, f.right(), 2*f.right()))
	y := b.Op(graph.Concat, graph.Attrs{"axis": perVector}, left, right)
	dets = append(dets, b.Op(graph.Mul, nil, b.mean(s), b.Scalar(float32(f.right())/d)))
	mix := nd.Wrap(f.mixes[k*f.d*f.d:(k+1)*f.d*f.d], f.d, f.d)
	if b.theta != nil {
		m, o, log := b.affine(k, nd.Data(mix))
		return b.linear(y, b.Const(m), b.Const(o)), dets, det + log
	}
	soft := b.Op(graph.Log, nil, b.Op(graph.Add, nil, b.Op(graph.Exp, nil, b.Op(graph.Mul, nil, b.named("G", k), b.Scalar(0.5))), b.Scalar(1)))
	g := b.Op(graph.Mul, nil, soft, b.Scalar(0.2))
	dets = append(dets, b.mean(b.Op(graph.Log, nil, g)))
	y = b.Op(graph.Add, nil, b.Op(graph.Mul, nil, y, g), b.named("o", k))
	return b.Op(graph.MatMul, nil, y, b.Const(mix)), dets, det
}

// affine joins a block's scales, offsets and rotation: y -> y m + o, and the mean of log g.
func (b *builder) affine(k int, mix []float32) (m, o *tensor.Dense, log float64) {
	f := b.flow
	scale, offset := b.slice("G", k), b.slice("o", k)
	m, o = nd.New(f.d, f.d), nd.New(1, 1, f.d)
	sum := make([]float64, f.d)
	for i := range f.d {
		g := 0.2 * softplus(float64(scale[i])/2)
		log += math.Log(g) / float64(f.d)
		for j, r := range mix[i*f.d : (i+1)*f.d] {
			nd.Data(m)[i*f.d+j] = float32(g * float64(r))
			sum[j] += float64(offset[i]) * float64(r)
		}
	}
	for j, v := range sum {
		nd.Data(o)[j] = float32(v)
	}
	return m, o, log
}

func (b *builder) slice(name string, k int) []float32 {
	name = fmt.Sprintf("%s%d", name, k)
	for _, p := range b.flow.parameters() {
		if p.name == name {
			return b.theta[p.at : p.at+p.size()]
		}
	}
	return nil
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
