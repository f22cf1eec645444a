package cuda

import (
	"errors"
	"fmt"
	"slices"

	"f2pad.example/engine/exec/arena"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"
)

var errNoKernel = errors.New("there is no CUDA kernel for the operator")

// lowerings plan the nodes of operators that are neither convolutions nor element-wise. It is never written to.
var lowerings map[graph.Op]func(p *planner, n *graph.Node) error

func init() {
	lowerings = map[graph.Op]func(p *planner, n *graph.Node) error{
		graph.Concat:            concat,
		graph.Slice:             moved(slice),
		graph.SliceGrad:         moved(backward(slice)),
		graph.Pad:               moved(pad),
		graph.PadGrad:           moved(backward(pad)),
		graph.Resize:            moved(resize),
		graph.ResizeGrad:        moved(backward(resize)),
		graph.AveragePool:       moved(average),
		graph.AveragePoolGrad:   moved(backward(average)),
		graph.Transpose:         transpose,
		graph.GlobalAveragePool: reduce,
		graph.ReduceMean:        reduce,
		graph.SumTo:             reduce,
		graph.Reshape:           reshape,
		graph.MaxPool:           maxPool,
		graph.MaxPoolGrad:       maxPoolGrad,
		graph.Softmax:           softmax,
		graph.MatMul:            matMul,
		graph.Gemm:              gemm,
	}
}

// convolve emits a convolution with all that is done to its sums.
func (p *planner) convolve(c *chain) error {
	n, half := c.conv, p.half
	w, before := p.g.Consts[n.In[1]], p.shapes[n.In[0]]
	shape := graph.Shape(w.Shape())
	win, err := graph.ConvWindow(n, shape)
	if err != nil {
		return err
	}
	f := kernels.FittedConv{
		Window: win, In: [2]int(before[2:]), Out: [2]int(c.shape[2:]),
		Weights: kernels.ConvWeights{Shape: [4]int(shape), Groups: n.Int("group", 1), Values: nd.Data(w)},
		X:       kernels.ConvPixels{Channels: before[1], Columns: before[3]}, Y: kernels.ConvPixels{Channels: c.shape[1], Columns: c.shape[3]},
	}
	if half {
		f = kernels.FitConv(win, f.In, f.Out, f.Weights, n.Op == graph.ConvTranspose)
	}
	var all []kernels.ConvTables
	if n.Op == graph.ConvTranspose {
		all, err = kernels.PlanConvTranspose(f.Window, f.In, f.Out, f.Weights, half)
	} else {
		all = make([]kernels.ConvTables, 1)
		all[0], err = kernels.PlanConv(f.Window, f.In, f.Out, f.Weights, half)
	}
	if err != nil {
		return err
	}
	x, err := p.laid(n.In[0], f.X, half)
	if err != nil {
		return err
	}
	laid := graph.Shape{graph.N, f.Y.Channels, c.shape[2], f.Y.Columns} // of the result
	own, channels := laid.Equal(c.shape), f.Y.Channels*f.Y.Columns/f.Out[1]
	bitwise := half && own && channels%8 == 0
	operands := make([]array, 2) // add and gate
	for i, name := range []string{c.add, c.gate} {
		if name == "" {
			continue
		}
		if operands[i], err = p.get(name); err != nil {
			return err
		}
		if !(bitwise && operands[i].bits && c.open == [2]float32{0, infinite}) {
			if operands[i], err = p.laid(name, f.Y, half); err != nil {
				return err
			}
		}
	}
	var bias *blob
	if len(n.In) == 3 && n.In[2] != "" {
		bias = p.blob(kernels.Bytes(f.Bias(nd.Data(p.g.Consts[n.In[2]]))))
	}
	p.now++
	p.use(x)
	for _, v := range operands {
		p.use(v)
	}
	var y, signs array
	if own {
		y = p.output(usual(c.shape), half)
	} else {
		y = p.create(laid, usual(laid), half)
	}
	if bitwise && p.gates[c.node.Out] {
		signs = array{shape: y.shape, strides: y.strides, bits: true, buffer: &arena.Buffer{Size: (y.shape.PerImage() + 31) / 32, First: p.now, Last: p.now}}
		p.buffers = append(p.buffers, signs.buffer)
		p.signs[c.node.Out] = signs
	}
	type part struct {
		kernels.Conv
		table, pieces, weights *blob
	}
	var parts []part
	for _, t := range all {
		parts = append(parts, part{
			kernels.Conv{
				Kind: t.Kind, InPixels: f.In[0] * f.In[1], OutPixels: f.Out[0] * f.Out[1], C: f.X.Channels * f.X.Columns / f.In[1], N: channels,
				Groups: f.Weights.Groups, Rows: len(t.Rows), Steps: t.Steps, Lo: c.clip[0], Hi: c.clip[1], GateLo: c.open[0], GateHi: c.open[1],
			},
			p.blob(t.TableBytes()), p.blob(t.PieceBytes()), p.made(kernels.Bytes(f.Weights.Values), fmt.Sprint(n.Op, f.Weights.Shape, t.Layout), t.Pack),
		})
	}
	p.emit(func(b *batch) error {
		for _, k := range parts {
			k.Images, k.X, k.Out = b.images, b.at(x), b.at(y)
			k.Table, k.Pieces, k.Weights = k.table.at, k.pieces.at, k.weights.at
			if bias != nil {
				k.Bias = bias.at
			}
			if c.add != "" {
				k.Add = b.at(operands[0])
			}
			switch {
			case c.gate != "" && operands[1].bits:
				k.Open = b.at(operands[1])
			case c.gate != "":
				k.Gate = b.at(operands[1])
			}
			if signs.bits {
				k.Signs = b.at(signs)
			}
			if err := k.Enqueue(b); err != nil {
				return err
			}
		}
		return nil
	})
	if own {
		return nil
	}
	p.now++
	axes := whole(c.shape, y)
	return p.separable(y, p.output(usual(c.shape), half && !slices.Contains(p.g.Outputs, c.node.Out)), axes, 0, 0)
}

