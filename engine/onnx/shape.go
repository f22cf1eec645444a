package onnx

import (
	"cmp"
	"fmt"
	"slices"

	"f2pad.example/engine/graph"
)

// atom is a factor of a tensor's extent in a Reshape: it comes from an axis of the graph and goes to an axis of the new
// shape. The images are the factor 0 of axis 0.
type atom struct{ axis, n, group int }

func (a atom) images() bool { return a.n == 0 }

// reshape gives v the wanted extents, of which at most one may be -1.
//
// Both shapes are cut into common factors. Factors that ONNX puts into one axis become one axis of the graph again, with a
// Transpose where they do not lie beside each other; only those merged with the images' axis stay apart, as a graph
// must have it.
func (x *importer) reshape(v *value, want []dim) *value {
	if len(want) > maxRank || len(want) == 0 {
		fail("%d axes, 1 to %d are supported", len(want), maxRank)
	}
	var atoms []atom
	for _, a := range v.order() {
		atoms = append(atoms, atom{axis: a, n: max(v.shape[a], 0)})
	}
	dealt := x.regroup(atoms, want)
	if dealt == nil {
		if dims := x.apart(atoms, want); dims != nil { // no common factors
			return x.plain(x.perImage(x.exact(v).name, dims))
		}
		fail("the shape %s does not hold the elements of %s (or splits or moves the images' axis)", describe(want),
			describe(v.extents()))
	}
	x.noteGrid(v, dealt, len(want))
	atoms = tidy(dealt, len(want))
	merged := make([]bool, len(want)) // groups whose factors become one axis
	for g := range merged {
		merged[g] = !slices.ContainsFunc(atoms, func(a atom) bool { return a.group == g && a.images() })
	}
	lay := make([]int, len(atoms)) // the atoms in the graph's order
	for i := range lay {
		lay[i] = i
	}
	slices.SortStableFunc(lay, func(i, j int) int {
		return cmp.Or(cmp.Compare(atoms[i].axis, atoms[j].axis), cmp.Compare(min(atoms[i].n, 1), min(atoms[j].n, 1)))
	})
	name := v.name
	for p, i := range lay {
		if g := atoms[i].group; merged[g] && i > 0 && atoms[i-1].group == g && (p == 0 || lay[p-1] != i-1) {
			name = x.settle(name, atoms, lay)
			break
		}
	}
	var shape []int
	axisOf := make([]int, len(atoms))
	for p, i := range lay {
		if p > 0 && merged[atoms[i].group] && atoms[lay[p-1]].group == atoms[i].group {
			shape[len(shape)-1] *= atoms[i].n
		} else {
			shape = append(shape, atoms[i].n)
		}
		axisOf[i] = len(shape) - 1
	}
	y := &value{name: x.perImage(name, shape[1:]), axes: make([][]int, len(want))}
	for i, a := range atoms {
		if !slices.Contains(y.axes[a.group], axisOf[i]) {
			y.axes[a.group] = append(y.axes[a.group], axisOf[i])
		}
	}
	y.shape = x.b.Shape(y.name)
	return y
}

// settle brings the atoms of a value to the tensor's order, but for the images, which stay first; lay follows.
func (x *importer) settle(name string, atoms []atom, lay []int) string {
	shape, place, perm := make([]int, len(lay)), make([]int, len(lay)), make([]int, len(lay))
	for p, i := range lay {
		shape[p], place[i] = atoms[i].n, p
	}
	slices.Sort(lay)
	slices.SortStableFunc(lay, func(i, j int) int { return cmp.Compare(min(atoms[i].n, 1), min(atoms[j].n, 1)) })
	for p, i := range lay {
		perm[p] = place[i]
	}
	return x.transpose(x.perImage(name, shape[1:]), perm)
}

// perImage gives one image's part of a value of the graph a shape.
func (x *importer) perImage(name string, shape []int) string {
	if slices.Equal(x.b.Shape(name)[1:], shape) {
		return name
	}
	return x.op(graph.Reshape, graph.Attrs{"shape": append([]int{0}, shape...)}, name)
}

