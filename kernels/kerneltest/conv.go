package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// convFloat32 is for sums of some hundred products of values around 1 in one order; convFloat16 for one rounding of the
// result to 11 bits, what goes in being of that kind, and for tensor cores that cut summands off at some 2^-22 of the largest.
var (
	convFloat32 = compare.Tolerance{Abs: 2e-5, Rel: 1e-5}
	convFloat16 = compare.Tolerance{Abs: 1e-3, Rel: 1e-3}
)

// tensorChannels are enough for the tensor cores in float32.
const tensorChannels = 16

// convCase is a convolution of images [n,C,h,w]. With a transposed one weights are [C,M/group,kH,kW], else [M,C/group,kH,kW].
type convCase struct {
	name       string
	half       bool
	transposed bool
	n, h, w    int
	weights    [4]int
	attr       graph.Attrs
}

func (c convCase) String() string {
	kind := "float32"
	if c.half {
		kind = "float16"
	}
	return kind + " " + c.name
}

type ints = []int

var convCases = []convCase{
	{name: "3x3", n: 2, h: 7, w: 9, weights: [4]int{5, 4, 3, 3}, attr: graph.Attrs{"pads": ints{1, 1, 1, 1}}},
	{name: "3x3 of three channels, stride 2, dilated", n: 3, h: 11, w: 9, weights: [4]int{20, 3, 3, 3},
		attr: graph.Attrs{"pads": ints{1, 2, 2, 1}, "strides": ints{2, 2}, "dilations": ints{1, 2}}},
	{name: "1x1, tiles beyond one", n: 1, h: 13, w: 11, weights: [4]int{70, 20, 1, 1}},
	{name: "1x1, three tiles of columns and two of rows", n: 2, h: 8, w: 9, weights: [4]int{130, 8, 1, 1}, attr: graph.Attrs{"strides": ints{1, 1}}},
	{name: "grouped", n: 2, h: 5, w: 6, weights: [4]int{24, 9, 2, 3}, attr: graph.Attrs{"group": 3}},
	{name: "depthwise", n: 2, h: 6, w: 7, weights: [4]int{12, 1, 3, 3}, attr: graph.Attrs{"group": 6, "pads": ints{1, 1, 1, 1}}},
	{name: "wide padding", n: 1, h: 3, w: 3, weights: [4]int{3, 4, 2, 2}, attr: graph.Attrs{"pads": ints{3, 4, 5, 3}}},
	{name: "transposed, stride 2", transposed: true, n: 2, h: 4, w: 5, weights: [4]int{8, 6, 3, 3},
		attr: graph.Attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 1}}},
	{name: "transposed, uneven, grouped", transposed: true, n: 2, h: 3, w: 5, weights: [4]int{4, 3, 4, 3},
		attr: graph.Attrs{"group": 2, "pads": ints{1, 0, 2, 1}, "strides": ints{3, 2}, "dilations": ints{1, 2}, "output_padding": ints{2, 0}}},
	{name: "transposed, stride and dilation with a common factor", transposed: true, n: 1, h: 4, w: 4, weights: [4]int{3, 5, 3, 3},
		attr: graph.Attrs{"strides": ints{4, 4}, "dilations": ints{6, 2}, "pads": ints{2, 0, 1, 1}}},
	{name: "transposed, stride beyond the kernel", transposed: true, n: 1, h: 3, w: 3, weights: [4]int{2, 3, 1, 2},
		attr: graph.Attrs{"strides": ints{2, 3}, "output_padding": ints{1, 2}}},
	{name: "on tensor cores: 3x3, stride 2", n: 2, h: 9, w: 7, weights: [4]int{24, 16, 3, 3},
		attr: graph.Attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	{name: "on tensor cores: 1x1, 76 channels to 140", n: 1, h: 9, w: 15, weights: [4]int{140, 76, 1, 1}},
	{name: "on tensor cores: 2x3, dilated, to 52", n: 2, h: 9, w: 10, weights: [4]int{52, 20, 2, 3},
		attr: graph.Attrs{"dilations": ints{2, 1}, "pads": ints{1, 1, 0, 1}}},
	{name: "on tensor cores: transposed, stride 2", transposed: true, n: 2, h: 4, w: 5, weights: [4]int{32, 28, 3, 3},
		attr: graph.Attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 0}}},
	{half: true, name: "3x3", n: 2, h: 5, w: 7, weights: [4]int{16, 8, 3, 3}, attr: graph.Attrs{"pads": ints{1, 1, 1, 1}}},
	{half: true, name: "1x1, 72 channels to 136, stride 2", n: 1, h: 9, w: 11, weights: [4]int{136, 72, 1, 1}, attr: graph.Attrs{"strides": ints{2, 2}}},
	{half: true, name: "3x1, 24 channels to 48", n: 2, h: 12, w: 9, weights: [4]int{48, 24, 3, 1}, attr: graph.Attrs{"pads": ints{1, 0, 1, 0}}},
	{half: true, name: "transposed, stride 2", transposed: true, n: 1, h: 6, w: 5, weights: [4]int{16, 40, 3, 3},
		attr: graph.Attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 1}}},
	{half: true, name: "stem of 7x7", n: 2, h: 12, w: 10, weights: [4]int{16, 3, 7, 7},
		attr: graph.Attrs{"pads": ints{3, 3, 3, 3}, "strides": ints{2, 2}}},
	{half: true, name: "stem of 3x3, odd rows, no padding on the left", n: 1, h: 7, w: 9, weights: [4]int{32, 3, 3, 3},
		attr: graph.Attrs{"pads": ints{0, 0, 1, 1}, "strides": ints{2, 2}}},
	{half: true, name: "stem of 4x5, stride 4, two of padding", n: 1, h: 9, w: 11, weights: [4]int{8, 2, 4, 5},
		attr: graph.Attrs{"pads": ints{1, 2, 1, 2}, "strides": ints{4, 4}}},
	{half: true, name: "stem of 3x3, stride 1", n: 1, h: 5, w: 6, weights: [4]int{8, 3, 3, 3}, attr: graph.Attrs{"pads": ints{1, 1, 1, 1}}},
	{half: true, name: "1x1, 20 channels to 13", n: 2, h: 5, w: 3, weights: [4]int{13, 20, 1, 1}},
	{half: true, name: "gradient of a stem, 7x7", transposed: true, n: 2, h: 5, w: 4, weights: [4]int{16, 3, 7, 7},
		attr: graph.Attrs{"pads": ints{3, 3, 3, 3}, "strides": ints{2, 2}, "output_padding": ints{1, 1}}},
	{half: true, name: "gradient of a stem, odd rows", transposed: true, n: 1, h: 4, w: 4, weights: [4]int{8, 3, 3, 3},
		attr: graph.Attrs{"pads": ints{0, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 0}}},
	{half: true, name: "depthwise, 3x3, stride 2", n: 2, h: 6, w: 7, weights: [4]int{24, 1, 3, 3},
		attr: graph.Attrs{"group": 24, "pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	{half: true, name: "depthwise, 12 channels", n: 1, h: 6, w: 7, weights: [4]int{12, 1, 3, 3},
		attr: graph.Attrs{"group": 12, "pads": ints{0, 1, 0, 1}}},
	{half: true, name: "depthwise, two each", n: 1, h: 4, w: 5, weights: [4]int{8, 1, 3, 3}, attr: graph.Attrs{"group": 4, "pads": ints{1, 1, 1, 1}}},
	{half: true, name: "depthwise, transposed", transposed: true, n: 2, h: 4, w: 5, weights: [4]int{16, 1, 3, 3},
		attr: graph.Attrs{"group": 16, "pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 1}}},
	{half: true, name: "groups of 4", n: 2, h: 5, w: 6, weights: [4]int{64, 4, 3, 3},
		attr: graph.Attrs{"group": 16, "pads": ints{1, 1, 1, 1}}},
	{half: true, name: "groups of 8 to 16", n: 1, h: 5, w: 6, weights: [4]int{48, 8, 3, 3},
		attr: graph.Attrs{"group": 3, "strides": ints{2, 1}}},
	{half: true, name: "groups of 5 to 3", n: 1, h: 5, w: 6, weights: [4]int{9, 5, 2, 2}, attr: graph.Attrs{"group": 3}},
	{half: true, name: "groups of 4 to 8, transposed", transposed: true, n: 1, h: 3, w: 4, weights: [4]int{16, 8, 3, 3},
		attr: graph.Attrs{"group": 4, "pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
}

// numbers are random values that the case's kind holds exactly.
func (c convCase) numbers(r *Rig, n int, scale float32) []float32 {
	v := r.Normal(n)
	for i := range v {
		if v[i] *= scale; c.half {
			v[i] = kernels.FromFloat16(kernels.Float16(v[i]))
		}
	}
	return v
}

// inAs is In for values as float32 or float16, outAs Out, with what reads them.
func inAs(r *Rig, v []float32, half bool) (Array, kernels.Ptr) {
	if !half {
		m := In(r, v)
		return m, m.Ptr
	}
	m := In(r, toHalves(v))
	return m, m.Ptr
}

func outAs(r *Rig, n int, half bool) (Array, kernels.Ptr, func() []float32) {
	if !half {
		m := Out[float32](r, n)
		return m, m.Ptr, m.Read
	}
	m := Out[uint16](r, n)
	return m, m.Ptr, func() []float32 { return fromHalves(m.Read()) }
}

func toHalves(v []float32) []uint16 {
	h := make([]uint16, len(v))
	for i := range v {
		h[i] = kernels.Float16(v[i])
	}
	return h
}

func fromHalves(h []uint16) []float32 {
	v := make([]float32, len(h))
	for i := range h {
		v[i] = kernels.FromFloat16(h[i])
	}
	return v
}

// last turns [n,C,pixels] into [n,pixels,C].
func last[T any](x []T, n, channels int) []T {
	y, pixels := make([]T, len(x)), len(x)/n/channels
	for i := range x {
		image, ch, p := i/(channels*pixels), i/pixels%channels, i%pixels
		y[(image*pixels+p)*channels+ch] = x[i]
	}
	return y
}

// Conv tests the convolutions against the interpreter of graphs, bare and with all that they can do to a result.
func Conv(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range convCases {
		Case(t, m, seed, func(r *Rig) { c.test(r) }, "%s", c)
	}
	for _, c := range []struct {
		half     bool
		channels int
	}{{false, 8}, {false, tensorChannels}, {true, 8}} {
		Case(t, m, seed, func(r *Rig) { convRagged(r, c.half, c.channels) }, "ragged, float16 %t, %d channels", c.half, c.channels)
	}
	for _, positive := range []bool{false, true} {
		for _, channels := range []int{tensorChannels, 64, 512} {
			Case(t, m, seed, func(r *Rig) { convAccuracy(r, channels, positive) }, "accuracy, 3x3 of %d channels, positive %t", channels, positive)
		}
	}
	t.Run("float16", func(t *testing.T) {
		for v, want := range map[float32]uint16{
			0: 0, 1: 0x3c00, -2: 0xc000, 65504: 0x7bff, 65519: 0x7bff, 65520: 0x7c00, 1e9: 0x7c00, 0x1p-24: 1, 0x1p-25: 0, 0x1.8p-25: 1,
			0x1p-14: 0x400, 1 + 0x1p-11: 0x3c00, 1 + 0x3p-11: 0x3c02,
		} {
			require.Equal(t, want, kernels.Float16(v), "%g", v)
		}
		for h := range 0x7c01 {
			require.EqualValues(t, h, kernels.Float16(kernels.FromFloat16(uint16(h))))
		}
	})
	t.Run("refuses", func(t *testing.T) {
		kind, err := kernels.ConvKindFor(4, 8, 1, false)
		require.NoError(t, err)
		good := kernels.Conv{
			Kind: kind, Images: 1, InPixels: 4, OutPixels: 4, C: 4, N: 8, Groups: 1, Rows: 4, Steps: 1, X: 256, Out: 256, Table: 256,
			Pieces: 256, Weights: 256,
		}
		for what, change := range map[string]func(*kernels.Conv){
			"0 images": func(c *kernels.Conv) { c.Images = 0 }, "in 3 groups": func(c *kernels.Conv) { c.Groups = 3 },
			"too many": func(c *kernels.Conv) { c.Images = math.MaxInt32 / 2 }, "do not fit": func(c *kernels.Conv) { c.C = 5 },
			"signs": func(c *kernels.Conv) { c.Signs = 256 }, "weights is null": func(c *kernels.Conv) { c.Weights = 0 },
			"x is not aligned": func(c *kernels.Conv) { c.X = 260 }, "add": func(c *kernels.Conv) { c.Add = 4 },
		} {
			c := good
			change(&c)
			require.ErrorContains(t, c.Enqueue(m), what)
		}
		_, err = kernels.ConvKindFor(4, 8, 1, true)
		require.ErrorContains(t, err, "multiples of 8 channels")
		_, err = kernels.PlanConv(graph.Window{Kernel: [2]int{1, 128}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}, [2]int{1, 200}, [2]int{1, 73},
			kernels.ConvWeights{Shape: [4]int{1, 1, 1, 128}, Groups: 1, Values: make([]float32, 128)}, false)
		require.ErrorContains(t, err, "at most 127")
	})
}

func (c convCase) test(r *Rig) {
	group := 1
	if g, ok := c.attr["group"]; ok {
		group = g.(int)
	}
	channels, outs, op := c.weights[1]*group, c.weights[0], graph.Conv
	if c.transposed {
		channels, outs, op = c.weights[0], c.weights[1]*group, graph.ConvTranspose
	}
	w, bias := c.numbers(r, nd.Size(c.weights[:]...), 0.3), r.Normal(outs)
	b := graph.NewBuilder("conv")
	x := b.Input("x", graph.N, channels, c.h, c.w)
	y := b.OpAs("y", op, c.attr, x, b.Const(nd.Wrap(w, c.weights[:]...)), b.Const(nd.Wrap(bias, outs)))
	g, err := b.Graph(y)
	require.NoError(r.T, err)
	node, shape := g.Nodes[0], b.Shape(y)
	win, err := graph.ConvWindow(node, c.weights[:])
	require.NoError(r.T, err)
	in, out := [2]int{c.h, c.w}, [2]int(shape[2:])
	image, size := c.numbers(r, c.n*channels*c.h*c.w, 1), c.n*shape.PerImage()
	values, err := naive.Run(g, map[string]*naive.Array{"x": {Shape: []int{c.n, channels, c.h, c.w}, Data: widened(image)}})
	require.NoError(r.T, err)
	sums := last(values["y"].Data, c.n, outs)

	f := kernels.FittedConv{
		Window: win, In: in, Out: out, Weights: kernels.ConvWeights{Shape: c.weights, Groups: group, Values: w},
		X: kernels.ConvPixels{Channels: channels, Columns: in[1]}, Y: kernels.ConvPixels{Channels: outs, Columns: out[1]},
	}
	if c.half {
		f = kernels.FitConv(win, in, out, f.Weights, c.transposed)
	}
	var all []kernels.ConvTables
	if c.transposed {
		all, err = kernels.PlanConvTranspose(f.Window, f.In, f.Out, f.Weights, c.half)
	} else {
		all = make([]kernels.ConvTables, 1)
		all[0], err = kernels.PlanConv(f.Window, f.In, f.Out, f.Weights, c.half)
	}
	require.NoError(r.T, err)
	// As the kernel wants them; what is read of y is what there is.
	lay := func(v []float32) []float32 { return laid(v, c.n, out, outs, f.Y) }
	add, gate := c.numbers(r, size, 1), c.numbers(r, size, 1)
	open := func(i int) bool { return gate[i] > -0.25 && gate[i] < 0.5 }
	mx, px := inAs(r, laid(last(image, c.n, channels), c.n, in, channels, f.X), c.half)
	ma, pa := inAs(r, lay(add), c.half)
	mb := In(r, f.Bias(bias))
	mo, po, whole := outAs(r, len(lay(add)), c.half)
	read := func() []float32 { return unlaid(whole(), c.n, out, outs, f.Y) }
	inputs := []Array{mx, ma, mb}
	k := kernels.Conv{
		Images: c.n, InPixels: f.In[0] * f.In[1], OutPixels: f.Out[0] * f.Out[1], C: f.X.Channels * f.X.Columns / f.In[1],
		N: f.Y.Channels * f.Y.Columns / f.Out[1], Groups: f.Weights.Groups,
		X: px, Out: po, Bias: mb.Ptr, Lo: float32(math.Inf(-1)), Hi: float32(math.Inf(1)),
	}
	launches := convLaunches(r, k, all, &inputs)
	tolerance := convFloat32
	if c.half {
		tolerance = convFloat16
	}
	r.Run(convRun(launches, func(*kernels.Conv) {}), inputs, []Array{mo})
	compare.Require(r.T, "bare", read(), sums, tolerance)

	// Everything at once.
	outputs := []Array{mo}
	mg, pg := inAs(r, lay(gate), c.half)
	inputs = append(inputs, mg)
	finish := func(k *kernels.Conv) { k.Add, k.Lo, k.Hi, k.Gate, k.GateLo, k.GateHi = pa, -0.5, 0.75, pg, -0.25, 0.5 }
	r.Run(convRun(launches, finish), inputs, outputs)
	if c.half && k.N%8 == 0 {
		want, passing := read(), make([]float32, size)
		for i := range passing {
			if open(i) {
				passing[i] = 1
			}
		}
		passing = lay(passing)
		bits, signs := In(r, bitsOf(len(passing), func(i int) bool { return passing[i] > 0 })), Out[uint8](r, len(passing)/8)
		r.Run(convRun(launches, func(k *kernels.Conv) {
			finish(k)
			k.Gate, k.Open, k.Signs = 0, bits.Ptr, signs.Ptr
		}), append(inputs, bits), append(outputs, signs))
		require.Equal(r.T, want, read(), "a gate of bits")
		v := whole()
		require.Equal(r.T, bitsOf(len(v), func(i int) bool { return v[i] > 0 }), signs.Read())
	}
	for i := range sums {
		sums[i] = min(max(sums[i]+float64(add[i]), -0.5), 0.75)
		if !open(i) {
			sums[i] = 0
		}
	}
	compare.Require(r.T, "with all", read(), sums, tolerance)
}

// laid lays images [n,pixels,channels] out as a kernel wants them, unlaid takes them from there.
func laid(v []float32, n int, size [2]int, channels int, to kernels.ConvPixels) []float32 {
	y := make([]float32, n*size[0]*to.Columns*to.Channels)
	for i, at := range places(n, size, channels, to) {
		y[at] = v[i]
	}
	return y
}

func unlaid(v []float32, n int, size [2]int, channels int, from kernels.ConvPixels) []float32 {
	y := make([]float32, n*size[0]*size[1]*channels)
	for i, at := range places(n, size, channels, from) {
		y[i] = v[at]
	}
	return y
}

func places(n int, size [2]int, channels int, p kernels.ConvPixels) []int {
	all := make([]int, 0, n*size[0]*size[1]*channels)
	for row := range n * size[0] {
		for column := range size[1] {
			for ch := range channels {
				all = append(all, (row*p.Columns+column)*p.Channels+ch)
			}
		}
	}
	return all
}

func bitsOf(n int, set func(i int) bool) []uint8 {
	bits := make([]uint8, (n+7)/8)
	for i := range n {
		if set(i) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return bits
}

func widened(v []float32) []float64 {
	d := make([]float64, len(v))
	for i := range v {
		d[i] = float64(v[i])
	}
	return d
}

// convLaunches puts tables on the machine.
func convLaunches(r *Rig, k kernels.Conv, all []kernels.ConvTables, inputs *[]Array) (launches []kernels.Conv) {
	for _, t := range all {
		rows, pieces := In(r, convRows(t.Rows)), In(r, convPieces(t.Pieces))
		k.Kind, k.Rows, k.Steps, k.Table, k.Pieces = t.Kind, len(t.Rows), t.Steps, rows.Ptr, pieces.Ptr
		w := In(r, t.Pack())
		k.Weights, *inputs = w.Ptr, append(*inputs, rows, pieces, w)
		launches = append(launches, k)
	}
	return launches
}

func convRows(rows []kernels.ConvRow) (words []uint32) {
	for _, r := range rows {
		words = append(words, uint32(r.First), uint32(r.Pitch), r.Valid, uint32(r.Out))
	}
	return words
}

func convPieces(pieces []kernels.ConvPiece) (words []uint32) {
	for _, p := range pieces {
		words = append(words, uint32(p.DY), uint32(p.At), p.Tap, p.Real)
	}
	return words
}

func convRun(launches []kernels.Conv, finish func(k *kernels.Conv)) func(q kernels.Queue) error {
	return func(q kernels.Queue) error {
		for _, k := range launches {
			finish(&k)
			if err := k.Enqueue(q); err != nil {
				return err
			}
		}
		return nil
	}
}

// convAccuracy compares float32 on the tensor cores, by three products, with multiply-adds: both against float64, as parts of a result's
// root mean square. Positive values add up in one direction, and so do the summands' lost bits.
func convAccuracy(r *Rig, channels int, positive bool) {
	const side, outs = 5, 24
	x, w := r.Normal(side*side*channels), r.Normal(outs*channels*9)
	for _, v := range [][]float32{x, w} {
		for i := range v {
			if positive {
				v[i] = float32(math.Abs(float64(v[i])))
			}
		}
	}
	size := [2]int{side, side}
	win := graph.Window{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Begin: [2]int{1, 1}, End: [2]int{1, 1}}
	weights := kernels.ConvWeights{Shape: [4]int{outs, channels, 3, 3}, Groups: 1, Values: w}
	want := make([]float64, side*side*outs)
	square := 0.0
	for i := range want {
		py, px, n := i/outs/side, i/outs%side, i%outs
		for k := range 9 {
			iy, ix := py+k/3-1, px+k%3-1
			if min(iy, ix) < 0 || max(iy, ix) >= side {
				continue
			}
			for c := range channels {
				want[i] += float64(x[(iy*side+ix)*channels+c]) * float64(w[(n*channels+c)*9+k])
			}
		}
		square += want[i] * want[i]
	}
	unit := math.Sqrt(square / float64(len(want)))
	errors := func(t kernels.ConvTables, err error) (worst, rms float64) {
		require.NoError(r.T, err)
		mx, mo := In(r, x), Out[float32](r, len(want))
		inputs := []Array{mx}
		launches := convLaunches(r, kernels.Conv{
			Images: 1, InPixels: side * side, OutPixels: side * side, C: channels, N: outs, Groups: 1, X: mx.Ptr, Out: mo.Ptr,
			Lo: float32(math.Inf(-1)), Hi: float32(math.Inf(1)),
		}, []kernels.ConvTables{t}, &inputs)
		r.Run(convRun(launches, func(*kernels.Conv) {}), inputs, []Array{mo})
		for i, v := range mo.Read() {
			d := math.Abs(float64(v)-want[i]) / unit
			worst, rms = max(worst, d), rms+d*d
		}
		return worst, math.Sqrt(rms / float64(len(want)))
	}
	t, err := kernels.PlanConv(win, size, size, weights, false)
	require.True(r.T, t.Kind.Tensor)
	worst, rms := errors(t, err)
	plainWorst, plainRMS := errors(kernels.PlanMultiplyAdds(win, size, size, weights))
	r.T.Logf("three products: worst %.2g, RMS %.2g; multiply-adds: worst %.2g, RMS %.2g", worst, rms, plainWorst, plainRMS)
	require.Less(r.T, rms, plainRMS)
	require.Less(r.T, worst, 1.5*plainWorst, "one of few hundred")
}

// convRagged: windows of different sizes in one launch get the very bits that each gets alone, in any order.
func convRagged(r *Rig, half bool, channels int) {
	const outs = 24
	c := convCase{half: half}
	sizes := [][2]int{{5, 7}, {9, 4}, {1, 3}}
	win := graph.Window{Kernel: [2]int{3, 3}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Begin: [2]int{1, 1}, End: [2]int{1, 1}}
	weights := kernels.ConvWeights{Shape: [4]int{outs, channels, 3, 3}, Groups: 1, Values: c.numbers(r, outs*channels*9, 0.3)}
	infinite := float32(math.Inf(1))
	run := func(t kernels.ConvTables, pixels int, image []float32) []float32 {
		mx, px := inAs(r, image, half)
		mo, po, read := outAs(r, pixels*outs, half)
		inputs := []Array{mx}
		launches := convLaunches(r, kernels.Conv{
			Images: 1, InPixels: pixels, OutPixels: pixels, C: channels, N: outs, Groups: 1, X: px, Out: po, Lo: -infinite, Hi: infinite,
		}, []kernels.ConvTables{t}, &inputs)
		r.Run(convRun(launches, func(*kernels.Conv) {}), inputs, []Array{mo})
		return read()
	}
	kind, err := kernels.ConvKindFor(channels, outs, 1, half)
	require.NoError(r.T, err)
	require.Equal(r.T, half || channels >= tensorChannels, kind.Tensor)
	var images [][]float32
	var alone [][]float32
	var plans []kernels.ConvTables
	for _, s := range sizes {
		t, err := kernels.PlanConv(win, s, s, weights, half)
		require.NoError(r.T, err)
		images, plans = append(images, c.numbers(r, s[0]*s[1]*channels, 1)), append(plans, t)
		alone = append(alone, run(t, s[0]*s[1], images[len(images)-1]))
	}
	for _, order := range []ints{{0, 1, 2}, {2, 0, 1}} {
		t := plans[0]
		t.Rows = nil
		var all, want []float32
		for _, i := range order {
			first := int32(len(all) / channels)
			for _, row := range plans[i].Rows {
				row.First += first
				row.Out += first
				t.Rows = append(t.Rows, row)
			}
			all, want = append(all, images[i]...), append(want, alone[i]...)
		}
		require.Equal(r.T, want, run(t, len(all)/channels, all), "order %v", order)
	}
}

func init() { register("conv", Conv) }
