package goexec

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// Sums are taken in float32 in one order: n terms leave an error of some sqrt(n) half units in the last place (6e-8) of
// the sum of magnitudes; the suite's longest sums have a few hundred terms of size 1, its networks a dozen layers.
var tolerances = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

func TestSuite(t *testing.T) {
	for _, isa := range gemm.ISAs() {
		t.Run(isa.Name, func(t *testing.T) { exectest.Test(t, &Executor{isa: isa}, tolerances) })
	}
}

// small is a network with the operators that a backbone spends its time in.
func small(t testing.TB, h, w int) *graph.Graph {
	b := graph.NewBuilder("small")
	weights := func(shape ...int) string {
		v := nd.New(shape...)
		wave(nd.Data(v))
		return b.Const(v)
	}
	x := b.Input("x", graph.N, 3, h, w)
	same := graph.Attrs{"pads": []int{1, 1, 1, 1}}
	y := b.Op(graph.Relu, nil, b.Conv(x, weights(20, 3, 3, 3), weights(20), same))
	y = b.Op(graph.MaxPool, graph.Attrs{"kernel_shape": []int{2, 2}, "strides": []int{2, 2}}, y)
	z := b.Op(graph.Tanh, nil, b.Conv(y, weights(20, 1, 3, 3), "", graph.Attrs{"pads": []int{1, 1, 1, 1}, "group": 20}))
	z = b.Op(graph.Add, nil, b.Op(graph.Mul, nil, z, b.Scalar(0.5)), y)
	square := b.Op(graph.Add, nil, b.Op(graph.Mul, nil, z, z), b.Scalar(1))
	z = b.Op(graph.Concat, graph.Attrs{"axis": 1}, z, b.Op(graph.Sqrt, nil, square))
	z = b.Op(graph.Resize, graph.Attrs{"mode": "linear", "scales": []float32{1, 1, 2, 2}}, z)
	g, err := b.Graph(b.Conv(z, weights(4, 40, 1, 1), "", nil))
	require.NoError(t, err)
	return g
}

func TestBackwardNeedsItsOwnForward(t *testing.T) {
	n, err := New().Compile(small(t, 8, 8), true)
	require.NoError(t, err)
	x, y := []*tensor.Dense{nd.New(1, 3, 8, 8)}, []*tensor.Dense{nd.New(1, 4, 8, 8)}
	ctx := context.Background()
	require.NoError(t, n.Forward(ctx, x, y))
	require.NoError(t, n.Backward(ctx, y, x))
	require.ErrorContains(t, n.Backward(ctx, y, x), "Forward of its own")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, n.Forward(ctx, x, y))
	require.Error(t, n.Forward(cancelled, x, y))
	require.ErrorContains(t, n.Backward(ctx, y, x), "Forward of its own", "after a Forward that failed")
}

// countdown is a context that is cancelled when it has been asked a number of times.
type countdown struct {
	context.Context
	left atomic.Int64
}

func (c *countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// A run stops at the step where it learns of the cancellation, one image at a time and side by side.
func TestCancelledOnTheWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for _, images := range []int{1, 2} {
		n, err := New().Compile(small(t, 8, 8), true)
		require.NoError(t, err)
		x, y := []*tensor.Dense{nd.New(images, 3, 8, 8)}, []*tensor.Dense{nd.New(images, 4, 8, 8)}
		steps := int64(len(n.(*net).forward.steps))
		for left := range steps * int64(images) {
			ctx := &countdown{Context: context.Background()}
			ctx.left.Store(left)
			require.ErrorIs(t, n.Forward(ctx, x, y), context.Canceled, "after %d of %d", left, steps)
			require.GreaterOrEqual(t, ctx.left.Load(), int64(-2*images-1), "it goes on asking")
			require.Error(t, n.Backward(context.Background(), y, x))
		}
		require.NoError(t, n.Forward(context.Background(), x, y))
		require.NoError(t, n.Backward(context.Background(), y, x))
	}
}

func TestTensorsAreNotRetained(t *testing.T) {
	compiled, err := New().Compile(small(t, 8, 8), true)
	require.NoError(t, err)
	x, y := []*tensor.Dense{nd.New(1, 3, 8, 8)}, []*tensor.Dense{nd.New(1, 4, 8, 8)}
	require.NoError(t, compiled.Forward(context.Background(), x, y))
	n := compiled.(*net)
	require.Equal(t, [][]float32{nil}, n.in)
	require.Equal(t, [][]float32{nil}, n.out)
	require.Nil(t, n.ctx)
}