// tidy drops factors of 1 that are merged with others and adds them where an axis has none.
func tidy(atoms []atom, groups int) []atom {
	var out []atom
	axis, i := 0, 0
	for g := range groups {
		start := len(out)
		for ; i < len(atoms) && atoms[i].group == g; i++ {
			axis = atoms[i].axis
			if atoms[i].n != 1 {
				out = append(out, atoms[i])
			}
		}
		if len(out) == start {
			out = append(out, atom{axis, 1, g})
		}
	}
	return out
}

// regroup deals the atoms, some cut in two, to the wanted axes. It returns nil if they do not fit. What is written in a
// file may be meant for the batch size that it was exported with.
func (x *importer) regroup(atoms []atom, want []dim) []atom {
	for _, batch := range x.batches(want) {
		if dims := complete(atoms, want, batch); dims != nil {
			if dealt := deal(slices.Clone(atoms), dims, batch); dealt != nil {
				return dealt
			}
		}
	}
	return nil
}

// batches are the batch sizes that a shape may be meant for, likely ones first; 0 is any.
func (x *importer) batches(want []dim) []int {
	switch {
	case slices.ContainsFunc(want, func(d dim) bool { return d.n }):
		return []int{0}
	case x.batch > 0:
		return []int{x.batch, 0}
	}
	return []int{0, 1}
}

// apart is one image's part of a shape that has the images on its first axis, nil if it cannot be meant so.
func (x *importer) apart(atoms []atom, want []dim) []int {
	for _, batch := range x.batches(want) {
		dims := complete(atoms, want, batch)
		if dims == nil || dims[0] != (dim{max(batch, 1), batch == 0}) {
			continue
		}
		left := 1
		for _, a := range atoms {
			left *= max(a.n, 1)
		}
		shape := make([]int, len(dims)-1)
		for i, d := range dims[1:] {
			if shape[i] = d.v; d.n || left%d.v != 0 {
				return nil
			}
			left /= d.v
		}
		if left == 1 {
			return shape
		}
	}
	return nil
}

// complete puts an extent in the place of -1. batch is the number of images, 0 where it stays open.
func complete(atoms []atom, want []dim, batch int) []dim {
	total, others, images := 1, 1, true
	for _, a := range atoms {
		if !a.images() {
			total *= a.n
		}
	}
	if batch > 0 {
		total, images = total*batch, false
	}
	open := -1
	for i, d := range want {
		if d.v == -1 && !d.n {
			if open >= 0 {
				return nil
			}
			open = i
			continue
		}
		if d.v < 1 || d.v > maxElements/others {
			return nil
		}
		others *= d.v
		images = images && !d.n
	}
	want = slices.Clone(want)
	if open >= 0 {
		if total%others != 0 {
			return nil
		}
		want[open] = dim{total / others, images}
	}
	return want
}

// deal goes through atoms and dims side by side.
func deal(atoms []atom, dims []dim, batch int) []atom {
	var out []atom
	for g, d := range dims {
		have, images := 1, false
		for taken := 0; ; taken++ {
			complete := have == d.v && (batch > 0 || images == d.n)
			if len(atoms) == 0 {
				if !complete {
					return nil
				}
				break
			}
			a := &atoms[0]
			a.group = g
			n := a.n
			if a.images() && batch > 0 {
				n = batch
			}
			if complete && (taken > 0 || n != 1) {
				break
			}
			switch {
			case a.images() && batch == 0:
				if images || !d.n {
					return nil
				}
				images = true
			case d.v%(have*n) == 0:
				have *= n
			case !a.images() && d.v/have > 1 && n%(d.v/have) == 0:
				part := d.v / have
				out = append(out, atom{a.axis, part, g})
				a.n = n / part
				have = d.v
				continue
			default:
				return nil
			}
			out = append(out, *a)
			atoms = atoms[1:]
		}
	}
	for _, a := range atoms {
		if a.n != 1 {
			return nil
		}
	}
	return out
}

// noteGrid remembers the extents of the first maps [N,C,h,w] that are flattened to tokens.
func (x *importer) noteGrid(v *value, atoms []atom, rank int) {
	if x.grid[0] > 0 || v.rank() != 4 || rank != 3 || len(atoms) != 4 {
		return
	}
	for i := 1; i < len(atoms); i++ {
		if atoms[i].group == atoms[i-1].group && !atoms[i-1].images() {
			x.grid = [2]int{atoms[i-1].n, atoms[i].n}
		}
	}
}

