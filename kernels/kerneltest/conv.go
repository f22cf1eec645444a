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
	{half: true, name: "3x3", n: 2, h: 5, w: 7, weights: [4]int{16, 8, 3, 3}, attr: graph.Attrs{"pads": ints{1, 1, 1, 1}}},
	{half: true, name: "1x1, 72 channels to 136, stride 2", n: 1, h: 9, w: 11, weights: [4]int{136, 72, 1, 1}, attr: graph.Attrs{"strides": ints{2, 2}}},
	{half: true, name: "3x1, 24 channels to 48", n: 2, h: 12, w: 9, weights: [4]int{48, 24, 3, 1}, attr: graph.Attrs{"pads": ints{1, 0, 1, 0}}},
	{half: true, name: "transposed, stride 2", transposed: true, n: 1, h: 6, w: 5, weights: [4]int{16, 40, 3, 3},
		attr: graph.Attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 1}}},
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
	for _, half := range []bool{false, true} {
		Case(t, m, seed, func(r *Rig) { convRagged(r, half) }, "ragged, float16 %t", half)
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
		require.ErrorContains(t, err, "float16 needs")
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

	weights := kernels.ConvWeights{Shape: c.weights, Groups: group, Values: w}
	var all []kernels.ConvTables
	if c.transposed {
		all, err = kernels.PlanConvTranspose(win, in, out, weights, c.half)
	} else {
		all = make([]kernels.ConvTables, 1)
		all[0], err = kernels.PlanConv(win, in, out, weights, c.half)
	}
	require.NoError(r.T, err)
	mx, px := inAs(r, last(image, c.n, channels), c.half)
	add, gate := c.numbers(r, size, 1), c.numbers(r, size, 1)
	ma, pa := inAs(r, add, c.half)
	mb := In(r, bias)
	mo, po, read := outAs(r, size, c.half)
	inputs := []Array{mx, ma, mb}
	k := kernels.Conv{
		Images: c.n, InPixels: c.h * c.w, OutPixels: out[0] * out[1], C: channels, N: outs, Groups: group,
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
	mg, pg := inAs(r, gate, c.half)
	inputs = append(inputs, mg)
	finish := func(k *kernels.Conv) { k.Add, k.Lo, k.Hi, k.Gate, k.GateLo, k.GateHi = pa, -0.5, 0.75, pg, -0.25, 0.5 }
	r.Run(convRun(launches, finish), inputs, outputs)
	open := func(i int) bool { return gate[i] > -0.25 && gate[i] < 0.5 }
	if c.half {
		want := read()
		bits, signs := In(r, bitsOf(size, open)), Out[uint8](r, size/8)
		r.Run(convRun(launches, func(k *kernels.Conv) {
			finish(k)
			k.Gate, k.Open, k.Signs = 0, bits.Ptr, signs.Ptr
		}), append(inputs, bits), append(outputs, signs))
		require.Equal(r.T, want, read(), "a gate of bits")
		require.Equal(r.T, bitsOf(size, func(i int) bool { return want[i] > 0 }), signs.Read())
	}
	for i := range sums {
		sums[i] = min(max(sums[i]+float64(add[i]), -0.5), 0.75)
		if !open(i) {
			sums[i] = 0
		}
	}
	compare.Require(r.T, "with all", read(), sums, tolerance)
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

// convRagged: windows of different sizes in one launch get the very bits that each gets alone, in any order.
func convRagged(r *Rig, half bool) {
	const channels, outs = 8, 24
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
