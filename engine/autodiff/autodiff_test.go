package autodiff_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// centralDifference: steps of 1e-4 leave a truncation error near 1e-8 of the third derivative, and a few constants of
// the gradient graphs (1/6, 1/9) are rounded to float32, 6e-8.
var centralDifference = compare.Tolerance{Abs: 2e-7, Rel: 2e-6}

const difference = 1e-4

// net is a graph in the making with random constants.
type net struct {
	*graph.Builder
	*rand.Rand
}

func newNet() net { return net{graph.NewBuilder("test"), rand.New(rand.NewPCG(1, 2))} }

// rand is a random constant.
func (b net) rand(shape ...int) string {
	w := nd.New(shape...)
	for i := range nd.Data(w) {
		nd.Data(w)[i] = float32(b.NormFloat64())
	}
	return b.Const(w)
}

// positive is a random constant between 0.5 and 1.5.
func (b net) positive(shape ...int) string {
	w := nd.New(shape...)
	for i := range nd.Data(w) {
		nd.Data(w)[i] = 0.5 + b.Float32()
	}
	return b.Const(w)
}

// apart draws numbers between lo and hi that are further from each other, and from the kinks of the operators, than a
// step of the difference.
func apart(r *rand.Rand, v []float64, lo, hi float64) {
	for i, o := range r.Perm(len(v)) {
		v[i] = lo + (hi-lo)*(float64(o)+0.3+0.4*r.Float64())/float64(len(v))
		for _, kink := range []float64{-3, -1, 0, 1, 3} {
			if math.Abs(v[i]-kink) < 3*difference {
				v[i] = kink + 5*difference
			}
		}
	}
}

const images = 2

// check compares the gradient graph with central differences of the forward one, for a random linear function of the
// outputs and inputs between lo and hi.
func check(t *testing.T, g *graph.Graph, lo, hi float64) *autodiff.Reverse {
	t.Helper()
	r, err := autodiff.Gradient(g)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(3, 4))
	in := map[string]*naive.Array{}
	for _, v := range g.Inputs {
		in[v.Name] = naive.New(append([]int{images}, v.Shape[1:]...)...)
		apart(random, in[v.Name].Data, lo, hi)
	}
	values, err := naive.Run(g, in)
	require.NoError(t, err)

	back := map[string]*naive.Array{}
	require.Len(t, r.Graph.Inputs, len(g.Outputs)+len(r.Saved))
	for i, out := range g.Outputs {
		require.Equal(t, "d:"+out, r.Graph.Inputs[i].Name)
		d := naive.New(values[out].Shape...)
		for j := range d.Data {
			d.Data[j] = random.NormFloat64()
		}
		back["d:"+out] = d
	}
	require.True(t, slices.IsSorted(r.Saved))
	for i, name := range r.Saved {
		require.Equal(t, name, r.Graph.Inputs[len(g.Outputs)+i].Name)
		require.Contains(t, values, name)
		back[name] = values[name]
	}
	grads, err := naive.Run(r.Graph, back)
	require.NoError(t, err)

	loss := func() float64 {
		values, err := naive.Run(g, in)
		require.NoError(t, err)
		sum := 0.0
		for _, out := range g.Outputs {
			for j, v := range values[out].Data {
				sum += v * back["d:"+out].Data[j]
			}
		}
		return sum
	}
	require.Len(t, r.Graph.Outputs, len(g.Inputs))
	for i, v := range g.Inputs {
		dx := grads[r.Graph.Outputs[i]]
		require.Equal(t, in[v.Name].Shape, dx.Shape)
		want := make([]float64, len(dx.Data))
		for j := range want {
			x := &in[v.Name].Data[j]
			was := *x
			*x = was + difference
			up := loss()
			*x = was - difference
			want[j] = (up - loss()) / (2 * difference)
			*x = was
		}
		compare.Require(t, "d"+v.Name, dx.Data, want, centralDifference)
	}
	return r
}

type attrs = graph.Attrs

func ints(v ...int) []int { return v }

