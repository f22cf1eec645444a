//go:build cuda && cgo

package cuda

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// networks is for float32 sums in one order: n terms leave some sqrt(n) half units in the last place (6e-8) of the sum of
// magnitudes; the suite's longest have a few hundred terms of size 1, its networks a dozen layers.
var networks = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

// halves is for one rounding to 11 bits (5e-4) of each value and operand, in up to a dozen layers, and for what that moves past a kink.
var halves = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 5e-3, Rel: 5e-3},
	Gradient: compare.Tolerance{Abs: 1e-2, Rel: 1e-2},
	Kinks:    0.1,
}

func TestExecutor(t *testing.T) {
	t.Run("float32", func(t *testing.T) { exectest.Test(t, newExecutor(opened(t, gpu.Options{}), Float32), networks) })
	t.Run("float16", func(t *testing.T) {
		long(t)
		exectest.Test(t, newExecutor(opened(t, gpu.Options{}), Float16), halves)
	})
}

// small is a network with a convolution of its own weights, w times their number.
func small(t *testing.T, w float32, side int) *graph.Graph {
	t.Helper()
	weights := nd.New(8, 3, 3, 3)
	for i := range nd.Data(weights) {
		nd.Data(weights)[i] = w * float32(i)
	}
	b := graph.NewBuilder("small")
	g, err := b.Graph(b.Op(graph.Relu, nil, b.Conv(b.Input("x", graph.N, 3, side, side), b.Const(weights), "", nil)))
	require.NoError(t, err)
	return g
}

// Nets share equal constants, and leave nothing on the device, whatever order they are closed in.
func TestNetsShareConstants(t *testing.T) {
	d := opened(t, gpu.Options{Debug: true})
	ex := newExecutor(d, Float32)
	buffers := func() int { return d.gpu.Stats().Buffers }
	compile := func(w float32, side int) exec.Net {
		n, err := ex.Compile(small(t, w, side), true)
		require.NoError(t, err)
		return n
	}
	a := compile(1, 8)
	first := buffers()
	b := compile(1, 8)
	require.Equal(t, first, buffers())
	c := compile(1, 9) // the same weights under other tables
	require.Less(t, buffers(), 2*first)
	other := compile(2, 8)
	require.Greater(t, buffers(), first)
	require.NoError(t, a.Close())
	require.NoError(t, a.Close(), "again")
	out := []*tensor.Dense{nd.New(2, 8, 6, 6)}
	require.NoError(t, b.Forward(t.Context(), []*tensor.Dense{nd.New(2, 3, 8, 8)}, out))
	for _, n := range []exec.Net{other, c, b} {
		require.NoError(t, n.Close())
	}
	require.Zero(t, buffers())
}

func TestNetworksBeyondTheMemory(t *testing.T) {
	d := opened(t, gpu.Options{Memory: 1 << 20})
	n, err := newExecutor(d, Float32).Compile(small(t, 1, 50), false)
	require.NoError(t, err)
	run := func(images int) error {
		return n.Forward(t.Context(), []*tensor.Dense{nd.New(images, 3, 50, 50)}, []*tensor.Dense{nd.New(images, 8, 48, 48)})
	}
	for range worthRecording {
		require.NoError(t, run(1))
	}
	require.NotNil(t, n.(*net).forward.graph)
	err = run(8)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "cuda:0")
	require.Nil(t, n.(*net).forward.graph, "it has the addresses of memory that was freed")
	require.NoError(t, run(1), "fewer fit")
	require.NoError(t, n.Close())
	_, err = newExecutor(opened(t, gpu.Options{Memory: 1 << 12}), Float32).Compile(small(t, 1, 50), false)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
}

// residual is a network with an activation and a pooling: a stem, blocks, a gate of each channel, and a depthwise convolution whose
// softmax is computed in float32.
func residual(t *testing.T, side int, activation, pool graph.Op) *graph.Graph {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 0))
	b := graph.NewBuilder("residual")
	conv := func(x string, to, kernel, stride int) string {
		from, pad := b.Shape(x)[1], kernel/2
		w, bias := nd.New(to, from, kernel, kernel), nd.New(to)
		for i := range nd.Data(w) {
			nd.Data(w)[i] = float32(rng.NormFloat64() * math.Sqrt(2/float64(from*kernel*kernel)))
		}
		for i := range nd.Data(bias) {
			nd.Data(bias)[i] = float32(rng.NormFloat64()) / 4
		}
		return b.Conv(x, b.Const(w), b.Const(bias), graph.Attrs{"pads": []int{pad, pad, pad, pad}, "strides": []int{stride, stride}})
	}
	act := func(x string) string { return b.Op(activation, nil, x) }
	x := act(conv(b.Input("x", graph.N, 3, side, side), 16, 3, 1))
	x = b.Op(pool, graph.Attrs{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}, x)
	x = act(b.Op(graph.Add, nil, conv(act(conv(x, 16, 3, 1)), 16, 3, 1), x))
	x = b.Op(graph.Mul, nil, x, b.Op(graph.Sigmoid, nil, conv(b.Op(graph.GlobalAveragePool, nil, x), 16, 1, 1)))
	y := act(b.Op(graph.Add, nil, conv(act(conv(x, 40, 3, 2)), 40, 3, 1), conv(x, 40, 1, 2)))
	up := b.Op(graph.Resize, graph.Attrs{"mode": "linear", "sizes": []int{-1, 40, side / 2, side / 2}}, y)
	both := b.Op(graph.Concat, graph.Attrs{"axis": 1}, x, up)
	z := b.Op(graph.Mul, nil, conv(both, 8, 1, 1), b.Op(graph.Sigmoid, nil, conv(both, 8, 1, 1)))
	filter := nd.New(8, 1, 3, 3)
	for i := range nd.Data(filter) {
		nd.Data(filter)[i] = float32(rng.NormFloat64()) / 8
	}
	z = b.Op(graph.Softmax, graph.Attrs{"axis": 1}, b.Conv(z, b.Const(filter), "", graph.Attrs{"group": 8}))
	g, err := b.Graph(x, y, z)
	require.NoError(t, err)
	return g
}

