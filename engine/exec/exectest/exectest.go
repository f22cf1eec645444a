// Package exectest is the suite that every executor must pass: each operator in odd shapes, forward and gradient, against
// the float64 interpreter, small whole networks, and the promises of exec.Net.
package exectest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// Tolerances says how far an executor may be from float64. They are an executor's own: its test names the reasons.
type Tolerances struct {
	Forward, Gradient compare.Tolerance
	// Kinks, unless it is 0, is for executors that round so much that values pass a ReLU's kink, or the largest of a MaxPool: the most
	// that the gradient of a whole network may differ in the root mean square, as a share of its own, in place of Gradient.
	Kinks float64
}

// differences is the tolerance of the interpreter's gradient against central differences, both in float64: the step is
// 1e-5, so truncation leaves some 1e-10 of third derivatives below a hundred, and rounding 1e-11.
var differences = compare.Tolerance{Abs: 1e-7, Rel: 1e-6}

// Test runs the suite.
func Test(t *testing.T, ex exec.Executor, tol Tolerances) {
	smooth := tol
	smooth.Kinks = 0
	for _, n := range operators() {
		t.Run("operator/"+n.name, func(t *testing.T) { agrees(t, ex, n, smooth) })
	}
	for _, n := range adjoints() {
		t.Run("operator/"+n.name, func(t *testing.T) { agreesForward(t, ex, n, tol) })
	}
	for _, n := range networks() {
		t.Run("network/"+n.name, func(t *testing.T) { agrees(t, ex, n, tol) })
		t.Run("forward/"+n.name, func(t *testing.T) { agreesForward(t, ex, n, tol) })
		t.Run("invariant/"+n.name, func(t *testing.T) { invariant(t, ex, n) })
	}
	for _, c := range convolutions {
		n := network{"", -1, 1, [][]int{c.in}, func(b *builder, x []string) []string { return []string{c.build(b, x)} }}
		t.Run(fmt.Sprintf("invariant/%s %s", c.op, c.name), func(t *testing.T) { invariant(t, ex, n) })
	}
	t.Run("misuse", func(t *testing.T) { misuse(t, ex) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, ex) })
	t.Run("info", func(t *testing.T) {
		info := ex.Info()
		for _, s := range []string{info.Executor, info.Device, info.Precision, info.Version} {
			require.NotEmpty(t, s)
		}
	})
}

// builder adds seeded constants to graph.Builder.
type builder struct {
	*graph.Builder
	rng *rand.Rand
}

func (b *builder) constant(lo, hi float32, shape ...int) string {
	return b.Const(random(b.rng, lo, hi, shape...))
}

func (b *builder) normalized(x string, channels int) string {
	p := func(lo, hi float32) string { return b.constant(lo, hi, channels) }
	attr := graph.Attrs{"epsilon": float32(1e-3)}
	return b.Op(graph.BatchNormalization, attr, x, p(0.5, 1.5), p(-0.5, 0.5), p(-0.5, 0.5), p(0.5, 2))
}

func random(rng *rand.Rand, lo, hi float32, shape ...int) *tensor.Dense {
	t := nd.New(shape...)
	for i := range nd.Data(t) {
		nd.Data(t)[i] = lo + (hi-lo)*rng.Float32()
	}
	return t
}

// bench is a network that is ready to run.
type bench struct {
	t      *testing.T
	g      *graph.Graph
	shapes map[string]graph.Shape
	net    exec.Net
	in     []*tensor.Dense
	dout   []*tensor.Dense
}

const seed = 7

func newBench(t *testing.T, ex exec.Executor, n network, images int, gradient bool) *bench {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(images)))
	b := &builder{graph.NewBuilder(n.name), rand.New(rand.NewPCG(seed, 0))}
	var x []string
	for i, s := range n.in {
		x = append(x, b.Input(fmt.Sprintf("x%d", i), append([]int{graph.N}, s...)...))
	}
	g, err := b.Graph(n.build(b, x)...)
	require.NoError(t, err)
	shapes, err := g.Infer()
	require.NoError(t, err)
	net, err := ex.Compile(g, gradient)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, net.Close()) })
	w := &bench{t: t, g: g, shapes: shapes, net: net}
	for _, s := range n.in {
		w.in = append(w.in, random(rng, n.lo, n.hi, append([]int{images}, s...)...))
	}
	for _, name := range g.Outputs {
		w.dout = append(w.dout, random(rng, -1, 1, concrete(shapes[name], images)...))
	}
	return w
}

