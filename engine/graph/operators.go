package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// role says what an input of an operator must be.
type role string

const (
	either   role = ""
	value    role = "value, not a constant"
	constant role = "constant"
)

// operator is what Infer knows about one.
type operator struct {
	min, max int    // number of inputs
	roles    []role // of the first inputs; any more may be either
	attrs    map[string]kind
	infer    func(n *Node, in []Shape) (Shape, error)
}

const anyNumber = math.MaxInt

// operators is the table in the doc comments of the Op constants, for the machine. It is never written to.
var operators = map[Op]operator{
	Conv: {2, 3, []role{value, constant, constant}, convAttrs, inferConv},
	ConvTranspose: {2, 3, []role{value, constant, constant},
		with(convAttrs, "output_padding", someInts), inferConvTranspose},
	BatchNormalization: {5, 5, []role{value, constant, constant, constant, constant},
		attrs("epsilon", aFloat), inferBatchNormalization},

	Relu:        unary(),
	LeakyRelu:   unary("alpha", aFloat),
	Clip:        {1, 1, nil, attrs("min", aFloat, "max", aFloat), inferClip},
	Sigmoid:     unary(),
	HardSigmoid: unary("alpha", aFloat, "beta", aFloat),
	HardSwish:   unary(),
	Tanh:        unary(),
	Exp:         unary(),
	Log:         unary(),
	Sqrt:        unary(),
	Abs:         unary(),
	Erf:         unary(),
	Sign:        unary(),
	Step:        {1, 1, nil, attrs("min", aFloat, "max", aFloat), inferClip},

	Add: binary,
	Sub: binary,
	Mul: binary,
	Div: binary,

	Concat:            {1, anyNumber, nil, attrs("axis", anInt), inferConcat},
	Slice:             {1, 1, nil, sliceAttrs, first(inferSlice)},
	Pad:               {1, 1, nil, padAttrs, first(inferPad)},
	MaxPool:           {1, 1, nil, maxPoolAttrs, first(inferPool)},
	AveragePool:       {1, 1, nil, averagePoolAttrs, first(inferPool)},
	GlobalAveragePool: {1, 1, nil, nil, inferGlobalAveragePool},
	Resize:            {1, 1, nil, resizeAttrs, first(inferResize)},
	MatMul:            {2, 2, nil, nil, inferMatMul},
	Gemm: {2, 3, []role{value, constant, constant},
		attrs("transA", aFlag, "transB", aFlag, "alpha", aFloat, "beta", aFloat), inferGemm},
	Reshape:    {1, 1, nil, attrs("shape", someInts), inferReshape},
	Transpose:  {1, 1, nil, attrs("perm", someInts), inferTranspose},
	ReduceMean: {1, 1, nil, attrs("axes", someInts, "keepdims", aFlag), inferReduceMean},
	Softmax:    {1, 1, nil, attrs("axis", anInt), inferSoftmax},

	MaxPoolGrad:     {2, 2, []role{value, value}, maxPoolAttrs, inferMaxPoolGrad},
	AveragePoolGrad: adjoint(averagePoolAttrs, inferPool),
	ResizeGrad:      adjoint(resizeAttrs, inferResize),
	PadGrad:         adjoint(padAttrs, inferPad),
	SliceGrad:       adjoint(sliceAttrs, inferSlice),
	SumTo:           adjoint(nil, nil),
}

var (
	convAttrs = attrs("kernel_shape", someInts, "strides", someInts, "pads", someInts, "dilations", someInts, "group", anInt)
	poolAttrs = attrs("kernel_shape", someInts, "strides", someInts, "pads", someInts, "ceil_mode", aFlag)

	maxPoolAttrs     = with(poolAttrs, "dilations", someInts)
	averagePoolAttrs = with(poolAttrs, "count_include_pad", aFlag)
	sliceAttrs       = attrs("starts", someInts, "ends", someInts, "axes", someInts, "steps", someInts)
	padAttrs         = attrs("pads", someInts, "mode", aString, "value", aFloat)
	resizeAttrs      = attrs("scales", someReal, "sizes", someInts, "mode", aString,
		"coordinate_transformation_mode", aString, "nearest_mode", aString)
	binary = operator{2, 2, nil, nil, inferBinary}
)