// op is a network of one operator without constants.
func op(op graph.Op, attr attrs) func(b net, x string) string {
	return func(b net, x string) string { return b.Op(op, attr, x) }
}

// conv is a Conv with random weights of the given shape, and a bias.
func conv(attr attrs, w ...int) func(b net, x string) string {
	return func(b net, x string) string { return b.Conv(x, b.rand(w...), b.rand(w[0]), attr) }
}

func convTranspose(attr attrs, w ...int) func(b net, x string) string {
	return func(b net, x string) string { return b.Op(graph.ConvTranspose, attr, x, b.rand(w...)) }
}

// TestRules checks every rule by itself, or with the least around it that lets its gradient differ between elements.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		shape  []int
		lo, hi float64
		make   func(b net, x string) string
	}{
		{"conv", ints(3, 5, 6), -2, 2, conv(nil, 4, 3, 3, 2)},
		{"conv same", ints(2, 4, 5), -2, 2, conv(attrs{"pads": ints(1, 1, 1, 1)}, 3, 2, 3, 3)},
		{"conv odd pads", ints(2, 4, 5), -2, 2, conv(attrs{"pads": ints(0, 1, 2, 1)}, 3, 2, 3, 3)},
		{"conv wide pads", ints(2, 4, 3), -2, 2, conv(attrs{"pads": ints(2, 1, 0, 3)}, 3, 2, 2, 2)},
		{"conv 1x1", ints(3, 2, 3), -2, 2, conv(nil, 2, 3, 1, 1)},
		{"conv dilated", ints(2, 7, 8), -2, 2, conv(attrs{"dilations": ints(2, 3), "pads": ints(1, 0, 2, 3)}, 3, 2, 3, 2)},
		{"conv groups", ints(4, 4, 5), -2, 2, conv(attrs{"group": 2, "pads": ints(1, 1, 1, 1)}, 6, 2, 3, 3)},
		{"conv depthwise", ints(3, 4, 5), -2, 2, conv(attrs{"group": 3, "pads": ints(1, 0, 1, 0)}, 3, 1, 3, 2)},
		{"conv stride 2, odd", ints(2, 7, 7), -2, 2, conv(attrs{"strides": ints(2, 2), "pads": ints(1, 1, 1, 1)}, 3, 2, 3, 3)},
		{"conv stride 2, even", ints(2, 6, 8), -2, 2, conv(attrs{"strides": ints(2, 2), "pads": ints(1, 1, 1, 1)}, 3, 2, 3, 3)},
		{"conv strides 3, 2", ints(2, 9, 7), -2, 2, conv(attrs{"strides": ints(3, 2), "pads": ints(0, 1, 1, 0)}, 3, 2, 2, 3)},
		{"conv stride in columns", ints(2, 4, 7), -2, 2, conv(attrs{"strides": ints(1, 2)}, 3, 2, 3, 3)},
		{"conv stride over kernel", ints(1, 8, 5), -2, 2, conv(attrs{"strides": ints(3, 2)}, 2, 1, 1, 1)},
		{"conv stride, dilation, groups", ints(4, 9, 8), -2, 2,
			conv(attrs{"strides": ints(2, 3), "dilations": ints(2, 1), "group": 2, "pads": ints(2, 1, 1, 0)}, 6, 2, 3, 2)},
		{"conv kernel_shape", ints(2, 5, 5), -2, 2, conv(attrs{"kernel_shape": ints(3, 3), "strides": ints(2, 2)}, 2, 2, 3, 3)},
		{"convtranspose", ints(3, 3, 4), -2, 2, convTranspose(nil, 3, 2, 3, 2)},
		{"convtranspose stride", ints(2, 3, 4), -2, 2, convTranspose(attrs{
			"strides": ints(2, 3), "pads": ints(1, 0, 1, 1), "output_padding": ints(1, 2)}, 2, 3, 3, 2)},
		{"convtranspose groups", ints(4, 3, 3), -2, 2, convTranspose(attrs{
			"group": 2, "dilations": ints(2, 1), "strides": ints(2, 2), "pads": ints(2, 1, 0, 1)}, 4, 3, 3, 3)},
		{"batchnorm", ints(2, 3, 3), -2, 2, func(b net, x string) string {
			return b.Op(graph.BatchNormalization, attrs{"epsilon": float32(0.1)}, b.Op(graph.Tanh, nil, x),
				b.rand(2), b.rand(2), b.rand(2), b.positive(2))
		}},
		{"conv, batchnorm", ints(2, 3, 3), -2, 2, func(b net, x string) string {
			return b.Op(graph.BatchNormalization, nil, conv(nil, 3, 2, 2, 2)(b, x), b.rand(3), b.rand(3), b.rand(3), b.positive(3))
		}},
		{"relu", ints(3, 4), -2, 2, op(graph.Relu, nil)},
		{"leakyrelu", ints(3, 4), -2, 2, op(graph.LeakyRelu, nil)},
		{"leakyrelu 0.3", ints(3, 4), -2, 2, op(graph.LeakyRelu, attrs{"alpha": float32(0.3)})},
		{"leakyrelu -0.3", ints(3, 4), -2, 2, op(graph.LeakyRelu, attrs{"alpha": float32(-0.3)})},
		{"clip", ints(3, 7), -2, 6, op(graph.Clip, attrs{"min": float32(-1), "max": float32(3)})},
		{"clip below", ints(3, 7), -2, 6, op(graph.Clip, attrs{"min": float32(1)})},
		{"clip above", ints(3, 7), -2, 6, op(graph.Clip, attrs{"max": float32(3)})},
		{"sigmoid", ints(3, 4), -3, 3, op(graph.Sigmoid, nil)},
		{"hardsigmoid", ints(5, 5), -6, 6, op(graph.HardSigmoid, nil)},
		{"hardsigmoid 0.5, 0.5", ints(5, 5), -6, 6, op(graph.HardSigmoid, attrs{"alpha": float32(0.5)})},
		{"hardswish", ints(5, 5), -6, 6, op(graph.HardSwish, nil)},
		{"tanh", ints(3, 4), -2, 2, op(graph.Tanh, nil)},
		{"exp", ints(3, 4), -2, 2, op(graph.Exp, nil)},
		{"log", ints(3, 4), 0.5, 2, op(graph.Log, nil)},
		{"sqrt", ints(3, 4), 0.5, 2, op(graph.Sqrt, nil)},
		{"abs", ints(3, 4), -2, 2, op(graph.Abs, nil)},
		{"add constant", ints(2, 3, 4), -2, 2, func(b net, x string) string { return b.Op(graph.Add, nil, b.rand(4), x) }},
		{"constant minus", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.Sub, nil, b.rand(1, 2, 1, 1), x)
		}},
		{"times constant", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.Mul, nil, x, b.rand(3, 1))
		}},
		{"over constant", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.Div, nil, x, b.positive(2, 3, 4))
		}},
		{"constant over", ints(2, 3, 4), 0.5, 2, func(b net, x string) string {
			return b.Op(graph.Div, nil, b.rand(2, 3, 1), x)
		}},
		{"times larger constant", ints(1, 3, 1), -2, 2, func(b net, x string) string {
			return b.Op(graph.Mul, nil, x, b.rand(1, 2, 3, 4))
		}},
		{"square", ints(2, 3), -2, 2, func(b net, x string) string { return b.Op(graph.Mul, nil, x, x) }},
		{"concat", ints(2, 3, 2), -2, 2, func(b net, x string) string {
			return b.Op(graph.Concat, attrs{"axis": -2}, x, b.Op(graph.Exp, nil, x), conv(nil, 2, 2, 2, 1)(b, x))
		}},
		{"slice", ints(3, 7, 5), -2, 2, op(graph.Slice, attrs{
			"starts": ints(1, -2), "ends": ints(7, math.MaxInt), "axes": ints(2, -1), "steps": ints(3, 1)})},
		{"pad constant", ints(2, 3, 4), -2, 2, op(graph.Pad, attrs{"pads": ints(0, 1, 0, 2, 0, 0, 1, 3), "value": float32(7)})},
		{"pad N only", ints(), -2, 2, op(graph.Pad, attrs{"pads": ints(0, 0)})},
		{"pad reflect", ints(2, 3, 4), -2, 2, op(graph.Pad, attrs{"pads": ints(0, 1, 2, 3, 0, 0, 1, 2), "mode": "reflect"})},
		{"pad edge", ints(2, 3, 1), -2, 2, op(graph.Pad, attrs{"pads": ints(0, 1, 2, 3, 0, 0, 5, 2), "mode": "edge"})},
		{"maxpool", ints(2, 6, 7), -2, 2, op(graph.MaxPool, attrs{
			"kernel_shape": ints(3, 2), "strides": ints(2, 2), "pads": ints(1, 1, 1, 0)})},
		{"maxpool ceil, dilated", ints(1, 8, 8), -2, 2, op(graph.MaxPool, attrs{
			"kernel_shape": ints(2, 3), "strides": ints(2, 3), "dilations": ints(3, 2), "ceil_mode": 1})},
		{"averagepool", ints(2, 6, 7), -2, 2, op(graph.AveragePool, attrs{
			"kernel_shape": ints(3, 2), "strides": ints(2, 2), "pads": ints(1, 1, 1, 0)})},
		{"averagepool ceil, with padding", ints(2, 6, 8), -2, 2, op(graph.AveragePool, attrs{
			"kernel_shape": ints(3, 3), "strides": ints(2, 2), "pads": ints(1, 1, 1, 0), "ceil_mode": 1, "count_include_pad": 1})},
		{"globalaveragepool", ints(3, 4, 2), -2, 2, op(graph.GlobalAveragePool, nil)},
		{"resize nearest", ints(2, 3, 4), -2, 2, op(graph.Resize, attrs{"scales": []float32{1, 1, 2, 1.5}})},
		{"resize linear", ints(2, 3, 4), -2, 2, op(graph.Resize, attrs{"sizes": ints(graph.N, 2, 7, 3), "mode": "linear"})},
		{"resize corners", ints(2, 3, 4), -2, 2, op(graph.Resize, attrs{
			"sizes": ints(graph.N, 2, 5, 1), "mode": "linear", "coordinate_transformation_mode": "align_corners"})},
		{"resize asymmetric", ints(2, 4, 4), -2, 2, op(graph.Resize, attrs{
			"scales": []float32{1, 1, 0.6, 2.3}, "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"})},
		{"matmul constant right", ints(3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, x, b.rand(4, 2))
		}},
		{"matmul rows are images", ints(4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, x, b.rand(4, 3))
		}},
		{"matmul constant left", ints(3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, b.rand(2, 3), x)
		}},
		{"matmul constant batch", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, x, b.rand(2, 4, 3))
		}},
		{"matmul repeats x", ints(1, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, x, b.rand(2, 4, 3))
		}},
		{"matmul of values", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, x, b.Op(graph.Transpose, attrs{"perm": ints(0, 1, 3, 2)}, b.Op(graph.Tanh, nil, x)))
		}},
		{"gemm", ints(4), -2, 2, func(b net, x string) string {
			return b.Op(graph.Gemm, attrs{"alpha": float32(0.5), "beta": float32(2)}, x, b.rand(4, 3), b.rand(3))
		}},
		{"gemm transB", ints(4), -2, 2, func(b net, x string) string {
			return b.Op(graph.Gemm, attrs{"transB": 1}, x, b.rand(3, 4))
		}},
		{"reshape", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.MatMul, nil, b.Op(graph.Reshape, attrs{"shape": ints(0, 4, -1)}, x), b.rand(6, 2))
		}},
		{"transpose", ints(2, 3, 4), -2, 2, func(b net, x string) string {
			return b.Op(graph.Mul, nil, b.Op(graph.Transpose, attrs{"perm": ints(0, 3, 1, 2)}, x), b.rand(4, 2, 3))
		}},
		{"reducemean", ints(2, 3, 4), -2, 2, op(graph.ReduceMean, attrs{"axes": ints(1, -1)})},
		{"reducemean, no axes kept", ints(2, 3, 4), -2, 2, op(graph.ReduceMean, attrs{"axes": ints(-1, 1), "keepdims": 0})},
		{"softmax", ints(3, 4), -2, 2, op(graph.Softmax, nil)},
		{"softmax of channels", ints(3, 2, 2), -2, 2, op(graph.Softmax, attrs{"axis": 1})},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newNet()
			g, err := b.Graph(c.make(b, b.Input("x", append(ints(graph.N), c.shape...)...)))
			require.NoError(t, err)
			check(t, g, c.lo, c.hi)
		})
	}
}

