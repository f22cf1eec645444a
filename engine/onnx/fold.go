package onnx

import (
	"math"
	"slices"

	"f2pad.example/engine/nd"
)

// maxInteger bounds the integers that are computed from shapes, so that arithmetic on them cannot overflow.
const maxInteger = 1 << 29

func ints(v ...int) *constant {
	c := &constant{shape: []int{len(v)}, isInts: true}
	for _, i := range v {
		c.ints = append(c.ints, dim{v: i})
	}
	return c
}

func numbers(v []float32, shape ...int) *constant { return &constant{shape: shape, floats: v} }

// list is a constant of integers none of which depends on the number of images.
func (c *constant) list() []int {
	if !c.isInts {
		fail("the numbers must be integers")
	}
	list := make([]int, len(c.ints))
	for i, d := range c.ints {
		if d.n {
			fail("a number depends on the number of images")
		}
		list[i] = d.v
	}
	return list
}

// few is list where there is a number or two for every axis, or one for every part.
func (c *constant) few() []int {
	if c.len() > maxPieces {
		fail("%d numbers, at most %d are supported", c.len(), maxPieces)
	}
	return c.list()
}

// number is the only element of a constant of floats.
func (c *constant) number() float32 {
	if c.isInts || len(c.floats) != 1 {
		fail("%d elements instead of one real number", c.len())
	}
	return c.floats[0]
}

// pick is the constant of the given shape whose element at an index is c's at from(index), a row-major offset.
func (x *importer) pick(c *constant, shape []int, from func(index []int) int) *constant {
	n, err := size(shape)
	if err != nil {
		fail("%w", err)
	}
	if len(shape) > maxRank {
		fail("%d axes, at most %d are supported", len(shape), maxRank)
	}
	x.spend(n, c.isInts)
	y := &constant{shape: slices.Clone(shape), isInts: c.isInts}
	if c.isInts {
		y.ints = make([]dim, n)
	} else {
		y.floats = make([]float32, n)
	}
	index := make([]int, len(shape))
	for i := range n {
		at := from(index)
		if c.isInts {
			y.ints[i] = c.ints[at]
		} else {
			y.floats[i] = c.floats[at]
		}
		for a := len(shape) - 1; a >= 0; a-- {
			if index[a]++; index[a] < shape[a] {
				break
			}
			index[a] = 0
		}
	}
	return y
}

// offset is the row-major offset of an index, which may have more axes, in shape, whose extents of 1 are repeated.
func offset(shape, index []int) int {
	at := 0
	for a, d := range shape {
		at *= d
		if d > 1 {
			at += index[len(index)-len(shape)+a]
		}
	}
	return at
}