// rms is the root mean square of the differences over that of want.
func rms(t *testing.T, got, want []float32) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	var d, w float64
	for i := range want {
		d += math.Pow(float64(got[i])-float64(want[i]), 2)
		w += math.Pow(float64(want[i]), 2)
	}
	require.False(t, math.IsNaN(d) || w == 0)
	return math.Sqrt(d / w)
}

// Float16 rounds values to 11 bits (2^-11 at most, 2e-4 RMS) at each of some eight layers, there and back. Where that moves a value
// across a ReLU's kink, or past another one in a window of a MaxPool, its gradient changes by all of itself.
func TestFloat16(t *testing.T) {
	t.Run("smooth", func(t *testing.T) { float16(t, residual(t, 14, graph.Tanh, graph.AveragePool), 3e-3) })
	t.Run("kinks", func(t *testing.T) { float16(t, residual(t, 14, graph.Relu, graph.MaxPool), 0.1) })
}

// float16 compares with goexec, up to limits of the RMS difference: 1e-3 for outputs, and the gradient's.
func float16(t *testing.T, g *graph.Graph, limit float64) {
	const images = 3
	shapes, err := g.Infer()
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(4, 0))
	normal := func(shape graph.Shape) *tensor.Dense {
		v := nd.New(append([]int{images}, shape[1:]...)...)
		for i := range nd.Data(v) {
			nd.Data(v)[i] = float32(rng.NormFloat64())
		}
		return v
	}
	x := normal(g.Inputs[0].Shape)
	var dout []*tensor.Dense
	for _, name := range g.Outputs {
		dout = append(dout, normal(shapes[name]))
	}
	run := func(n exec.Net, x *tensor.Dense, dout []*tensor.Dense) (all [][]float32) {
		batch := x.Shape()[0]
		var out []*tensor.Dense
		for _, name := range g.Outputs {
			out = append(out, nd.New(append([]int{batch}, shapes[name][1:]...)...))
		}
		dx := nd.New(x.Shape()...)
		require.NoError(t, n.Forward(t.Context(), []*tensor.Dense{x}, out))
		require.NoError(t, n.Backward(t.Context(), dout, []*tensor.Dense{dx}))
		for _, o := range append(out, dx) {
			all = append(all, nd.Data(o))
		}
		return all
	}
	compile := func(ex exec.Executor) exec.Net {
		n, err := ex.Compile(g, true)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, n.Close()) })
		return n
	}
	ex := newExecutor(opened(t, gpu.Options{}), Float16)
	require.Equal(t, "float16", ex.Info().Precision)
	n := compile(ex)
	want, got := run(compile(goexec.New()), x, dout), run(n, x, dout)
	for i := range want {
		off, most := rms(t, got[i], want[i]), 1e-3
		if i == len(want)-1 {
			most = limit
		}
		t.Logf("result %d: %.2g RMS", i, off)
		require.Less(t, off, most)
		require.Greater(t, off, 1e-5, "it is float16")
	}
	require.Equal(t, got, run(n, x, dout), "again")

	// An image alone, and gradients that are 2^20 times smaller or larger: the same bits.
	one := func(t *tensor.Dense, scale float32) *tensor.Dense {
		c := nd.New(append([]int{1}, t.Shape()[1:]...)...)
		for i, v := range imageOf(t, 1) {
			nd.Data(c)[i] = v * scale
		}
		return c
	}
	for _, scale := range []float32{1, 0x1p-20, 0x1p20} {
		var d []*tensor.Dense
		for _, o := range dout {
			d = append(d, one(o, scale))
		}
		alone := run(n, one(x, 1), d)
		for i := range alone {
			part := got[i][len(alone[i]):][:len(alone[i])]
			if i == len(alone)-1 {
				for j := range alone[i] {
					alone[i][j] /= scale
				}
			}
			require.Equal(t, part, alone[i], "result %d, scale %g", i, scale)
		}
	}
}