// TestBroadcastBothWays: of two values with different extents, each is repeated along the other's.
func TestBroadcastBothWays(t *testing.T) {
	for _, op := range []graph.Op{graph.Add, graph.Sub, graph.Mul, graph.Div} {
		t.Run(string(op), func(t *testing.T) {
			b := newNet()
			x, y := b.Input("x", graph.N, 3, 1, 4), b.Input("y", graph.N, 1, 2, 4)
			g, err := b.Graph(b.Op(op, nil, x, y))
			require.NoError(t, err)
			check(t, g, 0.5, 2)
		})
	}
}

// TestResidualNet runs a small network with two residual blocks, one of them strided, a branch over all space, and two
// outputs of which one feeds the other.
func TestResidualNet(t *testing.T) {
	b := newNet()
	norm := func(x string) string {
		c := b.Shape(x)[1]
		return b.Op(graph.BatchNormalization, nil, x, b.positive(c), b.rand(c), b.rand(c), b.positive(c))
	}
	same := attrs{"pads": ints(1, 1, 1, 1)}
	halve := attrs{"pads": ints(1, 1, 1, 1), "strides": ints(2, 2)}
	x := b.Input("image", graph.N, 2, 9, 8)
	h := b.Op(graph.Tanh, nil, norm(b.Conv(x, b.rand(3, 2, 3, 3), "", same)))
	first := b.Op(graph.Tanh, nil, b.Op(graph.Add, nil, h, norm(b.Conv(h, b.rand(3, 3, 3, 3), "", same))))
	down := b.Conv(first, b.rand(4, 3, 3, 3), b.rand(4), halve)
	short := b.Conv(first, b.rand(4, 3, 1, 1), "", attrs{"strides": ints(2, 2)})
	h = b.Op(graph.Sigmoid, nil, b.Op(graph.Add, nil, norm(down), short))
	gate := b.Op(graph.HardSigmoid, nil, b.Op(graph.GlobalAveragePool, nil, h))
	second := b.Op(graph.Mul, nil, h, gate)
	g, err := b.Graph(second, first)
	require.NoError(t, err)
	check(t, g, -1, 1)
}