// laid is a value of four axes as a convolution reads it: the channels innermost, in the given kind, and zeros where there are none.
func (p *planner) laid(name string, pixels kernels.ConvPixels, half bool) (array, error) {
	v, err := p.get(name)
	if err != nil {
		return array{}, err
	}
	shape := graph.Shape{graph.N, pixels.Channels, v.shape[2], pixels.Columns}
	if shape.Equal(v.shape) {
		return p.as(name, usual(shape), half)
	}
	p.now++
	y := p.create(shape, usual(shape), half)
	return y, p.separable(v, y, whole(shape, v), 0, 0)
}

// whole are the axes of a value in the usual order, as parts of what is larger or smaller along some.
func whole(shape graph.Shape, of array) (axes []kernels.SeparableAxis) {
	strides := usual(shape)
	for a := 1; a < len(shape); a++ {
		axes = append(axes, line(shape[a], strides[a], func(i int) []kernels.AxisTap {
			if i >= of.shape[a] {
				return nil
			}
			return one(i * of.strides[a])
		}))
	}
	return axes
}

// axisMap says what coordinate i of an axis of after reads along the axis of before, as places and weights.
type axisMap func(n *graph.Node, before, after graph.Shape) (func(axis, i int) []kernels.AxisTap, error)

// moved plans operators that map each axis to itself. An adjoint knows before as its shape_in.
func moved(f axisMap) func(p *planner, n *graph.Node) error {
	return func(p *planner, n *graph.Node) error {
		x, err := p.get(n.In[0])
		if err != nil {
			return err
		}
		p.now++
		y := p.output(nil, x.half)
		taps, err := f(n, x.shape, y.shape)
		if err != nil {
			return err
		}
		var axes []kernels.SeparableAxis
		for a := 1; a < len(y.shape); a++ {
			axes = append(axes, line(y.shape[a], y.strides[a], func(i int) []kernels.AxisTap { return placed(taps(a, i), x.strides[a]) }))
		}
		return p.separable(x, y, axes, 0, n.Float("value", 0))
	}
}

// placed turns coordinates into places.
func placed(taps []kernels.AxisTap, stride int) []kernels.AxisTap {
	for i := range taps {
		taps[i].Offset *= stride
	}
	return taps
}

// backward is the adjoint of a map: what coordinate i was read by gives to it, in the order of the readers.
func backward(f axisMap) axisMap {
	return func(n *graph.Node, before, after graph.Shape) (func(axis, i int) []kernels.AxisTap, error) {
		taps, err := f(n, after, before) // the forward operator goes the other way
		if err != nil {
			return nil, err
		}
		lists := make([][][]kernels.AxisTap, len(after))
		for a := 1; a < len(after); a++ {
			lists[a] = make([][]kernels.AxisTap, after[a])
			for o := range before[a] {
				for _, t := range taps(a, o) {
					lists[a][t.Offset] = append(lists[a][t.Offset], kernels.AxisTap{Offset: o, Weight: t.Weight})
				}
			}
		}
		return func(axis, i int) []kernels.AxisTap { return lists[axis][i] }, nil
	}
}