func (v *value) extents() []dim {
	out := make([]dim, v.rank())
	for a := range out {
		out[a] = v.extent(a)
	}
	return out
}

func describe(dims []dim) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = fmt.Sprint(d.v)
		if d.n {
			s[i] = "N"
			if d.v != 1 {
				s[i] = fmt.Sprintf("%dN", d.v)
			}
		}
	}
	return fmt.Sprint(s)
}

func readReshape(x *importer, n *node, in []*value) []*value {
	v, target := in[0], known(in, 1)
	if !target.isInts || len(target.shape) != 1 {
		fail("the shape must be a list of integers")
	}
	want := slices.Clone(target.ints)
	for i, d := range want {
		if d.v == 0 && n.int("allowzero", 0) == 0 {
			if i >= v.rank() {
				fail("shape %s keeps an axis that %s does not have", describe(want), describe(v.extents()))
			}
			want[i] = v.extent(i)
		}
	}
	return []*value{x.shaped(v, want)}
}

// shaped is reshape for constants, too.
func (x *importer) shaped(v *value, want []dim) *value {
	if v.c == nil {
		return x.reshape(v, want)
	}
	shape, open, others := make([]int, len(want)), -1, 1
	for i, d := range want {
		switch {
		case d.n:
			fail("a constant's shape depends on the number of images")
		case d.v == -1 && open < 0:
			open = i
		case d.v < 0 || d.v > maxElements/max(others, 1):
			fail("shape %s", describe(want))
		default:
			others *= d.v
		}
		shape[i] = d.v
	}
	if open >= 0 && others > 0 {
		shape[open] = v.c.len() / others
	}
	return &value{c: v.c.reshaped(shape...)}
}

func readFlatten(x *importer, n *node, in []*value) []*value {
	v, axis := in[0], n.int("axis", 1)
	if axis < 0 {
		axis += v.rank()
	}
	if axis < 0 || axis > v.rank() {
		fail("axis %d does not exist among %d", axis, v.rank())
	}
	want := []dim{{v: 1}, {v: 1}}
	for a, d := range v.extents() {
		w := &want[0]
		if a >= axis {
			w = &want[1]
		}
		if d.v > maxElements/max(w.v, 1) {
			fail("more than %d elements", maxElements)
		}
		*w = dim{w.v * d.v, w.n || d.n}
	}
	return []*value{x.shaped(v, want)}
}

func readSqueeze(x *importer, n *node, in []*value) []*value {
	axes := given(n, "axes", in, 1)
	if axes == nil {
		for a, d := range in[0].extents() {
			if d == (dim{v: 1}) {
				axes = append(axes, a)
			}
		}
	}
	return []*value{x.squeezed(in[0], axes)}
}

// squeezed drops axes of extent 1.
func (x *importer) squeezed(v *value, axes []int) *value {
	want, dropped := v.extents(), make([]bool, v.rank())
	for _, a := range axes {
		a = frontAxis(a, v.rank())
		if want[a] != (dim{v: 1}) {
			fail("axis %d has the extent %s", a, describe(want[a:a+1]))
		}
		dropped[a] = true
	}
	var kept []dim
	for a, d := range want {
		if !dropped[a] {
			kept = append(kept, d)
		}
	}
	return x.shaped(v, kept)
}

func readUnsqueeze(x *importer, n *node, in []*value) []*value {
	v, axes := in[0], given(n, "axes", in, 1)
	rank := v.rank() + len(axes)
	if rank > maxRank {
		fail("%d axes, at most %d are supported", rank, maxRank)
	}
	added := make([]bool, rank)
	for _, a := range axes {
		if a = frontAxis(a, rank); added[a] {
			fail("axes %v repeat one", axes)
		}
		added[a] = true
	}
	rest, want := v.extents(), make([]dim, rank)
	for a := range want {
		if added[a] {
			want[a] = dim{v: 1}
			continue
		}
		want[a], rest = rest[0], rest[1:]
	}
	return []*value{x.shaped(v, want)}
}

