package onnx

import (
	"fmt"
	"math"
	"slices"

	"f2pad.example/engine/graph"
)

// maps is input 0, which must be [N,C,H,W], in this order.
func (x *importer) maps(in []*value) *value {
	v := x.exact(computed(in, 0))
	if v.rank() != 4 {
		fail("the input has %d axes, want 4", v.rank())
	}
	return v
}

// weights adds input i to the graph as it is; "" where it is left out.
func (x *importer) weights(in []*value, i int) string {
	c := known(in, i)
	if c == nil {
		return ""
	}
	return x.constant(c, c.shape...)
}

// readConv is for ConvTranspose, too.
func readConv(x *importer, n *node, in []*value) []*value {
	v, w := x.maps(in), known(in, 1)
	if len(w.shape) != 4 {
		fail("weights of shape %v", w.shape)
	}
	attr := graph.Attrs{}
	copyInts(n, attr, "kernel_shape", "strides", "dilations", "output_padding")
	if n.attr["group"] != nil {
		attr["group"] = n.int("group", 1)
	}
	if n.op == "ConvTranspose" && (n.attr["output_shape"] != nil || n.string("auto_pad", "NOTSET") != "NOTSET") {
		fail("output_shape and auto_pad are not supported")
	}
	x.pads(n, attr, v, w.shape[2:])
	args := []string{v.name, x.weights(in, 1)}
	if b := x.weights(in, 2); b != "" {
		args = append(args, b)
	}
	return x.result(v, graph.Op(n.op), attr, args...)
}

func copyInts(n *node, attr graph.Attrs, names ...string) {
	for _, name := range names {
		if list := n.ints(name); list != nil {
			attr[name] = list
		}
	}
}

// pads sets what auto_pad or pads says: SAME pads so that the output is the input divided by the stride, rounded up.
func (x *importer) pads(n *node, attr graph.Attrs, v *value, kernel []int) {
	auto := n.string("auto_pad", "NOTSET")
	if auto == "NOTSET" || auto == "" {
		copyInts(n, attr, "pads")
		return
	}
	if n.attr["pads"] != nil && slices.Max(append(n.ints("pads"), 0)) > 0 {
		fail("both pads and auto_pad are set")
	}
	pads := make([]int, 4)
	list := func(name string) []int {
		l := n.ints(name)
		if l == nil {
			return []int{1, 1}
		}
		return l
	}
	strides, dilations := list("strides"), list("dilations")
	if len(kernel) != 2 || len(strides) != 2 || len(dilations) != 2 {
		fail("kernel %v, strides %v and dilations %v: want 2 numbers each", kernel, strides, dilations)
	}
	for a := range 2 {
		k, s, d := kernel[a], strides[a], dilations[a]
		if min(k, s, d) < 1 || max(k, s, d) > maxSide {
			fail("kernel %v, strides %v and dilations %v: want numbers from 1 to %d", kernel, strides, dilations, maxSide)
		}
		extent := v.shape[2+a]
		all := max(0, ((extent+s-1)/s-1)*s+d*(k-1)+1-extent)
		switch auto {
		case "SAME_UPPER":
			pads[a], pads[2+a] = all/2, all-all/2
		case "SAME_LOWER":
			pads[a], pads[2+a] = all-all/2, all/2
		case "VALID":
		default:
			fail("auto_pad %q", auto)
		}
	}
	attr["pads"] = pads
}

func readPool(x *importer, n *node, in []*value) []*value {
	v, attr := x.maps(in), graph.Attrs{}
	copyInts(n, attr, "kernel_shape", "strides")
	x.pads(n, attr, v, n.ints("kernel_shape"))
	for _, name := range []string{"ceil_mode", "count_include_pad"} {
		if v := n.int(name, 0); v != 0 {
			attr[name] = v
		}
	}
	if n.int("storage_order", 0) != 0 && len(n.out) > 1 {
		fail("storage_order is not supported")
	}
	if dilations := n.ints("dilations"); dilations != nil && slices.Max(append(dilations, 1)) > 1 {
		if n.op == "AveragePool" {
			fail("dilations are not supported")
		}
		attr["dilations"] = dilations
	}
	return x.result(v, graph.Op(n.op), attr, v.name)
}