// A NaN is not hidden by an operator that compares.
func TestNaNComesThrough(t *testing.T) {
	x := nd.New(1, 1, 3, 3)
	nd.Data(x)[4] = float32(math.NaN())
	for _, op := range []graph.Op{graph.Relu, graph.LeakyRelu, graph.Clip, graph.HardSigmoid, graph.HardSwish, graph.Sign} {
		y := evaluate(t, x, func(b *graph.Builder, x string) string { return b.Op(op, nil, x) })
		require.True(t, math.IsNaN(float64(nd.Data(y)[4])), op)
		require.False(t, math.IsNaN(float64(nd.Data(y)[3])), op)
	}
	for _, op := range []graph.Op{graph.MaxPool, graph.AveragePool} {
		y := evaluate(t, x, func(b *graph.Builder, x string) string {
			return b.Op(op, graph.Attrs{"kernel_shape": []int{3, 3}}, x)
		})
		require.True(t, math.IsNaN(float64(nd.Data(y)[0])), op)
	}
}

func TestCompileLeavesTheGraphAlone(t *testing.T) {
	g := small(t, 8, 8)
	g.Nodes = append(g.Nodes, &graph.Node{Name: "dead", Op: graph.Relu, In: []string{"x"}, Out: "dead"})
	before := g.Clone()
	n, err := New().Compile(g, true)
	require.NoError(t, err)
	require.Equal(t, before, g)
	for _, s := range n.(*net).forward.steps {
		require.Less(t, s.out.hi-s.out.lo, nd.Size(40, 8, 8)+1)
	}
	const fused = 2 // Relu and Tanh run with their Convs
	require.Len(t, n.(*net).forward.steps, len(g.Nodes)-1-fused, "the dead node is not run")
}

func TestCompileRefusesWhatNoMemoryHolds(t *testing.T) {
	const side = 40000
	b := graph.NewBuilder("vast")
	x := b.Input("x", graph.N, 1, 10, 10)
	large := b.Op(graph.Resize, graph.Attrs{"sizes": []int{-1, 1, side, side}}, x)
	g, err := b.Graph(b.Op(graph.Add, nil, b.Op(graph.Exp, nil, large), large))
	require.NoError(t, err)
	_, err = New().Compile(g, false)
	require.ErrorContains(t, err, "floats")
}