func concrete(s graph.Shape, images int) []int { return append([]int{images}, s[1:]...) }

// poisoned returns tensors full of NaN: what an executor leaves unwritten, or reads back, shows.
func poisoned(like []graph.Shape, images int) []*tensor.Dense {
	var ts []*tensor.Dense
	for _, s := range like {
		ts = append(ts, nd.New(concrete(s, images)...))
	}
	poison(ts)
	return ts
}

func poison(ts []*tensor.Dense) {
	for _, t := range ts {
		for i := range nd.Data(t) {
			nd.Data(t)[i] = float32(math.NaN())
		}
	}
}

func (w *bench) outputs() (shapes []graph.Shape) {
	for _, name := range w.g.Outputs {
		shapes = append(shapes, w.shapes[name])
	}
	return shapes
}

func (w *bench) inputs() (shapes []graph.Shape) {
	for _, v := range w.g.Inputs {
		shapes = append(shapes, v.Shape)
	}
	return shapes
}

func clones(ts []*tensor.Dense) (c []*tensor.Dense) {
	for _, t := range ts {
		c = append(c, t.Clone().(*tensor.Dense))
	}
	return c
}

// run is Forward and Backward on images of the benches' inputs. Everything that the net has seen is poisoned as soon as
// the call returns, so a net that kept a reference is found out.
func (w *bench) run(in, dout []*tensor.Dense) (out, din [][]float32) {
	w.t.Helper()
	ctx, images := context.Background(), in[0].Shape()[0]
	keep := func(ts []*tensor.Dense) (values [][]float32) {
		for _, t := range ts {
			values = append(values, append([]float32(nil), nd.Data(t)...))
		}
		poison(ts)
		return values
	}
	x, y := clones(in), poisoned(w.outputs(), images)
	require.NoError(w.t, w.net.Forward(ctx, x, y))
	poison(x)
	out = keep(y)
	dy, dx := clones(dout), poisoned(w.inputs(), images)
	require.NoError(w.t, w.net.Backward(ctx, dy, dx))
	poison(dy)
	return out, keep(dx)
}

// agrees compares forward and gradient with the interpreter, whose gradient it compares with central differences.
func agrees(t *testing.T, ex exec.Executor, n network, tol Tolerances) {
	for _, images := range []int{1, 3} {
		w := newBench(t, ex, n, images, true)
		wantOut, wantDin := w.reference()
		for range 2 { // the second run finds the first one's values in its buffers
			out, din := w.run(w.in, w.dout)
			for i, name := range w.g.Outputs {
				compare.Require(t, fmt.Sprintf("output %q of %d", name, images), out[i], wantOut[i], tol.Forward)
			}
			for i, v := range w.g.Inputs {
				what := fmt.Sprintf("gradient of %q of %d", v.Name, images)
				if tol.Kinks == 0 {
					compare.Require(t, what, din[i], wantDin[i], tol.Gradient)
					continue
				}
				off := difference(t, din[i], wantDin[i])
				t.Logf("%s: %.2g RMS", what, off)
				require.LessOrEqual(t, off, tol.Kinks, what)
			}
		}
		if images == 1 {
			w.differentiate(wantDin)
		}
	}
}

// difference is the root mean square of the differences over that of want.
func difference(t *testing.T, got []float32, want []float64) float64 {
	require.Len(t, got, len(want))
	var d, w float64
	for i := range want {
		d += math.Pow(float64(got[i])-want[i], 2)
		w += want[i] * want[i]
	}
	require.False(t, math.IsNaN(d) || math.IsInf(d, 0))
	if d == 0 {
		return 0
	}
	return math.Sqrt(d / w)
}

// agreesForward compares a net without gradient with the interpreter.
func agreesForward(t *testing.T, ex exec.Executor, n network, tol Tolerances) {
	for _, images := range []int{1, 3} {
		w := newBench(t, ex, n, images, false)
		out := poisoned(w.outputs(), images)
		require.NoError(t, w.net.Forward(context.Background(), w.in, out))
		want := w.evaluate(w.g, w.values())
		for i, name := range w.g.Outputs {
			compare.Require(t, fmt.Sprintf("output %q of %d", name, images), nd.Data(out[i]), want[name].Data, tol.Forward)
		}
	}
}