// broadcast is numpy's rule.
func broadcast(a, b []int) []int {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, d := range b {
		at := len(a) - len(b) + i
		switch {
		case out[at] == 1:
			out[at] = d
		case d != 1 && d != out[at]:
			fail("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out
}

// expand repeats a constant to a shape that it broadcasts to.
func (x *importer) expand(c *constant, shape []int) *constant {
	if slices.Equal(c.shape, shape) {
		return c
	}
	if !slices.Equal(broadcast(c.shape, shape), shape) {
		fail("shape %v does not broadcast to %v", c.shape, shape)
	}
	return x.pick(c, shape, func(index []int) int { return offset(c.shape, index) })
}

// reshaped shares the elements.
func (c *constant) reshaped(shape ...int) *constant {
	n, err := size(shape)
	if err != nil || n != c.len() || len(shape) > maxRank {
		fail("shape %v does not hold the %d elements of %v", shape, c.len(), c.shape)
	}
	return &constant{shape: shape, isInts: c.isInts, floats: c.floats, ints: c.ints}
}

// permuted moves the axes.
func (x *importer) permuted(c *constant, perm []int) *constant {
	if inOrder(perm) {
		return c
	}
	shape, from := make([]int, len(perm)), make([]int, len(perm))
	for i, a := range perm {
		shape[i] = c.shape[a]
	}
	return x.pick(c, shape, func(index []int) int {
		for i, a := range perm {
			from[a] = index[i]
		}
		at := 0
		for a, d := range c.shape {
			at = at*d + from[a]
		}
		return at
	})
}

// constantBinary computes with constants.
func (x *importer) constantBinary(op string, a, b *constant) *constant {
	if a.isInts != b.isInts {
		fail("integers and real numbers are mixed")
	}
	shape := broadcast(a.shape, b.shape)
	a, b = x.expand(a, shape), x.expand(b, shape)
	x.spend(a.len(), a.isInts)
	y := &constant{shape: shape, isInts: a.isInts}
	if !a.isInts {
		f, ok := realBinary[op]
		if !ok {
			fail("of real numbers is not supported")
		}
		y.floats = make([]float32, len(a.floats))
		for i := range y.floats {
			y.floats[i] = f(a.floats[i], b.floats[i])
		}
		return y
	}
	y.ints = make([]dim, len(a.ints))
	for i := range y.ints {
		y.ints[i] = integer(op, a.ints[i], b.ints[i])
	}
	return y
}

var realBinary = map[string]func(a, b float32) float32{
	"Add": func(a, b float32) float32 { return a + b },
	"Sub": func(a, b float32) float32 { return a - b },
	"Mul": func(a, b float32) float32 { return a * b },
	"Div": func(a, b float32) float32 { return a / b },
	"Min": func(a, b float32) float32 { return min(a, b) },
	"Max": func(a, b float32) float32 { return max(a, b) },
	"Pow": func(a, b float32) float32 { return float32(math.Pow(float64(a), float64(b))) },
}

// integer computes with integers, of which some may be multiples of the number of images.
func integer(op string, a, b dim) dim {
	truth := func(t bool) dim {
		if t {
			return dim{v: 1}
		}
		return dim{}
	}
	if op != "Equal" && (max(a.v, b.v) > maxInteger || min(a.v, b.v) < -maxInteger) {
		fail("the numbers %d and %d are too large", a.v, b.v)
	}
	alike := a.n == b.n
	switch op {
	case "Add", "Sub":
		if op == "Sub" {
			b.v = -b.v
		}
		switch {
		case b.v == 0:
			return a
		case a.v == 0 || alike:
			return dim{a.v + b.v, b.n}
		}
	case "Mul":
		if !(a.n && b.n) && (a.v == 0 || max(b.v, -b.v) <= maxInteger/max(a.v, -a.v)) {
			return dim{a.v * b.v, a.n || b.n}
		}
	case "Div":
		if b.v != 0 && (alike || !b.n && a.v%b.v == 0) {
			return dim{a.v / b.v, a.n && !b.n}
		}
	case "Mod":
		if b.v > 0 && !b.n && (a.v >= 0 && !a.n || a.v%b.v == 0) {
			return dim{v: a.v % b.v}
		}
	case "Equal":
		switch {
		case alike:
			return truth(a.v == b.v)
		case min(a.v, b.v) <= 0: // k*N is positive
			return truth(false)
		}
	case "Min", "Max", "Less", "Greater", "LessOrEqual", "GreaterOrEqual":
		if !alike {
			break
		}
		switch op {
		case "Min":
			return dim{min(a.v, b.v), a.n}
		case "Max":
			return dim{max(a.v, b.v), a.n}
		case "Less":
			return truth(a.v < b.v)
		case "Greater":
			return truth(a.v > b.v)
		case "LessOrEqual":
			return truth(a.v <= b.v)
		}
		return truth(a.v >= b.v)
	case "And", "Or":
		if !a.n && !b.n {
			if op == "And" {
				return truth(a.v != 0 && b.v != 0)
			}
			return truth(a.v != 0 || b.v != 0)
		}
	}
	fail("of %v and %v is not supported (a number may depend on the number of images)", a, b)
	return dim{}
}

var realUnary = map[string]func(v float64) float64{
	"Sqrt": math.Sqrt, "Exp": math.Exp, "Log": math.Log, "Abs": math.Abs, "Floor": math.Floor, "Ceil": math.Ceil,
	"Tanh": math.Tanh, "Erf": math.Erf,
	"Neg":        func(v float64) float64 { return -v },
	"Reciprocal": func(v float64) float64 { return 1 / v },
	"Relu":       func(v float64) float64 { return max(v, 0) },
	"Sigmoid":    func(v float64) float64 { return 1 / (1 + math.Exp(-v)) },
}

func (x *importer) constantUnary(op string, c *constant) *constant {
	x.spend(c.len(), c.isInts)
	y := &constant{shape: c.shape, isInts: c.isInts}
	if c.isInts {
		y.ints = make([]dim, 0, c.len())
		for _, d := range c.ints {
			switch {
			case op == "Neg" && d.v > -maxInteger:
				d.v = -d.v
			case op == "Abs" && d.v > -maxInteger:
				d.v = max(d.v, -d.v)
			default:
				fail("of integers is not supported")
			}
			y.ints = append(y.ints, d)
		}
		return y
	}
	f, ok := realUnary[op]
	if !ok {
		fail("of constants is not supported")
	}
	y.floats = make([]float32, len(c.floats))
	for i, v := range c.floats {
		y.floats[i] = float32(f(float64(v)))
	}
	return y
}

// sliced is Slice of a constant along one axis, backwards too.
func (x *importer) sliced(c *constant, axis, start, end, step int) *constant {
	start, n := sliceRange(c.shape[axis], start, end, step)
	shape := slices.Clone(c.shape)
	shape[axis] = n
	from := make([]int, len(shape))
	return x.pick(c, shape, func(index []int) int {
		copy(from, index)
		from[axis] = start + index[axis]*step
		at := 0
		for a, d := range c.shape {
			at = at*d + from[a]
		}
		return at
	})
}

// sliceRange resolves a Slice along an axis as ONNX does: the first element and how many there are.
func sliceRange(extent, start, end, step int) (first, n int) {
	if step == 0 || step > maxElements || step < -maxElements {
		fail("steps of %d", step)
	}
	clamp := func(v, lo, hi int) int {
		if v < 0 {
			v += extent // cannot overflow: extent is positive
		}
		return min(max(v, lo), hi)
	}
	if step > 0 {
		start, end = clamp(start, 0, extent), clamp(end, 0, extent)
		return start, max(0, (end-start+step-1)/step)
	}
	start, end = clamp(start, 0, extent-1), clamp(end, -1, extent-1)
	return start, max(0, (start-end-step-1)/-step)
}

// joined is Concat of constants.
func (x *importer) joined(axis int, parts []*constant) *constant {
	shape := slices.Clone(parts[0].shape)
	axis = frontAxis(axis, len(shape))
	shape[axis] = 0
	for _, p := range parts {
		if len(p.shape) != len(shape) || p.isInts != parts[0].isInts {
			fail("the inputs differ in rank or type")
		}
		for a := range shape {
			if a != axis && p.shape[a] != shape[a] {
				fail("shapes %v and %v differ off axis %d", p.shape, parts[0].shape, axis)
			}
		}
		if shape[axis] += p.shape[axis]; shape[axis] > maxElements {
			fail("more than %d elements", maxElements)
		}
	}
	n, err := size(shape)
	if err != nil {
		fail("%w", err)
	}
	x.spend(n, parts[0].isInts)
	y := &constant{shape: shape, isInts: parts[0].isInts}
	if n == 0 {
		return y
	}
	if y.isInts {
		y.ints = make([]dim, 0, n)
	} else {
		y.floats = make([]float32, 0, n)
	}
	outer, inner := nd.Size(shape[:axis]...), nd.Size(shape[axis+1:]...)
	for o := range outer {
		for _, p := range parts {
			run := p.shape[axis] * inner
			if y.isInts {
				y.ints = append(y.ints, p.ints[o*run:(o+1)*run]...)
			} else {
				y.floats = append(y.floats, p.floats[o*run:(o+1)*run]...)
			}
		}
	}
	return y
}