func slice(n *graph.Node, before, _ graph.Shape) (func(axis, i int) []kernels.AxisTap, error) {
	s, _, err := graph.ResolveSlice(n, before)
	return func(axis, i int) []kernels.AxisTap { return one(s.Start[axis] + i*s.Step[axis]) }, err
}

func pad(n *graph.Node, before, _ graph.Shape) (func(axis, i int) []kernels.AxisTap, error) {
	pads, mode := n.Ints("pads", nil), n.String("mode", "constant")
	return func(axis, i int) []kernels.AxisTap {
		if from := graph.PadSource(mode, i, pads[axis], before[axis]); from >= 0 {
			return one(from)
		}
		return nil
	}, nil
}

func resize(n *graph.Node, before, after graph.Shape) (func(axis, i int) []kernels.AxisTap, error) {
	var all [4][]graph.Tap
	for a := 2; a < 4; a++ {
		all[a] = graph.ResizeTaps(n, a, before[a], after[a])
	}
	return func(axis, i int) []kernels.AxisTap {
		if axis < 2 {
			return one(i)
		}
		t := all[axis][i]
		if t.W == 0 || t.Lo == t.Hi {
			return one(t.Lo)
		}
		return []kernels.AxisTap{{Offset: t.Lo, Weight: float32(1 - t.W)}, {Offset: t.Hi, Weight: float32(t.W)}}
	}, nil
}

func average(n *graph.Node, before, _ graph.Shape) (func(axis, i int) []kernels.AxisTap, error) {
	win, err := graph.PoolWindow(n)
	return func(axis, i int) (taps []kernels.AxisTap) {
		if axis < 2 {
			return one(i)
		}
		a := axis - 2
		lo, hi := win.Taps(a, i, before[axis])
		for k := lo; k < hi; k++ {
			share := 1 / float32(win.Divisor(a, i, before[axis], n.Int("count_include_pad", 0) != 0))
			taps = append(taps, kernels.AxisTap{Offset: win.Start(a, i) + k*win.Dilation[a], Weight: share})
		}
		return taps
	}, err
}

func concat(p *planner, n *graph.Node) error {
	in := make([]array, len(n.In))
	half := p.half
	for i, name := range n.In {
		var err error
		if in[i], err = p.get(name); err != nil {
			return err
		}
		half = half && in[i].half
	}
	p.now++
	for _, x := range in {
		p.use(x)
	}
	y := p.output(nil, half)
	along, first := n.Axis(0, len(y.shape)), 0
	for _, x := range in {
		var axes []kernels.SeparableAxis
		for a := 1; a < len(y.shape); a++ {
			own := a - (len(y.shape) - len(x.shape))
			axes = append(axes, line(x.shape[own], y.strides[a], func(i int) []kernels.AxisTap { return one(i * x.strides[own]) }))
		}
		if err := p.separable(x, y, axes, first*y.strides[along], 0); err != nil {
			return err
		}
		first += x.shape[along]
	}
	return nil
}

func transpose(p *planner, n *graph.Node) error {
	x, err := p.get(n.In[0])
	if err != nil {
		return err
	}
	p.now++
	y := p.output(nil, x.half)
	perm := n.Ints("perm", nil)
	var axes []kernels.SeparableAxis
	for a := 1; a < len(perm); a++ {
		axes = append(axes, line(y.shape[a], y.strides[a], func(i int) []kernels.AxisTap { return one(i * x.strides[perm[a]]) }))
	}
	return p.separable(x, y, axes, 0, 0)
}