// An image is run in overlapping windows: what a window gives away from its edges has the bits of the whole image's
// result, wherever the window lies and however wide it is.
func TestWindowsAgreeWithTheWhole(t *testing.T) {
	const height, width = 60, 84
	weights := func(b *graph.Builder, shape ...int) string {
		v := nd.New(shape...)
		wave(nd.Data(v))
		return b.Const(v)
	}
	conv := func(op graph.Op, attr graph.Attrs, shape ...int) func(b *graph.Builder, x string) string {
		return func(b *graph.Builder, x string) string { return b.Op(op, attr, x, weights(b, shape...)) }
	}
	op := func(op graph.Op, attr graph.Attrs) func(b *graph.Builder, x string) string {
		return func(b *graph.Builder, x string) string { return b.Op(op, attr, x) }
	}
	type ints = []int
	pads := func(p int) ints { return ints{p, p, p, p} }
	for _, c := range []struct {
		name     string
		down, up int // input pixels for each so many output pixels
		margin   int // output pixels that an edge reaches
		build    func(b *graph.Builder, x string) string
	}{
		{"Conv direct", 1, 1, 4, conv(graph.Conv, graph.Attrs{"pads": pads(4)}, 7, 4, 9, 9)},
		{"Conv packed", 1, 1, 1, conv(graph.Conv, graph.Attrs{"pads": pads(1)}, 19, 4, 3, 3)},
		{"Conv strided", 2, 1, 1, conv(graph.Conv, graph.Attrs{"pads": pads(1), "strides": ints{2, 2}}, 6, 4, 3, 3)},
		{"Conv depthwise", 4, 1, 2, conv(
			graph.Conv, graph.Attrs{"pads": pads(6), "strides": ints{4, 4}, "group": 4}, 4, 1, 13, 13)},
		{"ConvTranspose", 1, 2, 2, conv(graph.ConvTranspose, graph.Attrs{"pads": pads(1), "strides": ints{2, 2}}, 4, 5, 4, 4)},
		{"Conv after a reflecting Pad", 1, 1, 3, func(b *graph.Builder, x string) string {
			p := b.Op(graph.Pad, graph.Attrs{"mode": "reflect", "pads": ints{0, 0, 3, 3, 0, 0, 3, 3}}, x)
			return b.Conv(p, weights(b, 4, 1, 7, 7), "", graph.Attrs{"group": 4})
		}},
		{"MaxPool", 2, 1, 1, op(
			graph.MaxPool, graph.Attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": pads(1)})},
		{"AveragePool", 1, 1, 1, op(graph.AveragePool, graph.Attrs{"kernel_shape": ints{3, 3}, "pads": pads(1)})},
		{"Resize by 2", 1, 2, 1, op(graph.Resize, graph.Attrs{"mode": "linear", "scales": []float32{1, 1, 2, 2}})},
		{"Resize by 3", 1, 3, 2, op(graph.Resize, graph.Attrs{"mode": "linear", "scales": []float32{1, 1, 3, 3}})},
		{"Resize by 4", 1, 4, 2, op(graph.Resize, graph.Attrs{"mode": "linear", "scales": []float32{1, 1, 4, 4}})},
		{"Resize by 1/4", 4, 1, 1, op(graph.Resize, graph.Attrs{"mode": "linear", "scales": []float32{1, 1, 0.25, 0.25}})},
		{"Resize nearest", 1, 2, 1, op(graph.Resize, graph.Attrs{"mode": "nearest", "scales": []float32{1, 1, 2, 2}})},
		{"functions", 1, 1, 0, func(b *graph.Builder, x string) string {
			return b.Op(graph.Log, nil, b.Op(graph.Add, nil, b.Op(graph.Sigmoid, nil, x), b.Op(graph.Mul, nil, x, x)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := nd.New(1, 4, height, width)
			wave(nd.Data(image))
			whole := evaluate(t, image, c.build)
			for _, win := range [][4]int{{0, 0, 60, 20}, {4, 8, 24, 44}, {12, 20, 32, 28}, {28, 36, 32, 48}, {8, 60, 40, 24}} {
				top, left, h, w := win[0], win[1], win[2], win[3]
				part := nd.New(1, 4, h, w)
				for r := range 4 * h {
					from := (r/h*height+top+r%h)*width + left
					copy(nd.Data(part)[r*w:][:w], nd.Data(image)[from:])
				}
				got := evaluate(t, part, c.build)
				inner(t, got, whole, top*c.up/c.down, left*c.up/c.down, c.margin)
			}
		})
	}
}

// evaluate runs a network of one operator or so on x.
func evaluate(t *testing.T, x *tensor.Dense, build func(b *graph.Builder, x string) string) *tensor.Dense {
	t.Helper()
	b := graph.NewBuilder("window")
	y := build(b, b.Input("x", append([]int{graph.N}, x.Shape()[1:]...)...))
	g, err := b.Graph(y)
	require.NoError(t, err)
	n, err := New().Compile(g, false)
	require.NoError(t, err)
	out := nd.New(append([]int{1}, b.Shape(y)[1:]...)...)
	require.NoError(t, n.Forward(context.Background(), []*tensor.Dense{x}, []*tensor.Dense{out}))
	return out
}

// inner requires that part, but for a margin, is the piece of whole at (top, left).
func inner(t *testing.T, part, whole *tensor.Dense, top, left, margin int) {
	t.Helper()
	ps, ws := part.Shape(), whole.Shape()
	compared := 0
	for c := range ps[1] {
		for i := margin; i < ps[2]-margin; i++ {
			for j := margin; j < ps[3]-margin; j++ {
				got := nd.Data(part)[(c*ps[2]+i)*ps[3]+j]
				want := nd.Data(whole)[(c*ws[2]+top+i)*ws[3]+left+j]
				if math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("channel %d, (%d,%d) of the window at (%d,%d): %g, want %g", c, i, j, top, left, got, want)
				}
				compared++
			}
		}
	}
	require.NotZero(t, compared, fmt.Sprint(ps))
}