func readGlobalPool(x *importer, n *node, in []*value) []*value {
	v := x.maps(in)
	if n.op == "GlobalMaxPool" {
		return x.result(v, graph.MaxPool, graph.Attrs{"kernel_shape": slices.Clone([]int(v.shape[2:]))}, v.name)
	}
	return x.result(v, graph.GlobalAveragePool, nil, v.name)
}

func readBatchNormalization(x *importer, n *node, in []*value) []*value {
	v := computed(in, 0)
	if n.int("training_mode", 0) != 0 || x.m.opset < 14 && len(n.out) > 1 {
		fail("the model is in training mode")
	}
	if n.int("spatial", 1) == 0 {
		fail("statistics for every place are not supported")
	}
	if v.rank() < 2 || v.axis(1) != 1 {
		v = x.exact(v)
	}
	attr := graph.Attrs{"epsilon": n.float("epsilon", 1e-5)}
	args := []string{v.name}
	for i := 1; i < 5; i++ {
		args = append(args, x.weights(in, i))
	}
	return x.result(v, graph.BatchNormalization, attr, args...)
}

// standardised is (v - mean)/sqrt(variance + epsilon) over axes of the graph.
func (x *importer) standardised(v *value, axes []int, epsilon float32) string {
	mean := graph.Attrs{"axes": axes}
	centred := x.op(graph.Sub, nil, v.name, x.op(graph.ReduceMean, mean, v.name))
	variance := x.op(graph.ReduceMean, mean, x.op(graph.Mul, nil, centred, centred))
	deviation := x.op(graph.Sqrt, nil, x.op(graph.Add, nil, variance, x.scalar(epsilon)))
	return x.op(graph.Div, nil, centred, deviation)
}

func readLayerNormalization(x *importer, n *node, in []*value) []*value {
	v := computed(in, 0)
	if len(n.out) > 1 {
		fail("outputs for training are not supported")
	}
	var axes []int
	for a := frontAxis(n.int("axis", -1), v.rank()); a < v.rank(); a++ {
		axes = append(axes, v.axis(a))
	}
	y := x.like(v, x.op(graph.Mul, nil, x.standardised(v, axes, n.float("epsilon", 1e-5)), x.against(known(in, 1), v)))
	if b := known(in, 2); b != nil {
		return x.result(v, graph.Add, nil, y.name, x.against(b, v))
	}
	return []*value{y}
}

func readInstanceNormalization(x *importer, n *node, in []*value) []*value {
	v, scale, b := x.maps(in), known(in, 1), known(in, 2)
	y := x.standardised(v, []int{2, 3}, n.float("epsilon", 1e-5))
	y = x.op(graph.Mul, nil, y, x.constant(scale, scale.len(), 1, 1))
	return x.result(v, graph.Add, nil, y, x.constant(b, b.len(), 1, 1))
}

// readSoftmax: before opset 13 all axes from the given one on share one sum, which is the same where it is the last.
func readSoftmax(x *importer, n *node, in []*value) []*value {
	v, def := computed(in, 0), -1
	if x.m.opset < 13 {
		def = 1
	}
	axis := frontAxis(n.int("axis", def), v.rank())
	if x.m.opset < 13 && axis != v.rank()-1 {
		fail("over several axes is not supported")
	}
	return x.result(v, graph.Softmax, graph.Attrs{"axis": v.axis(axis)}, v.name)
}