// In float16 everything between the image and the outputs is, unless it is a number for each channel or only softmax reads it.
func TestFloat16Throughout(t *testing.T) {
	lite, err := exectest.Lite(32)
	require.NoError(t, err)
	for _, g := range []*graph.Graph{residual(t, 14, graph.Relu, graph.MaxPool), lite} {
		p := &planner{half: true, values: map[string][]array{}}
		forward, _, err := p.both(g)
		require.NoError(t, err)
		p = &planner{half: true, values: map[string][]array{}} // alone: the gradient leaves only its own values
		_, err = p.phase(g, len(g.Inputs), nil, false)
		require.NoError(t, err)
		require.NotEmpty(t, forward.steps)
		narrow := 0
		for _, n := range g.Nodes {
			vs := p.values[n.Out]
			if len(vs) == 0 || n.In[0] == g.Inputs[0].Name && n.Op == graph.Pad { // joined by another one; a frame around the image
				continue
			}
			if shape := vs[0].shape; vs[0].half || len(shape) == 4 && shape[2]*shape[3] == 1 || n.Op == graph.Softmax {
				narrow++
				continue
			}
			require.Fail(t, "float32", "%s %s of %v", n.Op, n.Out, vs[0].shape)
		}
		require.Greater(t, narrow, 5)
	}
}

// A batch size that comes again and again is recorded, and recorded anew where the network's memory has moved.
func TestRecordings(t *testing.T) {
	n, err := newExecutor(opened(t, gpu.Options{}), Float32).Compile(small(t, 1, 8), false)
	require.NoError(t, err)
	run := func(images int, v float32) {
		x, y := nd.New(images, 3, 8, 8), nd.New(images, 8, 6, 6)
		for i := range nd.Data(x) {
			nd.Data(x)[i] = v
		}
		require.NoError(t, n.Forward(t.Context(), []*tensor.Dense{x}, []*tensor.Dense{y}))
		sum := float32(0) // of the first channel's weights, 0 to 26
		for i := range 27 {
			sum += v * float32(i)
		}
		require.Equal(t, sum, nd.Data(y)[0])
		require.Equal(t, sum, nd.Data(y)[(images-1)*8*36+35])
	}
	recorded := func() bool { return n.(*net).forward.graph != nil }
	for v := range 5 {
		require.Equal(t, v >= 3, recorded())
		run(1, float32(v))
	}
	run(4, 2)
	require.False(t, recorded())
	for v := range 5 {
		run(4, float32(v))
	}
	require.True(t, recorded())
	run(6, 3)
	for v := range 4 {
		run(4, float32(v))
	}
	require.True(t, recorded())
	require.NoError(t, n.Close())
}

// A gradient that float16 has no room for is an error, and one that was no number before is not.
func TestFloat16Overflows(t *testing.T) {
	weights := nd.New(8, 8, 1, 1)
	for i := range nd.Data(weights) {
		nd.Data(weights)[i] = 3e4
	}
	b := graph.NewBuilder("steep")
	x := b.Input("x", graph.N, 8, 2, 2)
	w := b.Const(weights)
	g, err := b.Graph(b.Conv(b.Conv(x, w, "", nil), w, "", nil))
	require.NoError(t, err)
	n, err := newExecutor(opened(t, gpu.Options{}), Float16).Compile(g, true)
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	dy := nd.New(2, 8, 2, 2)
	run := func(v float32) error {
		in, out := []*tensor.Dense{nd.New(2, 8, 2, 2)}, []*tensor.Dense{nd.New(2, 8, 2, 2)}
		require.NoError(t, n.Forward(t.Context(), in, out))
		imageOf(dy, 1)[0] = v
		return n.Backward(t.Context(), []*tensor.Dense{dy}, in)
	}
	require.NoError(t, run(0))
	require.ErrorContains(t, run(1), "image 1 of 2 overflows float16")
	require.NoError(t, run(float32(math.Inf(1))))
}

// Of what the gradient asks for the sign only, bits are kept.
func TestSignsAreKept(t *testing.T) {
	weights := nd.New(8, 8, 1, 1)
	b := graph.NewBuilder("signs")
	w := b.Const(weights)
	pool := graph.Attrs{"kernel_shape": []int{2, 2}}
	a := b.OpAs("pooled too", graph.Relu, nil, b.Conv(b.Input("x", graph.N, 8, 4, 4), w, "", nil))
	c := b.OpAs("signs only", graph.Relu, nil, b.Conv(b.Op(graph.MaxPool, pool, a), w, "", nil))
	d := b.OpAs("clipped", graph.Clip, graph.Attrs{"min": float32(0), "max": float32(6)}, b.Conv(c, w, "", nil))
	g, err := b.Graph(b.Conv(d, w, "", nil))
	require.NoError(t, err)
	r, err := autodiff.Gradient(g)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"signs only": true}, gates(r))
	for _, half := range []bool{false, true} {
		p := &planner{half: half, values: map[string][]array{}}
		_, _, err = p.both(g)
		require.NoError(t, err)
		_, kept := p.signs["signs only"]
		require.Equal(t, half, kept)
	}
}