// TestTies fixes what happens at kinks, where differences say nothing: as PyTorch has it (Clip as ReLU6).
func TestTies(t *testing.T) {
	for _, c := range []struct {
		op    graph.Op
		attr  attrs
		shape []int
		x     []float64
		want  []float64
	}{
		{graph.Relu, nil, ints(3), []float64{-1, 0, 1}, []float64{0, 0, 1}},
		{graph.LeakyRelu, attrs{"alpha": float32(0.25)}, ints(3), []float64{-1, 0, 1}, []float64{0.25, 0.25, 1}},
		{graph.Clip, attrs{"min": float32(0), "max": float32(6)}, ints(5), []float64{-1, 0, 1, 6, 7}, []float64{0, 0, 1, 0, 0}},
		{graph.Abs, nil, ints(3), []float64{-2, 0, 2}, []float64{-1, 0, 1}},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2)}, ints(1, 2, 2), []float64{1, 5, 5, 5}, []float64{0, 1, 0, 0}},
	} {
		t.Run(string(c.op), func(t *testing.T) {
			b := newNet()
			g, err := b.Graph(b.Op(c.op, c.attr, b.Input("x", append(ints(graph.N), c.shape...)...)))
			require.NoError(t, err)
			x := naive.New(append(ints(1), c.shape...)...)
			copy(x.Data, c.x)
			values, err := naive.Run(g, map[string]*naive.Array{"x": x})
			require.NoError(t, err)
			r, err := autodiff.Gradient(g)
			require.NoError(t, err)
			y := values[g.Outputs[0]]
			dy := naive.New(y.Shape...)
			for i := range dy.Data {
				dy.Data[i] = 1
			}
			values["d:"+g.Outputs[0]] = dy
			grads, err := naive.Run(r.Graph, values)
			require.NoError(t, err)
			require.Equal(t, c.want, grads[r.Graph.Outputs[0]].Data)
		})
	}
}