// reference is the interpreter's forward and gradient.
func (w *bench) reference() (out, din [][]float64) {
	reverse, err := autodiff.Gradient(w.g)
	require.NoError(w.t, err)
	folded := w.g.Clone() // Saved names values of the folded graph
	require.NoError(w.t, folded.Fold())
	values := w.evaluate(folded, w.values())
	unfolded := w.evaluate(w.g, w.values())
	back := map[string]*naive.Array{}
	for i, name := range w.g.Outputs {
		out = append(out, unfolded[name].Data)
		back[reverse.Graph.Inputs[i].Name] = double(w.dout[i])
	}
	for i, name := range reverse.Saved {
		back[reverse.Graph.Inputs[len(w.g.Outputs)+i].Name] = values[name]
	}
	gradients := w.evaluate(reverse.Graph, back)
	for _, name := range reverse.Graph.Outputs {
		din = append(din, gradients[name].Data)
	}
	return out, din
}

// differentiate compares the interpreter's gradient with central differences at some elements of each input.
func (w *bench) differentiate(din [][]float64) {
	const step, samples = 1e-5, 4
	rng := rand.New(rand.NewPCG(seed, 1))
	var got, want []float64
	for i, v := range w.g.Inputs {
		for range samples {
			values := w.values()
			x := values[v.Name].Data
			at := rng.IntN(len(x))
			centre := x[at]
			x[at] = centre + step
			above := w.loss(values)
			x[at] = centre - step
			got = append(got, (above-w.loss(values))/(2*step))
			want = append(want, din[i][at])
		}
	}
	compare.Require(w.t, "central differences", got, want, differences)
}

// loss is the sum of the outputs times their gradients.
func (w *bench) loss(values map[string]*naive.Array) (sum float64) {
	y := w.evaluate(w.g, values)
	for i, name := range w.g.Outputs {
		for j, d := range nd.Data(w.dout[i]) {
			sum += float64(d) * y[name].Data[j]
		}
	}
	return sum
}

func (w *bench) evaluate(g *graph.Graph, in map[string]*naive.Array) map[string]*naive.Array {
	w.t.Helper()
	values, err := naive.Run(g, in)
	require.NoError(w.t, err)
	return values
}

func (w *bench) values() map[string]*naive.Array {
	values := map[string]*naive.Array{}
	for i, v := range w.g.Inputs {
		values[v.Name] = double(w.in[i])
	}
	return values
}

func double(t *tensor.Dense) *naive.Array {
	a := naive.New(t.Shape()...)
	for i, v := range nd.Data(t) {
		a.Data[i] = float64(v)
	}
	return a
}

// invariant requires the same bits whatever the batch size and the number of cores.
func invariant(t *testing.T, ex exec.Executor, n network) {
	const images = 3
	w := newBench(t, ex, n, images, true)
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	out, din := w.run(w.in, w.dout)
	for _, cores := range []int{2, 4} {
		runtime.GOMAXPROCS(cores)
		o, d := w.run(w.in, w.dout)
		sameBits(t, fmt.Sprintf("outputs on %d cores", cores), o, out)
		sameBits(t, fmt.Sprintf("gradients on %d cores", cores), d, din)
		for i := range images {
			o, d := w.run(image(w.in, i), image(w.dout, i))
			sameBits(t, fmt.Sprintf("outputs of image %d alone on %d cores", i, cores), o, part(out, i, images))
			sameBits(t, fmt.Sprintf("gradients of image %d alone on %d cores", i, cores), d, part(din, i, images))
		}
	}
}

// image is one image's part of each tensor.
func image(ts []*tensor.Dense, i int) (one []*tensor.Dense) {
	for _, t := range ts {
		s := t.Shape()
		n := nd.Size(s[1:]...)
		one = append(one, nd.Wrap(nd.Data(t)[i*n:(i+1)*n], append([]int{1}, s[1:]...)...))
	}
	return one
}

func part(values [][]float32, i, images int) (one [][]float32) {
	for _, v := range values {
		n := len(v) / images
		one = append(one, v[i*n:(i+1)*n])
	}
	return one
}

func sameBits(t *testing.T, what string, got, want [][]float32) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for k := range want {
		require.Len(t, got[k], len(want[k]), what)
		for i := range want[k] {
			if math.Float32bits(got[k][i]) != math.Float32bits(want[k][i]) {
				t.Fatalf("%s: [%d] is %g, want %g", what, i, got[k][i], want[k][i])
			}
		}
	}
}