func attrs(pairs ...any) map[string]kind { return with(nil, pairs...) }

// with copies the attributes and adds pairs of name and kind.
func with(base map[string]kind, pairs ...any) map[string]kind {
	m := map[string]kind{}
	for name, k := range base {
		m[name] = k
	}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1].(kind)
	}
	return m
}

func unary(pairs ...any) operator {
	return operator{1, 1, nil, attrs(pairs...), func(_ *Node, in []Shape) (Shape, error) { return in[0], nil }}
}

func first(infer func(*Node, Shape) (Shape, error)) func(*Node, []Shape) (Shape, error) {
	return func(n *Node, in []Shape) (Shape, error) { return infer(n, in[0]) }
}

// adjoint is the backward operator of one that takes shape_in to forward(shape_in).
func adjoint(base map[string]kind, forward func(*Node, Shape) (Shape, error)) operator {
	return operator{1, 1, nil, with(base, "shape_in", someInts), func(n *Node, in []Shape) (Shape, error) {
		x := Shape(n.Ints("shape_in", nil))
		if err := checkValue(x); err != nil {
			return nil, fmt.Errorf("shape_in: %w", err)
		}
		if forward == nil { // SumTo: the forward is broadcasting to the shape of dY
			y, err := Broadcast(x, in[0])
			if err != nil || len(x) != len(in[0]) {
				return nil, fmt.Errorf("shape_in %v does not broadcast to %v", x, in[0])
			}
			return x, wantShape("dY", in[0], y...)
		}
		y, err := forward(n, x)
		if err != nil {
			return nil, err
		}
		return x, wantShape("dY", in[0], y...)
	}}
}

func inferConv(n *Node, in []Shape) (Shape, error) {
	x, w, b := in[0], in[1], in[2]
	win, group, err := convOperands(n, x, w)
	if err != nil {
		return nil, err
	}
	if x[1] != w[1]*group || w[0]%group != 0 {
		return nil, fmt.Errorf("weights %v and group %d do not fit the input %v", w, group, x)
	}
	if b != nil {
		if err := wantShape("bias", b, w[0]); err != nil {
			return nil, err
		}
	}
	return slide(win, x, w[0])
}

func inferConvTranspose(n *Node, in []Shape) (Shape, error) {
	x, w, b := in[0], in[1], in[2]
	win, group, err := convOperands(n, x, w)
	if err != nil {
		return nil, err
	}
	if x[1] != w[0] || w[0]%group != 0 {
		return nil, fmt.Errorf("weights %v and group %d do not fit the input %v", w, group, x)
	}
	y := Shape{N, w[1] * group, 0, 0}
	if b != nil {
		if err := wantShape("bias", b, y[1]); err != nil {
			return nil, err
		}
	}
	extra := n.Ints("output_padding", []int{0, 0})
	if len(extra) != 2 {
		return nil, fmt.Errorf("output_padding %v: want 2 numbers", extra)
	}
	for a := range 2 {
		if extra[a] < 0 || extra[a] >= win.Stride[a] {
			return nil, fmt.Errorf("output_padding %v must be at least 0 and less than the strides %v", extra, win.Stride)
		}
		y[2+a] = win.TransposedOut(a, x[2+a], extra[a])
	}
	return y, nil
}

func convOperands(n *Node, x, w Shape) (Window, int, error) {
	if err := wantRank("input", x, 4); err != nil {
		return Window{}, 0, err
	}
	if err := wantRank("weights", w, 4); err != nil {
		return Window{}, 0, err
	}
	group := n.Int("group", 1)
	if group < 1 || group > w[0] {
		return Window{}, 0, fmt.Errorf("group is %d", group)
	}
	win, err := ConvWindow(n, w)
	return win, group, err
}