// reduce sums over axes, for means divided by the number of elements.
func reduce(p *planner, n *graph.Node) error {
	x, err := p.get(n.In[0])
	if err != nil {
		return err
	}
	p.now++
	y := p.output(nil, false)
	rank := len(x.shape)
	reduced := make([]bool, rank)
	mean := true
	switch n.Op {
	case graph.ReduceMean:
		for _, a := range graph.ReducedAxes(n, rank) {
			reduced[a] = true
		}
	case graph.GlobalAveragePool:
		reduced[2], reduced[3] = true, true
	default: // SumTo
		mean = false
		for a := range reduced {
			reduced[a] = y.shape[a] == 1
		}
	}
	var axes []kernels.SeparableAxis
	to := 1 // the axis of y
	for a := 1; a < rank; a++ {
		if !reduced[a] {
			axes = append(axes, line(x.shape[a], y.strides[to], func(i int) []kernels.AxisTap { return one(i * x.strides[a]) }))
			to++
			continue
		}
		weight := float32(1)
		if mean {
			weight /= float32(x.shape[a])
		}
		axes = append(axes, line(1, 0, func(int) (taps []kernels.AxisTap) {
			for i := range x.shape[a] {
				taps = append(taps, kernels.AxisTap{Offset: i * x.strides[a], Weight: weight})
			}
			return taps
		}))
		if len(y.shape) == rank {
			to++
		}
	}
	return p.separable(x, y, axes, 0, 0)
}

// reshape is another name for what lies row by row.
func reshape(p *planner, n *graph.Node) error {
	v, err := p.get(n.In[0])
	if err != nil {
		return err
	}
	x, err := p.as(n.In[0], rowMajor(v.shape), v.half)
	if err != nil {
		return err
	}
	x.shape = p.shapes[n.Out]
	x.strides = rowMajor(x.shape)
	p.values[n.Out] = []array{x}
	return nil
}

// pooled makes the kernel's parameters of a MaxPool of x to y.
func (p *planner) pooled(n *graph.Node, x, y graph.Shape) (kernels.MaxPool, *blob, error) {
	win, err := graph.PoolWindow(n)
	k := kernels.MaxPool{C: x[1], In: [2]int(x[2:]), Pooled: [2]int(y[2:])}
	return k, p.blob(kernels.Bytes(kernels.MaxPoolForm(win, k.C, k.In, k.Pooled))), err
}

// pixels is a value of four axes with its channels innermost, in whatever kind.
func (p *planner) pixels(name string) (array, error) {
	v, err := p.get(name)
	if err != nil {
		return v, err
	}
	return p.as(name, usual(v.shape), v.half)
}

func maxPool(p *planner, n *graph.Node) error {
	x, err := p.pixels(n.In[0])
	if err != nil {
		return err
	}
	p.now++
	p.use(x)
	y := p.output(nil, x.half)
	k, form, err := p.pooled(n, x.shape, y.shape)
	k.HalfX, k.HalfOut = x.half, y.half
	p.emit(func(b *batch) error {
		k.Images, k.Form, k.X, k.Out = b.images, form.at, b.at(x), b.at(y)
		return k.Enqueue(b)
	})
	return err
}

func maxPoolGrad(p *planner, n *graph.Node) error {
	dy, err := p.pixels(n.In[0])
	if err != nil {
		return err
	}
	x, err := p.pixels(n.In[1])
	if err != nil {
		return err
	}
	p.now++
	p.use(dy)
	p.use(x)
	dx := p.output(nil, dy.half)
	k, form, err := p.pooled(n, x.shape, dy.shape)
	k.HalfX, k.HalfGrad, k.HalfOut = x.half, dy.half, dx.half
	p.emit(func(b *batch) error {
		k.Images, k.Form, k.Grad, k.X, k.Out = b.images, form.at, b.at(dy), b.at(x), b.at(dx)
		return k.Enqueue(b)
	})
	return err
}

func softmax(p *planner, n *graph.Node) error {
	x, err := p.wide(n.In[0])
	if err != nil {
		return err
	}
	p.now++
	p.use(x)
	y := p.output(x.strides, false)
	axis := n.Axis(-1, len(x.shape))
	length := x.shape[axis]
	inner := x.strides[axis] // a dense tensor has all that lies further in below an axis's stride
	if length == 1 {
		inner = 1
	}
	p.emit(func(b *batch) error {
		return kernels.Softmax{
			Outer: b.images * x.shape.PerImage() / (length * inner), N: length, Inner: inner, X: b.at(x), Out: b.at(y),
		}.Enqueue(b)
	})
	return nil
}

func matMul(p *planner, n *graph.Node) error {
	if w := p.g.Consts[n.In[1]]; w != nil && len(w.Shape()) == 2 && p.g.Consts[n.In[0]] == nil {
		return p.project(n, swapped(nd.Data(w), w.Shape()[0], w.Shape()[1]), w.Shape()[1], nil)
	}
	a, err := p.wide(n.In[0])
	if err != nil {
		return err
	}
	b, err := p.wide(n.In[1])
	if err != nil {
		return err
	}
	return p.multiply(n, a, b)
}