// readReduce: ReduceMean, sums and 2-norms of values, products of constants.
func readReduce(x *importer, n *node, in []*value) []*value {
	v, axes := in[0], given(n, "axes", in, 1)
	if len(axes) == 0 && n.int("noop_with_empty_axes", 0) != 0 {
		return []*value{v}
	}
	if v.c != nil {
		if n.op != "ReduceProd" || len(v.c.shape) != 1 || !v.c.isInts || len(axes) == 1 && axes[0] != 0 && axes[0] != -1 {
			fail("of constants is not supported")
		}
		product := dim{v: 1}
		for _, d := range v.c.ints {
			product = integer("Mul", product, d)
		}
		c := &constant{isInts: true, ints: []dim{product}}
		if n.int("keepdims", 1) != 0 {
			c.shape = []int{1}
		}
		return []*value{{c: c}}
	}
	if len(axes) == 0 {
		fail("over all axes is not supported: it would mix the images")
	}
	var of []int
	reduced, count := make([]bool, v.rank()), 1
	for _, a := range axes {
		a = frontAxis(a, v.rank())
		if reduced[a] {
			fail("axes %v repeat one", axes)
		}
		reduced[a] = true
		of = append(of, v.axis(a))
		count *= v.extent(a).v
	}
	attr := graph.Attrs{"axes": of}
	var y *value
	switch n.op {
	case "ReduceMean":
		y = x.like(v, x.op(graph.ReduceMean, attr, v.name))
	case "ReduceSum":
		y = x.like(v, x.op(graph.Mul, nil, x.op(graph.ReduceMean, attr, v.name), x.scalar(float32(count))))
	case "ReduceL2":
		squares := x.op(graph.ReduceMean, attr, x.op(graph.Mul, nil, v.name, v.name))
		y = x.like(v, x.op(graph.Sqrt, nil, x.op(graph.Mul, nil, squares, x.scalar(float32(count)))))
	default:
		fail("of what is not known in advance is not supported")
	}
	if n.int("keepdims", 1) != 0 {
		return []*value{y}
	}
	return []*value{x.squeezed(y, axes)}
}

// readMatMul: a product with a constant matrix along channels-last maps, which the graph has as channels-first ones, is a
// 1x1 convolution.
func readMatMul(x *importer, _ *node, in []*value) []*value {
	a, b := in[0], in[1]
	if a.c != nil || a.rank() < 2 || b.rank() < 2 {
		if a.c == nil || b.c != nil || a.rank() < 2 || b.rank() < 2 {
			fail("of shapes with %d and %d axes, or of two constants, is not supported", a.rank(), b.rank())
		}
		b = x.exact(b)
		if len(a.c.shape) > b.rank() {
			fail("of %d axes by %d is not supported", a.rank(), b.rank())
		}
		return x.result(b, graph.MatMul, nil, x.constant(a.c, a.c.shape...), b.name)
	}
	if b.c == nil {
		a, b = x.settled(a), x.settled(b)
		if a.rank() != b.rank() || len(a.shape) != len(b.shape) || len(a.axes[0]) != len(b.axes[0]) {
			fail("of shapes %s and %s is not supported", describe(a.extents()), describe(b.extents()))
		}
		return x.result(a, graph.MatMul, nil, a.name, b.name)
	}
	last := a.axis(-1)
	switch {
	case len(b.c.shape) != 2:
		a = x.exact(a)
	case last == 1 && len(a.shape) == 4:
		return x.result(a, graph.Conv, nil, a.name, x.pointwise(b.c))
	case last != len(a.shape)-1:
		a = x.endingWith(a, last)
	}
	return x.result(a, graph.MatMul, nil, a.name, x.constant(b.c, b.c.shape...))
}

// pointwise turns a matrix [C,M] into a convolution's weights [M,C,1,1], once.
func (x *importer) pointwise(c *constant) string {
	key := fmt.Sprintf("pointwise %s", c.name)
	if name, ok := x.consts[key]; ok && c.name != "" {
		return name
	}
	w := x.permuted(c, []int{1, 0})
	name := x.constant(&constant{floats: w.floats, isInts: w.isInts, shape: w.shape}, w.shape[0], w.shape[1], 1, 1)
	x.consts[key] = name
	return name
}

