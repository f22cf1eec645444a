package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// functions is for the kernels' own exp, log, tanh and erf: some units in the last place (6e-8) of results up to 20, and of what
// they are made of.
var functions = compare.Tolerance{Abs: 3e-7, Rel: 6e-7}

// pointFunctions are the twins of the operations.
var pointFunctions = map[kernels.PointOp]struct {
	lo, hi float64 // of v
	p, q   float32
	f      func(v, r, p, q float64) float64
}{
	kernels.PointClip:        {-2, 2, -0.5, 0.75, func(v, _, p, q float64) float64 { return math.Min(math.Max(v, p), q) }},
	kernels.PointLeakyRelu:   {-2, 2, 0.3, 0, func(v, _, p, _ float64) float64 { return math.Max(v, 0) + p*math.Min(v, 0) }},
	kernels.PointSigmoid:     {-20, 20, 0, 0, func(v, _, _, _ float64) float64 { return 1 / (1 + math.Exp(-v)) }},
	kernels.PointHardSigmoid: {-4, 4, 0.3, 0.4, func(v, _, p, q float64) float64 { return math.Min(math.Max(p*v+q, 0), 1) }},
	kernels.PointHardSwish:   {-5, 5, 0, 0, func(v, _, _, _ float64) float64 { return v * math.Min(math.Max(v/6+0.5, 0), 1) }},
	kernels.PointTanh:        {-12, 12, 0, 0, func(v, _, _, _ float64) float64 { return math.Tanh(v) }},
	kernels.PointExp:         {-100, 80, 0, 0, func(v, _, _, _ float64) float64 { return math.Exp(v) }},
	kernels.PointLog:         {1e-30, 9, 0, 0, func(v, _, _, _ float64) float64 { return math.Log(v) }},
	kernels.PointSqrt:        {0, 9, 0, 0, func(v, _, _, _ float64) float64 { return math.Sqrt(v) }},
	kernels.PointAbs:         {-2, 2, 0, 0, func(v, _, _, _ float64) float64 { return math.Abs(v) }},
	kernels.PointErf:         {-5, 5, 0, 0, func(v, _, _, _ float64) float64 { return math.Erf(v) }},
	kernels.PointSign:        {-2, 2, 0, 0, func(v, _, _, _ float64) float64 { return math.Copysign(1, v) }},
	kernels.PointStep: {-2, 2, -0.5, 0.75, func(v, _, p, q float64) float64 {
		if p < v && v < q {
			return 1
		}
		return 0
	}},
	kernels.PointAdd:     {-2, 2, 0, 0, func(v, r, _, _ float64) float64 { return v + r }},
	kernels.PointSub:     {-2, 2, 0, 0, func(v, r, _, _ float64) float64 { return v - r }},
	kernels.PointSubFrom: {-2, 2, 0, 0, func(v, r, _, _ float64) float64 { return r - v }},
	kernels.PointMul:     {-2, 2, 0, 0, func(v, r, _, _ float64) float64 { return v * r }},
	kernels.PointDiv:     {-2, 2, 0, 0, func(v, r, _, _ float64) float64 { return v / r }},
	kernels.PointDivInto: {0.5, 2, 0, 0, func(v, r, _, _ float64) float64 { return r / v }},
	kernels.PointGate: {-2, 2, 0.7, 1.2, func(v, r, p, q float64) float64 {
		if p < r && r < q {
			return v
		}
		return 0
	}},
}

