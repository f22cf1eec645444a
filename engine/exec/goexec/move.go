package goexec

import (
	"slices"

	"f2pad.example/engine/graph"
)

func lowerConcat(o *operation) (kernel, error) {
	axis := o.Axis(0, len(o.out))
	outer := o.out[:axis].PerImage()
	row := o.out.PerImage() / outer
	run := make([]int, len(o.in))
	start := make([]int, len(o.in))
	for i, s := range o.in {
		run[i] = s[axis:].PerImage() * s[axis]
		if i > 0 {
			start[i] = start[i-1] + run[i-1]
		}
	}
	return kernel{
		units: outer * len(run),
		cost:  row / len(run) / 8,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				r, i := u/len(run), u%len(run)
				copy(c.out[r*row+start[i]:], c.in[i][r*run[i]:][:run[i]])
			}
		},
	}, nil
}

// lowerTranspose walks the output; innermost it reads with the stride of the axis that came to be last.
func lowerTranspose(o *operation) (kernel, error) {
	perm := o.Ints("perm", nil)
	rank := len(perm)
	strides := make([]int, rank)
	for a, s := rank-1, 1; a >= 1; a-- {
		strides[a] = s
		s *= o.in[0][a]
	}
	rows := nest{}
	for a := 1; a < rank-1; a++ {
		rows.extent = append(rows.extent, o.out[a])
		rows.stride[0] = append(rows.stride[0], strides[perm[a]])
	}
	rows.stride[1] = make([]int, len(rows.extent))
	length, stride := 1, 1
	if rank > 1 {
		length, stride = o.out[rank-1], strides[perm[rank-1]]
	}
	beside := 0 // rows of the output that are columns of the input, one beside the other
	if last := len(rows.extent) - 1; last >= 0 && rows.stride[0][last] == 1 {
		beside = rows.extent[last]
	}
	return kernel{
		units: rows.size(),
		cost:  length,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; {
				at := rows.at(u)[0]
				if beside > 0 && u+strip <= hi && u%beside+strip <= beside {
					transposeStrip(c.out[u*length:], c.in[0][at:], length, stride)
					u += strip
					continue
				}
				for i := range c.out[u*length:][:length] {
					c.out[u*length+i] = c.in[0][at+i*stride]
				}
				u++
			}
		},
	}, nil
}

// strip is how many rows of a transposed matrix are written side by side, where they are read from one place.
const strip = 8

// transposeStrip writes strip rows of n values: row r from x[r], x[r+stride], ...
func transposeStrip(y, x []float32, n, stride int) {
	y0, y1, y2, y3 := y[:n], y[n:][:n], y[2*n:][:n], y[3*n:][:n]
	y4, y5, y6, y7 := y[4*n:][:n], y[5*n:][:n], y[6*n:][:n], y[7*n:][:n]
	for i := range n {
		from := x[i*stride:][:strip]
		y0[i], y1[i], y2[i], y3[i] = from[0], from[1], from[2], from[3]
		y4[i], y5[i], y6[i], y7[i] = from[4], from[5], from[6], from[7]
	}
}

// picks says which input coordinate each output coordinate reads along each axis of one image, -1 for none: what Slice,
// Pad and nearest Resize have in common.
type picks struct {
	in, out []int
	from    [][]int
}

// newPicks has at least two axes, of which the last is the innermost.
func newPicks(in, out graph.Shape, from func(axis int) []int) picks {
	p := picks{slices.Clone(in[1:]), slices.Clone(out[1:]), nil}
	for a := 1; a < len(in); a++ {
		p.from = append(p.from, from(a))
	}
	for len(p.in) < 2 {
		p.in, p.out = append([]int{1}, p.in...), append([]int{1}, p.out...)
		p.from = append([][]int{{0}}, p.from...)
	}
	return p
}

// row is where in the input the row of output number u begins, and false if it lies in the padding.
func (p *picks) row(u int) (at int, ok bool) {
	stride := p.in[len(p.in)-1]
	for a := len(p.out) - 2; a >= 0; a-- {
		i := p.from[a][u%p.out[a]]
		if i < 0 {
			return 0, false
		}
		u /= p.out[a]
		at += i * stride
		stride *= p.in[a]
	}
	return at, true
}