// gemm puts alpha into B and beta into C.
func gemm(p *planner, n *graph.Node) error {
	b := p.g.Consts[n.In[1]]
	w, outs := scaled(nd.Data(b), n.Float("alpha", 1)), b.Shape()[0]
	if n.Int("transB", 0) == 0 {
		w, outs = swapped(w, b.Shape()[0], b.Shape()[1]), b.Shape()[1]
	}
	var bias []float32
	if len(n.In) == 3 && n.In[2] != "" {
		if bias = scaled(nd.Data(p.g.Consts[n.In[2]]), n.Float("beta", 1)); len(bias) == 1 {
			bias = slices.Repeat(bias, outs)
		}
	}
	return p.project(n, w, outs, bias)
}

// swapped is the transpose of a matrix.
func swapped(x []float32, rows, columns int) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i%columns*rows+i/columns] = v
	}
	return y
}

// project multiplies the rows of a value by the transpose of weights [outs,K]: a convolution of 1x1, its last axis being the
// channels.
func (p *planner) project(n *graph.Node, w []float32, outs int, bias []float32) error {
	x, err := p.get(n.In[0])
	if err != nil {
		return err
	}
	length := len(w) / outs
	_, err = kernels.ConvKindFor(length, outs, 1, true)
	half := p.half && err == nil
	if x, err = p.as(n.In[0], rowMajor(x.shape), half); err != nil {
		return err
	}
	rows := x.shape.PerImage() / length
	win := graph.Window{Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}
	size := [2]int{rows, 1}
	t, err := kernels.PlanConv(win, size, size, kernels.ConvWeights{Shape: [4]int{outs, length, 1, 1}, Groups: 1, Values: w}, half)
	if err != nil {
		return err
	}
	p.now++
	p.use(x)
	y := p.output(rowMajor(p.shapes[n.Out]), half)
	k := kernels.Conv{
		Kind: t.Kind, InPixels: rows, OutPixels: rows, C: length, N: outs, Groups: 1, Rows: rows, Steps: t.Steps, Lo: -infinite, Hi: infinite,
	}
	table, pieces := p.blob(t.TableBytes()), p.blob(t.PieceBytes())
	weights := p.made(kernels.Bytes(w), fmt.Sprint("project", outs, length, t.Layout), t.Pack)
	var constants *blob
	if bias != nil {
		constants = p.blob(kernels.Bytes(bias))
	}
	p.emit(func(b *batch) error {
		k.Images, k.X, k.Out, k.Table, k.Pieces, k.Weights = b.images, b.at(x), b.at(y), table.at, pieces.at, weights.at
		if constants != nil {
			k.Bias = constants.at
		}
		return k.Enqueue(b)
	})
	return nil
}

func scaled(x []float32, by float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = v * by
	}
	return y
}

// multiply emits the products of the matrices in the last two axes of a and b.
func (p *planner) multiply(n *graph.Node, a, b array) error {
	p.now++
	p.use(a)
	p.use(b)
	out := p.shapes[n.Out]
	y := p.output(rowMajor(out), false)
	rank, ra, rb := len(out), len(a.shape)-2, len(b.shape)-2
	k := kernels.MatMul{
		M: out[rank-2], N: out[rank-1], K: a.shape[ra+1], AM: a.strides[ra], AK: a.strides[ra+1], BK: b.strides[rb], BN: b.strides[rb+1],
	}
	matrices := out[1 : rank-2]
	k.Batch = nd.Size(matrices...)
	var places []int32
	for z := range k.Batch {
		places = append(places, place(a, z, matrices, rank), place(b, z, matrices, rank))
	}
	if a.data == nil {
		k.AImage = a.shape.PerImage()
	}
	if b.data == nil {
		k.BImage = b.shape.PerImage()
	}
	table := p.blob(kernels.Bytes(places))
	p.emit(func(r *batch) error {
		k.Images, k.A, k.B, k.Out, k.Places = r.images, r.at(a), r.at(b), r.at(y), table.at
		return k.Enqueue(r)
	})
	return nil
}

// place is where in an operand matrix number z of a batch of such extents begins, for results of a rank.
func place(v array, z int, batch []int, rank int) int32 {
	at := 0
	for i := len(batch) - 1; i >= 0; i-- {
		c := z % batch[i]
		z /= batch[i]
		if own := i + 1 - (rank - len(v.shape)); own >= 0 && v.shape[own] > 1 {
			at += c * v.strides[own]
		}
	}
	return int32(at)
}