// TestInputsWithoutNodes: inputs that are outputs, that nothing reads, or that share a gradient.
func TestInputsWithoutNodes(t *testing.T) {
	b := newNet()
	x, y, z := b.Input("x", graph.N, 3), b.Input("y", graph.N, 3), b.Input("z", graph.N, 3)
	b.Input("unread", graph.N, 2)
	g, err := b.Graph(b.Op(graph.Add, nil, x, y), z)
	require.NoError(t, err)
	check(t, g, -2, 2)
}

// TestSaved: only what the rules read is kept of the forward pass, and dead ends cost nothing.
func TestSaved(t *testing.T) {
	b := newNet()
	x := b.Input("x", graph.N, 2, 4, 4)
	c := b.OpAs("conv", graph.Conv, nil, x, b.rand(2, 2, 3, 3))
	n := b.OpAs("bn", graph.BatchNormalization, nil, c, b.rand(2), b.rand(2), b.rand(2), b.positive(2))
	r := b.OpAs("relu", graph.Relu, nil, n)
	b.OpAs("dead", graph.Exp, nil, r)
	s := b.OpAs("scaled", graph.Mul, nil, r, b.Scalar(3))
	g, err := b.Graph(b.OpAs("root", graph.Sqrt, nil, b.OpAs("plus", graph.Add, nil, s, b.Scalar(1))))
	require.NoError(t, err)
	before := g.Clone()
	rev := check(t, g, -2, 2)
	require.Equal(t, before, g, "Gradient changed its argument")
	require.Equal(t, []string{"relu", "root"}, rev.Saved)
	for _, n := range rev.Graph.Nodes {
		require.NotContains(t, []graph.Op{graph.Exp, graph.ConvTranspose, graph.SumTo}, n.Op)
	}
}