// slide is the shape of what a window makes of x, with the given number of channels.
func slide(win Window, x Shape, channels int) (Shape, error) {
	y := Shape{N, channels, win.Out(0, x[2]), win.Out(1, x[3])}
	if y[2] < 1 || y[3] < 1 {
		return nil, fmt.Errorf("no window of %v (dilations %v) fits the padded input %v", win.Kernel, win.Dilation, x)
	}
	return y, nil
}

func inferBatchNormalization(n *Node, in []Shape) (Shape, error) {
	x := in[0]
	if len(x) < 2 {
		return nil, fmt.Errorf("input has shape %v, want at least 2 axes", x)
	}
	for i, what := range []string{"scale", "B", "mean", "var"} {
		if err := wantShape(what, in[i+1], x[1]); err != nil {
			return nil, err
		}
	}
	if eps := n.Float("epsilon", 1e-5); !(eps >= 0 && eps < math.MaxFloat32) {
		return nil, fmt.Errorf("epsilon is %g", eps)
	}
	return x, nil
}

func inferClip(n *Node, in []Shape) (Shape, error) {
	lo, hi := n.Float("min", float32(math.Inf(-1))), n.Float("max", float32(math.Inf(1)))
	if lo > hi {
		return nil, fmt.Errorf("min %g exceeds max %g", lo, hi)
	}
	return in[0], nil
}

func inferBinary(_ *Node, in []Shape) (Shape, error) {
	y, err := Broadcast(in[0], in[1])
	if err != nil {
		return nil, err
	}
	if slices.Contains(y[1:], N) {
		return nil, fmt.Errorf("broadcasting %v and %v moves axis 0", in[0], in[1])
	}
	return y, nil
}

func inferConcat(n *Node, in []Shape) (Shape, error) {
	if !n.HasAttr("axis") {
		return nil, errors.New("axis is not set")
	}
	y := slices.Clone(in[0])
	axis, err := innerAxis(n.Int("axis", 0), len(y))
	if err != nil {
		return nil, err
	}
	for i, x := range in {
		if x == nil {
			return nil, fmt.Errorf("input %d is left out", i)
		}
		if len(x) != len(y) {
			return nil, fmt.Errorf("shapes %v and %v differ in rank", in[0], x)
		}
		for a := range x {
			if a != axis && x[a] != y[a] {
				return nil, fmt.Errorf("shapes %v and %v differ off axis %d", in[0], x, axis)
			}
		}
		if i > 0 {
			y[axis] += x[axis]
		}
		if y[axis] > MaxElements {
			return nil, fmt.Errorf("more than %d elements along axis %d", MaxElements, axis)
		}
	}
	return y, nil
}

// innerAxis counts an axis from the front and refuses axis 0.
func innerAxis(axis, rank int) (int, error) {
	a := fromFront(axis, rank)
	if a < 0 || a >= rank {
		return 0, fmt.Errorf("axis %d does not exist among %d", axis, rank)
	}
	if a == 0 {
		return 0, errors.New("axis 0 holds the images and must stay apart")
	}
	return a, nil
}

// innerAxes is innerAxis for a list without repetitions.
func innerAxes(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		var err error
		if out[i], err = innerAxis(a, rank); err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], out[i]) {
			return nil, fmt.Errorf("axes %v repeat axis %d", axes, out[i])
		}
	}
	return out, nil
}

// Steps is a Slice resolved for an input: along each axis, output o reads input Start[a] + o*Step[a].
type Steps struct{ Start, Step []int }