// Pointwise tests the operations alone, with numbers that are none, and programs over inputs that lie in other ways.
func Pointwise(t *testing.T, m kernels.Machine, seed uint64) {
	require.Len(t, pointFunctions, int(kernels.PointGate)+1)
	for op, f := range pointFunctions {
		Case(t, m, seed, func(r *Rig) {
			const n = 700
			v, by, want := make([]float32, n), make([]float32, n), make([]float64, n)
			for i := range v {
				v[i], by[i] = float32(f.lo+(f.hi-f.lo)*r.Rand.Float64()), 0.5+r.Rand.Float32()
				want[i] = f.f(float64(v[i]), float64(by[i]), float64(f.p), float64(f.q))
			}
			form := kernels.PointForm{
				Extents: []int{n}, Strides: [][]int{nil, nil}, Program: []kernels.PointProgramStep{{Op: op, Operand: 1, P: f.p, Q: f.q}},
			}
			got := pointwise(r, form, 1, n, []pointInput{{v, n, false}, {by, n, false}})
			compare.Require(r.T, "y", got, want, functions)
		}, "operation %d", op)
	}
	Case(t, m, seed, func(r *Rig) {
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		x := []float32{nan, inf, -inf, 0, 1e-40}
		for op, want := range map[kernels.PointOp][]float64{
			kernels.PointClip: {math.NaN(), 2, -1, 0, 1e-40}, kernels.PointExp: {math.NaN(), math.Inf(1), 0, 1, 1},
			kernels.PointLog:  {math.NaN(), math.Inf(1), math.NaN(), math.Inf(-1), math.Log(1e-40)},
			kernels.PointTanh: {math.NaN(), 1, -1, 0, 1e-40}, kernels.PointErf: {math.NaN(), 1, -1, 0, 1.1e-40},
			kernels.PointSign: {math.NaN(), 1, -1, 0, 1}, kernels.PointStep: {0, 0, 0, 1, 1}, kernels.PointSigmoid: {math.NaN(), 1, 0, 0.5, 0.5},
		} {
			form := kernels.PointForm{Extents: []int{5}, Strides: [][]int{nil}, Program: []kernels.PointProgramStep{{Op: op, P: -1, Q: 2}}}
			for i, got := range pointwise(r, form, 1, 5, []pointInput{{x, 5, false}}) {
				switch {
				case math.IsNaN(want[i]) || math.IsInf(want[i], 0):
					require.Equal(r.T, fmt.Sprint(want[i]), fmt.Sprint(got), "operation %d of %g", op, x[i])
				default:
					require.InDelta(r.T, want[i], got, 1e-5, "operation %d of %g", op, x[i])
				}
			}
		}
	}, "what is no number")
	// y = (x + row - constant) * x * channel for images [3,35,11] of which x has its axes the other way round.
	Case(t, m, seed, func(r *Rig) {
		const n, h, w, ch = 3, 35, 11, 7
		x, row, channel, number := r.Normal(n*h*w*ch), r.Normal(n*h), r.Normal(ch), r.Normal(1)
		form := kernels.PointForm{
			Extents: []int{h, w, ch}, Strides: [][]int{{w, 1, h * w}, {1, 0, 0}, {0, 0, 1}, {0, 0, 0}},
			Program: []kernels.PointProgramStep{
				{Op: kernels.PointAdd, Operand: 1}, {Op: kernels.PointSub, Operand: 3}, {Op: kernels.PointMul, Operand: 0}, {Op: kernels.PointMul, Operand: 2},
			},
		}
		in := []pointInput{{x, h * w * ch, false}, {row, h, false}, {channel, 0, false}, {number, 0, false}}
		got := pointwise(r, form, n, h*w*ch, in)
		want := make([]float32, n*h*w*ch)
		for i := range want {
			c, j, k, image := i%ch, i/ch%w, i/ch/w%h, i/ch/w/h
			v := x[((image*ch+c)*h+k)*w+j]
			want[i] = (v + row[image*h+k] - number[0]) * v * channel[c]
		}
		compare.Require(r.T, "y", got, want, rounding)

		// The same of float16, rounded to it at the end.
		form.Halves, form.HalfOut, in[0].half, in[2].half = [4]bool{true, false, true}, true, true, true
		rounded := convCase{half: true}
		copy(x, rounded.numbers(r, len(x), 1))
		copy(channel, rounded.numbers(r, ch, 1))
		got = pointwise(r, form, n, h*w*ch, in)
		for i := range want {
			c, j, k, image := i%ch, i/ch%w, i/ch/w%h, i/ch/w/h
			v := x[((image*ch+c)*h+k)*w+j]
			want[i] = (v + row[image*h+k] - number[0]) * v * channel[c]
		}
		compare.Require(r.T, "float16", got, want, convFloat16)
	}, "strides")
	Case(t, m, seed, func(r *Rig) {
		const n = 300
		open := func(i int) bool { return i%3 == 0 }
		x, bits, out := In(r, r.Normal(n)), In(r, bitsOf(n, open)), Out[float32](r, n)
		words, err := kernels.PointForm{
			Extents: []int{n}, Strides: [][]int{nil, nil}, Bits: [4]bool{false, true},
			Program: []kernels.PointProgramStep{{Op: kernels.PointGate, Operand: 1, P: 0, Q: float32(math.Inf(1))}},
		}.Words()
		require.NoError(r.T, err)
		form := In(r, words)
		p := kernels.Pointwise{Images: 1, Elements: n, Form: form.Ptr, In: [4]kernels.Ptr{x.Ptr, bits.Ptr}, Out: out.Ptr}
		r.Run(p.Enqueue, []Array{form, x, bits}, []Array{out})
		taps := make([][]kernels.AxisTap, n)
		for i := range taps {
			taps[i] = []kernels.AxisTap{{Offset: i, Weight: 1}}
		}
		f, err := kernels.PlanSeparable([]kernels.SeparableAxis{{Stride: 1, Taps: taps}})
		require.NoError(r.T, err)
		list, places, spelled := In(r, f.Words), In(r, f.Taps), Out[float32](r, n)
		s := kernels.Separable{
			Images: 1, Axes: f.Axes, Elements: n, Form: list.Ptr, Starts: list.Ptr.Plus(f.Starts), Taps: places.Ptr, InImage: n, OutImage: n,
			X: bits.Ptr, BitsX: true, Out: spelled.Ptr,
		}
		r.Run(s.Enqueue, []Array{list, places, bits}, []Array{spelled})
		for i, v := range out.Read() {
			want := float32(0)
			if open(i) {
				want = 1
			}
			require.Equal(r.T, want, spelled.Read()[i])
			require.Equal(r.T, want*x.Read()[i], v+0)
		}
	}, "bits")
	t.Run("refuses", func(t *testing.T) {
		_, err := kernels.PointForm{Extents: []int{1}, Strides: [][]int{nil}, Program: []kernels.PointProgramStep{{Operand: 1}}}.Words()
		require.ErrorContains(t, err, "input 1")
		_, err = kernels.PointForm{Extents: make([]int, 9), Strides: [][]int{nil}}.Words()
		require.ErrorContains(t, err, "9 axes")
		good := kernels.Pointwise{Images: 1, Elements: 1, Form: 4, Out: 4, In: [4]kernels.Ptr{4}}
		for what, change := range map[string]func(*kernels.Pointwise){
			"batch": func(p *kernels.Pointwise) { p.Images = 70000 }, "elements": func(p *kernels.Pointwise) { p.Elements = 0 },
			"out is null": func(p *kernels.Pointwise) { p.Out = 0 },
		} {
			p := good
			change(&p)
			require.ErrorContains(t, p.Enqueue(m), what)
		}
	})
}