// readDepthToSpace: [N,b*b*C,H,W] -> [N,C,b*H,b*W], the blocks' offsets in front of the channels (DCR) or behind (CRD).
func readDepthToSpace(x *importer, n *node, in []*value) []*value {
	v, b := computed(in, 0), n.int("blocksize", 0)
	if v.rank() != 4 || b < 1 || b > maxSide || v.extent(1).v%(b*b) != 0 || v.images() != 0 {
		fail("a block size of %d for the shape %s", b, describe(v.extents()))
	}
	e := v.extents()
	block, c := dim{v: b}, dim{v: e[1].v / (b * b)}
	var perm []int
	switch mode := n.string("mode", "DCR"); mode {
	case "DCR":
		v, perm = x.reshape(v, []dim{e[0], block, block, c, e[2], e[3]}), []int{0, 3, 4, 1, 5, 2}
	case "CRD":
		v, perm = x.reshape(v, []dim{e[0], c, block, block, e[2], e[3]}), []int{0, 1, 4, 2, 5, 3}
	default:
		fail("mode %q", mode)
	}
	moved := *v
	moved.axes = make([][]int, len(perm))
	for i, a := range perm {
		moved.axes[i] = v.axes[a]
	}
	return []*value{x.reshape(&moved, []dim{e[0], c, {v: e[2].v * b}, {v: e[3].v * b}})}
}

func readShape(_ *importer, n *node, in []*value) []*value {
	dims := in[0].extents()
	clamp := func(v int) int {
		if v < 0 {
			v += len(dims)
		}
		return min(max(v, 0), len(dims))
	}
	start, end := clamp(n.int("start", 0)), clamp(n.int("end", len(dims)))
	dims = dims[start:max(start, end)]
	return []*value{{c: &constant{shape: []int{len(dims)}, isInts: true, ints: dims}}}
}

func readSize(_ *importer, _ *node, in []*value) []*value {
	size := dim{v: 1}
	for _, d := range in[0].extents() {
		size = integer("Mul", size, d)
	}
	return []*value{{c: &constant{isInts: true, ints: []dim{size}}}}
}

func readConstant(x *importer, n *node, _ []*value) []*value {
	if len(n.attr) != 1 {
		fail("%d attributes, want one", len(n.attr))
	}
	for name, a := range n.attr {
		switch name {
		case "value":
			c := x.decode(a.t)
			c.name = "" // names inside of nodes need not differ
			return []*value{{c: c}}
		case "value_float":
			return []*value{{c: numbers([]float32{a.f})}}
		case "value_floats":
			return []*value{{c: numbers(a.floats, len(a.floats))}}
		case "value_int":
			return []*value{{c: ints(clamped(a.i)).reshaped()}}
		}
	}
	return []*value{{c: ints(n.ints("value_ints")...)}}
}

func readConstantOfShape(x *importer, n *node, in []*value) []*value {
	element := numbers([]float32{0})
	if a := n.attr["value"]; a != nil {
		if element = x.decode(a.t); element.len() != 1 {
			fail("a value of %d elements", element.len())
		}
		element = element.reshaped()
	}
	shape := known(in, 0).few()
	for _, d := range shape {
		if d < 0 {
			fail("shape %v", shape)
		}
	}
	return []*value{{c: x.pick(element, shape, func([]int) int { return 0 })}}
}

func readRange(x *importer, _ *node, in []*value) []*value {
	var v [3]int
	for i := range v {
		list := known(in, i).few()
		if len(list) != 1 || list[0] > maxInteger || list[0] < -maxInteger {
			fail("input %d is not one small number", i)
		}
		v[i] = list[0]
	}
	start, limit, delta := v[0], v[1], v[2]
	if delta == 0 {
		fail("a step of 0")
	}
	n := 0
	if span := limit - start; span != 0 && (span > 0) == (delta > 0) {
		n = (span + delta - sign(delta)) / delta
	}
	x.spend(n, true)
	list := make([]int, n)
	for i := range list {
		list[i] = start + i*delta
	}
	return []*value{{c: ints(list...)}}
}

func sign(v int) int {
	if v < 0 {
		return -1
	}
	return 1
}