func lowerGather(o *operation) (kernel, error) {
	p, err := slicePicks(o, o.in[0], o.out)
	if err != nil {
		return kernel{}, err
	}
	return gather(p, o.Float("value", 0)), nil
}

func lowerScatter(o *operation) (kernel, error) {
	p, err := slicePicks(o, o.out, o.in[0])
	if err != nil {
		return kernel{}, err
	}
	return scatter(p), nil
}

// slicePicks is for Slice and Pad and their adjoints; before and after are the shapes on either side of the forward
// operator.
func slicePicks(o *operation, before, after graph.Shape) (picks, error) {
	var steps graph.Steps
	if o.Op == graph.Slice || o.Op == graph.SliceGrad {
		var err error
		if steps, _, err = graph.ResolveSlice(o.Node, before); err != nil {
			return picks{}, err
		}
	}
	pads, mode := o.Ints("pads", nil), o.String("mode", "constant")
	return newPicks(before, after, func(axis int) []int {
		from := make([]int, after[axis])
		for i := range from {
			if pads != nil {
				from[i] = graph.PadSource(mode, i, pads[axis], before[axis])
			} else {
				from[i] = steps.Start[axis] + i*steps.Step[axis]
			}
		}
		return from
	}), nil
}

// gather fills rows of the output: out[o] = in[from[o]].
func gather(p picks, none float32) kernel {
	last := p.from[len(p.from)-1]
	rows := 1
	for _, d := range p.out[:len(p.out)-1] {
		rows *= d
	}
	lo0, hi0 := run(last)
	return kernel{
		units: rows,
		cost:  len(last) / 4,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				y := c.out[u*len(last):][:len(last)]
				at, ok := p.row(u)
				if !ok {
					fill(y, none)
					continue
				}
				x := c.in[0][at:][:p.in[len(p.in)-1]]
				pick(y[:lo0], x, last, none)
				copy(y[lo0:hi0], x[last[lo0]:])
				pick(y[hi0:], x, last[hi0:], none)
			}
		},
	}
}

func pick(y, x []float32, from []int, none float32) {
	for i := range y {
		y[i] = none
		if from[i] >= 0 {
			y[i] = x[from[i]]
		}
	}
}

// run is the longest stretch lo <= o < hi over which from counts up by one, from an element that exists.
func run(from []int) (lo, hi int) {
	for i := 0; i < len(from); {
		j := i + 1
		for j < len(from) && from[i] >= 0 && from[j] == from[i]+j-i {
			j++
		}
		if from[i] >= 0 && j-i > hi-lo {
			lo, hi = i, j
		}
		i = j
	}
	return lo, hi
}

// scatter is the adjoint of gather: each element is added where it was read, in the order of the output.
func scatter(p picks) kernel {
	readers := make([][]int, p.in[0]) // of a coordinate of the first axis
	for o, i := range p.from[0] {
		if i >= 0 {
			readers[i] = append(readers[i], o)
		}
	}
	last := p.from[len(p.from)-1]
	inRow := p.in[len(p.in)-1]
	plane, rows := 1, 1
	for a := 1; a < len(p.in); a++ {
		plane *= p.in[a]
	}
	for _, d := range p.out[1 : len(p.out)-1] {
		rows *= d
	}
	return kernel{
		units: p.in[0],
		cost:  rows * len(last),
		run: func(c *call, lo, hi int) {
			clear(c.out[lo*plane : hi*plane])
			for i := lo; i < hi; i++ {
				for _, o := range readers[i] {
					for u := o * rows; u < (o+1)*rows; u++ {
						at, ok := p.row(u)
						if !ok {
							continue
						}
						x := c.out[at:][:inRow]
						for j, v := range c.in[0][u*len(last):][:len(last)] {
							if last[j] >= 0 {
								x[last[j]] += v
							}
						}
					}
				}
			}
		},
	}
}