type pointInput struct {
	values []float32
	image  int
	half   bool
}

func pointwise(r *Rig, form kernels.PointForm, images, elements int, in []pointInput) []float32 {
	words, err := form.Words()
	require.NoError(r.T, err)
	mf := In(r, words)
	out, at, read := outAs(r, images*elements, form.HalfOut)
	p := kernels.Pointwise{Images: images, Elements: elements, Form: mf.Ptr, Out: at}
	inputs := []Array{mf}
	for i, x := range in {
		v, at := inAs(r, x.values, x.half)
		p.In[i], p.InImage[i], inputs = at, x.image, append(inputs, v)
	}
	r.Run(p.Enqueue, inputs, []Array{out})
	return read()
}

func init() {
	register("pointwise", Pointwise)
	const n, elements = 32, 64 * 64 * 256
	registerBench(Bench{
		Kernel: "pointwise", Size: "32 x 256 x 64 x 64, add and clip", Params: map[string]int{"n": n, "elements": elements},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			words, err := kernels.PointForm{
				Extents: []int{elements}, Strides: [][]int{nil, nil},
				Program: []kernels.PointProgramStep{{Op: kernels.PointAdd, Operand: 1}, {Op: kernels.PointClip, Q: 6}},
			}.Words()
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			p := kernels.Pointwise{Images: n, Elements: elements, InImage: [4]int{elements, elements}}
			return setUp(b, p.Cost(2), func() func(kernels.Queue) error { return p.Enqueue },
				memory{&p.Form, func() (kernels.Ptr, error) { return Put(b, words) }},
				memory{&p.In[0], func() (kernels.Ptr, error) { return b.Normal(n*elements, 0, 1) }},
				memory{&p.In[1], func() (kernels.Ptr, error) { return b.Normal(n*elements, 0, 1) }},
				memory{&p.Out, func() (kernels.Ptr, error) { return b.Alloc(n * elements) }})
		},
	})
}

// memory is what a benchmark needs at a pointer.
type memory struct {
	p   *kernels.Ptr
	put func() (kernels.Ptr, error)
}

// setUp fills pointers and returns the work, which is made when they are.
func setUp(b *Bed, cost kernels.Cost, work func() func(kernels.Queue) error, all ...memory) (func(kernels.Queue) error, kernels.Cost, error) {
	for _, a := range all {
		var err error
		if *a.p, err = a.put(); err != nil {
			return nil, kernels.Cost{}, err
		}
	}
	return work(), cost, nil
}