// ResolveSlice resolves the attributes of a Slice or SliceGrad for the input x and returns the output's shape. As in
// ONNX, negative starts and ends count from the end and are clamped.
func ResolveSlice(n *Node, x Shape) (Steps, Shape, error) {
	starts, ends, axes := n.Ints("starts", nil), n.Ints("ends", nil), n.Ints("axes", nil)
	steps := n.Ints("steps", nil)
	if len(axes) == 0 || len(starts) != len(axes) || len(ends) != len(axes) || (steps != nil && len(steps) != len(axes)) {
		return Steps{}, nil, fmt.Errorf("starts %v, ends %v, axes %v, steps %v differ in length or are not set",
			starts, ends, axes, steps)
	}
	axes, err := innerAxes(axes, len(x))
	if err != nil {
		return Steps{}, nil, err
	}
	s := Steps{make([]int, len(x)), make([]int, len(x))}
	for a := range x {
		s.Step[a] = 1
	}
	y := slices.Clone(x)
	for i, a := range axes {
		if steps != nil {
			s.Step[a] = steps[i]
		}
		if s.Step[a] < 1 {
			return Steps{}, nil, fmt.Errorf("steps %v: want at least 1", steps)
		}
		clamp := func(v int) int { return min(max(fromFront(v, x[a]), 0), x[a]) }
		from, to := clamp(starts[i]), clamp(ends[i])
		if from >= to {
			return Steps{}, nil, fmt.Errorf("nothing of axis %d (extent %d) lies from %d to %d", a, x[a], starts[i], ends[i])
		}
		s.Start[a] = from
		y[a] = (to-from-1)/s.Step[a] + 1
	}
	return s, y, nil
}

func inferSlice(n *Node, x Shape) (Shape, error) {
	_, y, err := ResolveSlice(n, x)
	return y, err
}

func inferPad(n *Node, x Shape) (Shape, error) {
	mode := n.String("mode", "constant")
	if err := oneOf("mode", mode, "constant reflect edge"); err != nil {
		return nil, err
	}
	pads := n.Ints("pads", nil)
	if len(pads) != 2*len(x) {
		return nil, fmt.Errorf("pads %v: want %d numbers", pads, 2*len(x))
	}
	if pads[0] != 0 || pads[len(x)] != 0 {
		return nil, fmt.Errorf("pads %v change axis 0", pads)
	}
	y := slices.Clone(x)
	for i, p := range pads {
		a := i % len(x)
		if p < 0 || p > maxParameter {
			return nil, fmt.Errorf("pads %v: want numbers from 0 to %d", pads, maxParameter)
		}
		if mode == "reflect" && a > 0 && p >= x[a] {
			return nil, fmt.Errorf("reflecting %d elements needs an extent above that, axis %d has %d", p, a, x[a])
		}
		if a > 0 {
			y[a] += p
		}
	}
	return y, nil
}

// PadSource returns which of in elements coordinate o of a padded axis reads, begin being the padding before it; -1 where
// it is the constant. mode is Pad's.
func PadSource(mode string, o, begin, in int) int {
	i := o - begin
	switch {
	case i >= 0 && i < in:
		return i
	case mode == "edge":
		return min(max(i, 0), in-1)
	case mode == "reflect" && i < 0:
		return -i
	case mode == "reflect":
		return 2*(in-1) - i
	}
	return -1
}

func inferPool(n *Node, x Shape) (Shape, error) {
	if err := wantRank("input", x, 4); err != nil {
		return nil, err
	}
	win, err := PoolWindow(n)
	if err != nil {
		return nil, err
	}
	for a := range 2 {
		if win.Kernel[a] > 1 && win.Dilation[a] > x[2+a] {
			return nil, fmt.Errorf("dilations %v exceed the input %v: a window could hold padding only", win.Dilation, x)
		}
	}
	return slide(win, x, x[1])
}

func inferGlobalAveragePool(_ *Node, in []Shape) (Shape, error) {
	if err := wantRank("input", in[0], 4); err != nil {
		return nil, err
	}
	return Shape{N, in[0][1], 1, 1}, nil
}

func inferMatMul(_ *Node, in []Shape) (Shape, error) {
	a, b := in[0], in[1]
	if len(a) < 2 || len(b) < 2 {
		return nil, fmt.Errorf("shapes %v and %v: want at least 2 axes each", a, b)
	}
	ra, rb := len(a)-2, len(b)-2
	if a[ra+1] != b[rb] || b[rb] == N {
		return nil, fmt.Errorf("shapes %v and %v do not multiply", a, b)
	}
	batch, err := Broadcast(a[:ra], b[:rb])
	if err != nil {
		return nil, err
	}
	y := append(batch, a[ra], b[rb+1])
	if slices.Contains(y[1:], N) {
		return nil, fmt.Errorf("multiplying %v and %v moves axis 0", a, b)
	}
	return y, nil
}