// misuse requires errors, not panics, and nets that work after them.
func misuse(t *testing.T, ex exec.Executor) {
	ctx := context.Background()
	_, err := ex.Compile(&graph.Graph{
		Inputs:  []graph.Value{{Name: "x", Shape: graph.Shape{graph.N, 1}}},
		Nodes:   []*graph.Node{{Name: "odd one", Op: "Unheard", In: []string{"x"}, Out: "y"}},
		Outputs: []string{"y"},
	}, true)
	require.ErrorContains(t, err, "odd one")
	_, err = ex.Compile(&graph.Graph{Nodes: []*graph.Node{nil}, Outputs: []string{"y"}}, true)
	require.Error(t, err, "a node is nil")

	two := network{"two", -1, 1, [][]int{{2, 3}, {2, 3}}, func(b *builder, x []string) []string {
		return []string{b.Op(graph.Mul, nil, x[0], x[1])}
	}}
	w := newBench(t, ex, two, 2, true)
	x, y, wide := nd.New(2, 2, 3), nd.New(2, 2, 3), nd.New(2, 2, 4)
	three := nd.New(3, 2, 3)
	double := tensor.New(tensor.WithShape(2, 2, 3), tensor.Of(tensor.Float64))
	list := func(ts ...*tensor.Dense) []*tensor.Dense { return ts }
	require.Error(t, w.net.Backward(ctx, list(y), list(x, x)), "before any Forward")
	for name, c := range map[string][2][]*tensor.Dense{
		"an input is missing":         {list(x), list(y)},
		"an input too many":           {list(x, x, x), list(y)},
		"an input is nil":             {list(x, nil), list(y)},
		"no output":                   {list(x, x), nil},
		"an output is nil":            {list(x, x), list(nil)},
		"an input of another shape":   {list(x, wide), list(y)},
		"an output of another shape":  {list(x, x), list(wide)},
		"inputs of different batches": {list(x, three), list(y)},
		"an output of another batch":  {list(x, x), list(three)},
		"float64":                     {list(x, double), list(y)},
		"another rank":                {list(x, nd.New(2, 6)), list(y)},
	} {
		require.Error(t, w.net.Forward(ctx, c[0], c[1]), name)
	}
	require.NoError(t, w.net.Forward(ctx, list(x, x), list(y)))
	for name, c := range map[string][2][]*tensor.Dense{
		"no gradient":                       {nil, list(x, x)},
		"a gradient is nil":                 {list(nil), list(x, x)},
		"a gradient of another batch":       {list(three), list(x, x)},
		"results of another batch":          {list(y), list(three, three)},
		"a result of another shape":         {list(y), list(x, wide)},
		"a result too few":                  {list(y), list(x)},
		"gradients of one batch, not these": {list(three), list(three, three)},
	} {
		require.Error(t, w.net.Backward(ctx, c[0], c[1]), name)
	}
	dx := nd.New(2, 2, 3)
	poison(list(dx))
	require.NoError(t, w.net.Backward(ctx, list(y), list(nil, dx)), "a nil result is skipped")
	require.Equal(t, make([]float32, 12), nd.Data(dx))

	forward, err := ex.Compile(w.g, false)
	require.NoError(t, err)
	require.NoError(t, forward.Forward(ctx, list(x, x), list(y)))
	require.Error(t, forward.Backward(ctx, list(y), list(x, x)), "compiled without gradient")
	require.NoError(t, forward.Close())
	require.Error(t, forward.Forward(ctx, list(x, x), list(y)), "closed")
	require.Error(t, forward.Backward(ctx, list(y), list(x, x)), "closed")
}

// cancelled requires the context's error, and a net that works afterwards.
func cancelled(t *testing.T, ex exec.Executor) {
	n := network{"n", -1, 1, [][]int{{3, 8, 8}}, func(b *builder, x []string) []string {
		return []string{b.Op(graph.Tanh, nil, x[0])}
	}}
	w := newBench(t, ex, n, 3, true)
	out, din := w.run(w.in, w.dout)
	ctx, stop := context.WithCancelCause(context.Background())
	stop(errors.New("enough"))
	y, dx := poisoned(w.outputs(), 3), poisoned(w.inputs(), 3)
	require.ErrorIs(t, w.net.Forward(ctx, w.in, y), context.Canceled)
	require.NoError(t, w.net.Forward(context.Background(), w.in, y))
	require.ErrorIs(t, w.net.Backward(ctx, w.dout, dx), context.Canceled)
	o, d := w.run(w.in, w.dout)
	sameBits(t, "outputs afterwards", o, out)
	sameBits(t, "gradients afterwards", d, din)
}