func readGemm(x *importer, n *node, in []*value) []*value {
	v := computed(in, 0)
	if len(v.shape) > 2 { // the images are merged with other axes
		w, c := known(in, 1), known(in, 2)
		if n.int("transA", 0) != 0 || n.float("alpha", 1) != 1 || n.float("beta", 1) != 1 || len(w.shape) != 2 {
			fail("of merged axes is not supported")
		}
		if n.int("transB", 0) != 0 {
			w = x.permuted(w, []int{1, 0})
		}
		y := readMatMul(x, n, []*value{v, {c: w}})
		if c == nil {
			return y
		}
		return readBinary(x, &node{op: "Add"}, []*value{y[0], {c: c}})
	}
	v = x.exact(v)
	attr := graph.Attrs{"transA": n.int("transA", 0), "transB": n.int("transB", 0), "alpha": n.float("alpha", 1),
		"beta": n.float("beta", 1)}
	args := []string{v.name, x.weights(in, 1)}
	if c := x.weights(in, 2); c != "" {
		args = append(args, c)
	}
	return x.result(v, graph.Gemm, attr, args...)
}

// readUpsample is for Resize of opset 10, too. ONNX leaves their coordinates open; ONNX Runtime divides by the scale and
// takes what is below, when shrinking what is above.
func readUpsample(x *importer, n *node, in []*value) []*value {
	v, scales, mode := x.maps(in), known(in, 1), n.string("mode", "nearest")
	if scales.isInts || len(scales.floats) != 4 {
		fail("%d scales, want 4 real numbers", scales.len())
	}
	for _, s := range scales.floats {
		if s < 1 && n.op == "Upsample" {
			fail("a scale of %g: want at least 1", s)
		}
		if inverse := 1 / float64(s); s < 1 && mode == "nearest" && inverse != math.Trunc(inverse) {
			fail("the nearest elements for a scale of %g are not the same everywhere", s)
		}
	}
	return x.result(v, graph.Resize, graph.Attrs{"mode": mode, "coordinate_transformation_mode": "asymmetric",
		"nearest_mode": "floor", "scales": slices.Clone(scales.floats)}, v.name)
}

func readResize(x *importer, n *node, in []*value) []*value {
	v := x.maps(in)
	mode := n.string("coordinate_transformation_mode", "half_pixel")
	for _, name := range []string{"antialias", "exclude_outside"} {
		if n.int(name, 0) != 0 {
			fail("%s is not supported", name)
		}
	}
	if policy := n.string("keep_aspect_ratio_policy", "stretch"); policy != "stretch" {
		fail("the policy %q is not supported", policy)
	}
	attr := graph.Attrs{"mode": n.string("mode", "nearest"), "coordinate_transformation_mode": mode,
		"nearest_mode": n.string("nearest_mode", "round_prefer_floor")}
	axes := n.ints("axes")
	if axes == nil {
		axes = []int{0, 1, 2, 3}
	}
	scales, sizes := known(in, 2), known(in, 3)
	switch {
	case sizes != nil && sizes.len() > 0:
		if !sizes.isInts || len(sizes.ints) != len(axes) {
			fail("sizes for axes %v", axes)
		}
		want := slices.Clone([]int(v.shape))
		for i, a := range axes {
			d := sizes.ints[i]
			if a = frontAxis(a, 4); a == 0 && (d.n && d.v == 1 || !d.n && (d.v == max(x.batch, 1))) {
				continue
			}
			if want[a] = d.v; d.n || a == 0 {
				fail("sizes %s change the number of images or depend on it", describe(sizes.ints))
			}
		}
		attr["sizes"] = want
	case scales != nil && !scales.isInts && len(scales.floats) == len(axes):
		all := []float32{1, 1, 1, 1}
		for i, a := range axes {
			all[frontAxis(a, 4)] = scales.floats[i]
		}
		attr["scales"] = all
	default:
		fail("neither sizes nor scales")
	}
	if mode == "pytorch_half_pixel" { // differs where one pixel is left only, in which it takes the first
		attr["coordinate_transformation_mode"] = "half_pixel"
		y := x.result(v, graph.Resize, attr, v.name)
		for a := 2; a < 4; a++ {
			if y[0].shape[a] == 1 && v.shape[a] > 1 {
				fail("pytorch_half_pixel to an extent of 1 is not supported")
			}
		}
		return y
	}
	return x.result(v, graph.Resize, attr, v.name)
}