func inferGemm(n *Node, in []Shape) (Shape, error) {
	a, b, c := in[0], in[1], in[2]
	if n.Int("transA", 0) != 0 {
		return nil, errors.New("transA would move axis 0")
	}
	if err := wantRank("A", a, 2); err != nil {
		return nil, err
	}
	if err := wantRank("B", b, 2); err != nil {
		return nil, err
	}
	k, m := b[0], b[1]
	if n.Int("transB", 0) != 0 {
		k, m = m, k
	}
	if a[1] != k {
		return nil, fmt.Errorf("shapes %v and %v do not multiply (transB %d)", a, b, n.Int("transB", 0))
	}
	y := Shape{N, m}
	if c != nil {
		if sum, err := Broadcast(y, c); err != nil || !sum.Equal(y) {
			return nil, fmt.Errorf("addend C of shape %v does not broadcast to %v", c, y)
		}
	}
	return y, nil
}

func inferReshape(n *Node, in []Shape) (Shape, error) {
	x, want := in[0], n.Ints("shape", nil)
	if len(want) == 0 || (want[0] != 0 && want[0] != N) {
		return nil, fmt.Errorf("shape %v must begin with 0 or -1, which stand for N", want)
	}
	y := append(Shape{N}, want[1:]...)
	open, n1 := 0, 1
	for a := 1; a < len(y); a++ {
		switch {
		case y[a] == 0 && a < len(x):
			y[a] = x[a]
		case y[a] == -1 && open == 0:
			open = a
			continue
		}
		if y[a] < 1 || y[a] > MaxElements/n1 {
			return nil, fmt.Errorf("shape %v: extent %d cannot be %d", want, a, want[a])
		}
		n1 *= y[a]
	}
	if open > 0 {
		y[open] = x.PerImage() / n1
		n1 *= y[open]
	}
	if n1 != x.PerImage() {
		return nil, fmt.Errorf("shape %v does not hold one image's elements of %v: axis 0 must stay apart", want, x)
	}
	return y, nil
}

func inferTranspose(n *Node, in []Shape) (Shape, error) {
	x, perm := in[0], n.Ints("perm", nil)
	if len(perm) != len(x) || perm[0] != 0 {
		return nil, fmt.Errorf("perm %v: want the %d axes with 0 first", perm, len(x))
	}
	if _, err := innerAxes(perm[1:], len(x)); err != nil {
		return nil, err
	}
	y := make(Shape, len(x))
	for i, a := range perm {
		if a < 0 {
			return nil, fmt.Errorf("perm %v has a negative axis", perm)
		}
		y[i] = x[a]
	}
	return y, nil
}

func inferReduceMean(n *Node, in []Shape) (Shape, error) {
	x := in[0]
	if len(n.Ints("axes", nil)) == 0 {
		return nil, errors.New("axes are not set: it would reduce axis 0")
	}
	axes, err := innerAxes(n.Ints("axes", nil), len(x))
	if err != nil {
		return nil, err
	}
	var y Shape
	for a, d := range x {
		switch {
		case !slices.Contains(axes, a):
			y = append(y, d)
		case n.Int("keepdims", 1) != 0:
			y = append(y, 1)
		}
	}
	return y, nil
}

// ReducedAxes are the axes of a ReduceMean over an operand of the given rank, counted from the front.
func ReducedAxes(n *Node, rank int) []int {
	axes := slices.Clone(n.Ints("axes", nil))
	for i, a := range axes {
		axes[i] = fromFront(a, rank)
	}
	return axes
}

func inferSoftmax(n *Node, in []Shape) (Shape, error) {
	_, err := innerAxis(n.Int("axis", -1), len(in[0]))
	return in[0], err
}

func inferMaxPoolGrad(n *Node, in []Shape) (Shape, error) {
	y, err := inferPool(n, in[1])
	if err != nil {
		return nil, err
	}
	return in[1], wantShape("dY", in[0], y...)
}
