package onnx

import (
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

func readIdentity(_ *importer, _ *node, in []*value) []*value { return in[:1] }

func readDropout(_ *importer, _ *node, in []*value) []*value {
	if training := known(in, 2); training != nil && (len(training.ints) != 1 || training.ints[0].v != 0) {
		fail("the model is in training mode")
	}
	return in[:1]
}

// readCast: values stay float32; integers and truth values are known in advance.
func readCast(x *importer, n *node, in []*value) []*value {
	to := elemType(n.int("to", 0))
	if in[0].c != nil {
		return []*value{{c: x.cast(in[0].c, to)}}
	}
	if !to.isFloat() {
		fail("to type %d is not supported", to)
	}
	return in[:1]
}

func (x *importer) cast(c *constant, to elemType) *constant {
	if to.bytesPer() == 0 {
		fail("to type %d is not supported", to)
	}
	if c.isInts && !to.isFloat() {
		if to == elemBool {
			return x.constantBinary("Equal", x.constantBinary("Equal", c, &constant{isInts: true, ints: []dim{{}}}),
				&constant{isInts: true, ints: []dim{{}}})
		}
		return c
	}
	if !c.isInts && to.isFloat() {
		return c
	}
	x.spend(c.len(), !c.isInts)
	y := &constant{shape: c.shape, isInts: !c.isInts}
	if c.isInts {
		y.floats = make([]float32, 0, c.len())
	} else {
		y.ints = make([]dim, 0, c.len())
	}
	for _, d := range c.ints {
		if d.n {
			fail("a real number depends on the number of images")
		}
		y.floats = append(y.floats, float32(d.v))
	}
	for _, v := range c.floats {
		if !(v > -maxInteger && v < maxInteger) {
			fail("%g as an integer", v)
		}
		i := int(v)
		if to == elemBool && v != 0 {
			i = 1
		}
		y.ints = append(y.ints, dim{v: i})
	}
	return y
}

// readConcat: a constant among values is as a value of which it is a part: the others are padded with zeros, and it is
// added in their place.
func readConcat(x *importer, n *node, in []*value) []*value {
	if n.attr["axis"] == nil {
		fail("axis is not set")
	}
	axis := n.int("axis", 0)
	var constants []*constant
	var like *value
	for _, v := range in {
		switch {
		case v == nil:
			fail("an input is left out")
		case v.c != nil:
			constants = append(constants, v.c)
		case like == nil:
			like = v
		}
	}
	if like == nil {
		return []*value{{c: x.joined(axis, constants)}}
	}
	at := like.axis(axis)
	axis = frontAxis(axis, like.rank())
	var parts []string
	before, after := 0, 0
	for i, v := range in {
		if v.rank() != like.rank() {
			fail("the inputs differ in rank")
		}
		if v.c == nil {
			aligned, _ := x.alignedTo(v, like)
			parts = append(parts, aligned.name)
			after = 0
			continue
		}
		if len(parts) == 0 {
			before += v.c.shape[axis]
		} else if after += v.c.shape[axis]; i < len(in)-1 && slices.ContainsFunc(in[i+1:], func(v *value) bool {
			return v != nil && v.c == nil
		}) {
			fail("constants between computed values are not supported")
		}
	}
	y := like
	if before+after == 0 {
		return x.result(like, graph.Concat, graph.Attrs{"axis": at}, parts...)
	}
	if len(parts) > 1 {
		y = x.like(like, x.op(graph.Concat, graph.Attrs{"axis": at}, parts...))
	}
	pads := make([]int, 2*len(y.shape))
	pads[at], pads[len(y.shape)+at] = before, after
	inside := y.shape[at]
	y = x.like(y, x.op(graph.Pad, graph.Attrs{"pads": pads}, y.name))
	// The constants and zeros in the place of the values, over the extents of the tensor.
	whole := make([]int, y.rank())
	for a := range whole {
		if d := y.extent(a); !d.n {
			whole[a] = d.v
		} else {
			whole[a] = 1
		}
	}
	sized := func(extent int) []int {
		shape := slices.Clone(whole)
		shape[axis] = extent
		return shape
	}
	var all []*constant
	placed := false
	for _, v := range in {
		if v.c != nil {
			c := v.c
			if i := y.images(); c.shape[i] != 1 {
				fail("a constant of shape %v differs between images", c.shape)
			}
			if !slices.Equal(c.shape, sized(c.shape[axis])) || c.isInts {
				fail("a constant of shape %v does not fit beside %v", c.shape, whole)
			}
			all = append(all, c)
			continue
		}
		if !placed {
			count := nd.Size(sized(inside)...)
			x.spend(count, false)
			all = append(all, numbers(make([]float32, count), sized(inside)...))
			placed = true
		}
	}
	return x.result(y, graph.Add, nil, y.name, x.against(x.joined(axis, all), y))
}

// alignedTo brings v to the order of like's axes in the graph.
func (x *importer) alignedTo(v, like *value) (*value, *value) {
	if slices.Equal(v.order(), like.order()) && len(v.axes) == len(like.axes) {
		return v, like
	}
	if v.images() != like.images() || len(v.order()) != len(like.order()) {
		fail("the images lie on different axes")
	}
	perm := make([]int, len(like.order()))
	for i, at := range like.order() {
		perm[at] = v.order()[i]
	}
	name := x.transpose(v.name, perm)
	return &value{name: name, shape: x.b.Shape(name), axes: like.axes}, like
}

func readSplit(x *importer, n *node, in []*value) []*value {
	axis := n.int("axis", 0)
	axis = frontAxis(axis, in[0].rank())
	extent := in[0].extent(axis)
	if extent.n {
		fail("axis %d holds the images", axis)
	}
	sizes := given(n, "split", in, 1)
	if sizes == nil {
		parts := n.int("num_outputs", len(n.out))
		if parts != len(n.out) {
			fail("num_outputs is %d, but there are %d", parts, len(n.out))
		}
		each := (extent.v + parts - 1) / parts
		for at := 0; at < extent.v; at += each {
			sizes = append(sizes, min(each, extent.v-at))
		}
	}
	if len(sizes) != len(n.out) {
		fail("%d parts for %d outputs", len(sizes), len(n.out))
	}
	var out []*value
	at := 0
	for _, s := range sizes {
		if s < 0 || s > extent.v-at {
			fail("parts %v of an extent of %d", sizes, extent.v)
		}
		out = append(out, x.cut(in[0], axis, at, at+s, 1))
		at += s
	}
	return out
}

// cut takes a part of a tensor along one axis.
func (x *importer) cut(v *value, axis, start, end, step int) *value {
	if v.c != nil {
		return &value{c: x.sliced(v.c, axis, start, end, step)}
	}
	extent := v.extent(axis)
	if extent.n {
		if start == 0 && step == 1 && end >= maxElements { // all images
			return v
		}
		fail("axis %d holds the images", axis)
	}
	first, count := sliceRange(extent.v, start, end, step)
	if first == 0 && count == extent.v && step == 1 {
		return v
	}
	if step < 1 {
		if count > maxPieces {
			fail("of more than %d slices is not supported", maxPieces)
		}
		list := make([]int, count)
		for i := range list {
			list[i] = first + i*step
		}
		return x.gathered(v, axis, list)
	}
	attr := graph.Attrs{"starts": []int{first}, "ends": []int{first + (count-1)*step + 1}, "axes": []int{v.axis(axis)},
		"steps": []int{step}}
	if count == 0 {
		fail("nothing is left of axis %d", axis)
	}
	return x.like(v, x.op(graph.Slice, attr, v.name))
}

func readSlice(x *importer, n *node, in []*value) []*value {
	starts, ends := given(n, "starts", in, 1), given(n, "ends", in, 2)
	axes, steps := given(n, "axes", in, 3), given(n, "steps", in, 4)
	if axes == nil {
		axes = make([]int, len(starts))
		for i := range axes {
			axes[i] = i
		}
	}
	if steps == nil {
		steps = slices.Repeat([]int{1}, len(starts))
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) {
		fail("starts %v, ends %v, axes %v and steps %v differ in length", starts, ends, axes, steps)
	}
	v := in[0]
	for i := range starts {
		v = x.cut(v, frontAxis(axes[i], v.rank()), starts[i], ends[i], steps[i])
	}
	return []*value{v}
}

// readGather: of values only what a Slice can do.
func readGather(x *importer, n *node, in []*value) []*value {
	v, index := in[0], known(in, 1)
	axis := frontAxis(n.int("axis", 0), v.rank())
	extent := v.extent(axis)
	list := index.list()
	if extent.n {
		fail("axis %d holds the images", axis)
	}
	for i, at := range list {
		if at < 0 {
			list[i] += extent.v
		}
		if list[i] < 0 || list[i] >= extent.v {
			fail("element %d of %d", at, extent.v)
		}
	}
	if v.c != nil {
		shape := slices.Concat(v.c.shape[:axis], index.shape, v.c.shape[axis+1:])
		from := make([]int, len(v.c.shape))
		return []*value{{c: x.pick(v.c, shape, func(at []int) int {
			copy(from, at[:axis])
			from[axis] = list[offset(index.shape, at[axis:axis+len(index.shape)])]
			copy(from[axis+1:], at[axis+len(index.shape):])
			return offset(v.c.shape, from)
		})}}
	}
	if len(index.shape) > 1 {
		fail("by an index of shape %v is not supported", index.shape)
	}
	y := x.gathered(v, axis, list)
	if len(index.shape) == 0 {
		y = x.squeezed(y, []int{axis})
	}
	return []*value{y}
}

// maxPieces bounds the slices that a Gather is made of, and lists of axes and of parts.
const maxPieces = 1 << 10

// gathered has the listed elements of an axis: slices of those that lie at equal steps, side by side.
func (x *importer) gathered(v *value, axis int, list []int) *value {
	if len(list) == 0 {
		fail("nothing is left of axis %d", axis)
	}
	var parts []*value
	for len(list) > 0 {
		n, step := 1, 1
		if len(list) > 1 && list[1] > list[0] {
			step = list[1] - list[0]
			for n < len(list) && list[n] == list[0]+n*step {
				n++
			}
		}
		if parts = append(parts, x.cut(v, axis, list[0], list[n-1]+1, step)); len(parts) > maxPieces {
			fail("of more than %d slices is not supported", maxPieces)
		}
		list = list[n:]
	}
	if len(parts) == 1 {
		return parts[0]
	}
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return x.like(v, x.op(graph.Concat, graph.Attrs{"axis": v.axis(axis)}, names...))
}

func readPad(x *importer, n *node, in []*value) []*value {
	v, pads, axes := computed(in, 0), given(n, "pads", in, 1), given(n, "axes", in, 3)
	if axes == nil {
		axes = make([]int, v.rank())
		for a := range axes {
			axes[a] = a
		}
	}
	if len(pads) != 2*len(axes) {
		fail("pads %v for axes %v", pads, axes)
	}
	rank := len(v.shape)
	attr := graph.Attrs{"pads": make([]int, 2*rank), "mode": n.string("mode", "constant")}
	for i, a := range axes {
		before, after := pads[i], pads[len(axes)+i]
		if before == 0 && after == 0 {
			continue
		}
		at := v.axis(a)
		attr["pads"].([]int)[at], attr["pads"].([]int)[rank+at] = before, after
	}
	if n.attr["value"] != nil {
		attr["value"] = n.float("value", 0)
	}
	if c := known(in, 2); c != nil {
		attr["value"] = c.number()
	}
	return x.result(v, graph.Pad, attr, v.name)
}

// readTranspose only takes note of the new order.
func readTranspose(x *importer, n *node, in []*value) []*value {
	rank := in[0].rank()
	perm := n.ints("perm")
	if perm == nil {
		for a := range rank {
			perm = append(perm, rank-1-a)
		}
	}
	if len(perm) != rank {
		fail("perm %v of %d axes", perm, rank)
	}
	seen := make([]bool, rank)
	for _, a := range perm {
		if a < 0 || a >= rank || seen[a] {
			fail("perm %v of %d axes", perm, rank)
		}
		seen[a] = true
	}
	if in[0].c != nil {
		return []*value{{c: x.permuted(in[0].c, perm)}}
	}
	y := *in[0]
	y.axes = make([][]int, rank)
	for i, a := range perm {
		y.axes[i] = in[0].axes[a]
	}
	return []*value{&y}
}

// readExpand: a value is repeated along axes of extent 1 by adding zeros; a constant stays as it is along the images' axis.
func readExpand(x *importer, _ *node, in []*value) []*value {
	v, want := in[0], known(in, 1)
	if !want.isInts || len(want.shape) != 1 || len(want.ints) > maxRank {
		fail("the shape must be a list of at most %d integers", maxRank)
	}
	shape := make([]int, len(want.ints))
	for i, d := range want.ints {
		if shape[i] = d.v; d.n {
			if d.v != 1 {
				fail("other axes are merged with the images'")
			}
			shape[i] = 1
		}
		if shape[i] < 1 {
			fail("shape %v", shape)
		}
	}
	if v.c != nil {
		return []*value{{c: x.expand(v.c, broadcast(v.c.shape, shape))}}
	}
	n, err := size(shape)
	if err != nil {
		fail("%w", err)
	}
	same := len(shape) <= v.rank()
	for i := range shape {
		if !same {
			break
		}
		d := v.extent(v.rank() - len(shape) + i)
		same = shape[i] == 1 || !d.n && d.v == shape[i] || d.n && want.ints[i].n
	}
	if same {
		return []*value{v}
	}
	x.spend(n, false)
	v = x.raised(v, len(shape))
	return x.result(v, graph.Add, nil, v.name, x.against(numbers(make([]float32, n), shape...), v))
}

func readTile(x *importer, _ *node, in []*value) []*value {
	c, times := known(in, 0), known(in, 1).few()
	if len(times) != len(c.shape) {
		fail("%d repeats of %d axes", len(times), len(c.shape))
	}
	shape := make([]int, len(times))
	for a, t := range times {
		if t < 0 || t > maxElements {
			fail("%d times", t)
		}
		shape[a] = c.shape[a] * t
	}
	return []*value{{c: x.pick(c, shape, func(index []int) int {
		at := 0
		for a, d := range c.shape {
			at = at*d + index[a]%d
		}
		return at
	})}}
}