// TestDeterministic: the same graph gives the same gradient graph.
func TestDeterministic(t *testing.T) {
	b := newNet()
	x := b.Input("x", graph.N, 3)
	g, err := b.Graph(b.Op(graph.Add, nil, b.Op(graph.Exp, nil, x), b.Op(graph.Mul, nil, x, b.Op(graph.Tanh, nil, x))))
	require.NoError(t, err)
	first, err := autodiff.Gradient(g)
	require.NoError(t, err)
	for range 5 {
		again, err := autodiff.Gradient(g)
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
}

func TestErrors(t *testing.T) {
	b := newNet()
	x := b.Input("x", graph.N, 3)
	g, err := b.Graph(b.OpAs("kink", graph.Step, attrs{"min": float32(0)}, x))
	require.NoError(t, err)
	_, err = autodiff.Gradient(g)
	require.ErrorContains(t, err, `node "kink" (Step)`)

	b = newNet()
	g, err = b.Graph(b.OpAs("y", graph.Relu, nil, b.Input("d:y", graph.N, 3)))
	require.NoError(t, err)
	_, err = autodiff.Gradient(g)
	require.ErrorContains(t, err, `"d:y" is defined twice`)

	g.Outputs = []string{"nothing"}
	_, err = autodiff.Gradient(g)
	require.ErrorContains(t, err, `"nothing"`)
}
