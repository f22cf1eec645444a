package goexec

import (
	"math"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/vec"
)

// chunk is the number of elements in a unit of element-wise work: small enough to stay in the first-level cache.
const chunk = 4096

func chunks(n int) int { return (n + chunk - 1) / chunk }

func lowerUnary(o *operation) (kernel, error) {
	n := o.out.PerImage()
	f, cost := unary(o.Node)
	return kernel{
		units:   chunks(n),
		cost:    min(n, chunk) * cost,
		inPlace: true,
		run: func(c *call, lo, hi int) {
			lo, hi = lo*chunk, min(hi*chunk, n)
			f(c.out[lo:hi], c.in[0][lo:hi])
		},
	}, nil
}

// unary returns the loop of an operator of one number and its cost per element. Products are rounded before they are
// added to: which of them a compiler fuses is not for it to choose.
func unary(n *graph.Node) (f func(y, x []float32), cost int) {
	alpha, beta := n.Float("alpha", 0), n.Float("beta", 0)
	lo, hi := stepBounds(n)
	const plain, slow = 1, 16
	switch n.Op {
	case graph.Relu:
		return vec.Relu, plain
	case graph.LeakyRelu:
		alpha = n.Float("alpha", 0.01)
		return func(y, x []float32) { vec.LeakyRelu(y, x, alpha) }, plain
	case graph.Clip:
		return func(y, x []float32) { vec.Clip(y, x, lo, hi) }, plain
	case graph.HardSigmoid:
		alpha, beta = n.Float("alpha", 0.2), n.Float("beta", 0.5)
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = clamp(float32(v*alpha)+beta, 0, 1)
			}
		}, plain
	case graph.HardSwish:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = v * clamp(v/6+0.5, 0, 1)
			}
		}, plain
	case graph.Abs:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = float32(math.Abs(float64(v)))
			}
		}, plain
	case graph.Sign:
		return func(y, x []float32) {
			for i, v := range x {
				switch {
				case v > 0:
					v = 1
				case v < 0:
					v = -1
				}
				y[i] = v
			}
		}, plain
	case graph.Step:
		return func(y, x []float32) { vec.Step(y, x, lo, hi) }, plain
	case graph.Sqrt:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = float32(math.Sqrt(float64(v))) // one instruction
			}
		}, 4
	case graph.Exp:
		return vec.Exp, 4
	case graph.Log:
		return double(math.Log), slow
	case graph.Tanh:
		return vec.Tanh, 4
	case graph.Erf:
		return double(math.Erf), slow
	default: // Sigmoid
		return double(func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }), slow
	}
}

// double applies a function in float64, which leaves one rounding to float32.
func double(f func(float64) float64) func(y, x []float32) {
	return func(y, x []float32) {
		for i, v := range x {
			y[i] = float32(f(float64(v)))
		}
	}
}

func clamp(v, lo, hi float32) float32 {
	if v < lo {
		return lo
	}
	if v > hi {
		return hi
	}
	return v
}

// perImage drops the first axis of a shape that broadcasts to one of the given rank: the extents of one image's part.
func perImage(s graph.Shape, rank int) []int {
	d := make([]int, rank-1)
	for a := range d {
		d[a] = 1
		if from := len(s) - rank + 1 + a; from >= 0 {
			d[a] = s[from]
		}
	}
	return d
}

// nest is a loop nest over the elements of a broadcast result, its axes merged where all operands allow it.
type nest struct {
	extent []int
	stride [2][]int // of each operand, 0 where it is repeated
}

func newNest(out []int, operands ...[]int) nest {
	var n nest
	size := [2]int{1, 1} // elements of the operands in the axes behind
	for a := len(out) - 1; a >= 0; a-- {
		if out[a] == 1 {
			continue
		}
		var stride [2]int
		merge := len(n.extent) > 0
		for i, d := range operands {
			if d[a] > 1 {
				stride[i] = size[i]
			}
			size[i] *= d[a]
			merge = merge && stride[i] == n.stride[i][0]*n.extent[0]
		}
		if merge {
			n.extent[0] *= out[a]
			continue
		}
		n.extent = append([]int{out[a]}, n.extent...)
		for i := range n.stride {
			n.stride[i] = append([]int{stride[i]}, n.stride[i]...)
		}
	}
	if n.extent == nil {
		n.extent, n.stride = []int{1}, [2][]int{{1}, {1}}
	}
	return n
}

// inner splits off the innermost axis.
func (n nest) inner() (outer nest, extent int, stride [2]int) {
	last := len(n.extent) - 1
	outer.extent = n.extent[:last]
	for i := range n.stride {
		outer.stride[i], stride[i] = n.stride[i][:last], n.stride[i][last]
	}
	return outer, n.extent[last], stride
}

// at is where the operands' elements for element i of the nest lie.
func (n nest) at(i int) (at [2]int) {
	for a := len(n.extent) - 1; a >= 0; a-- {
		d := i % n.extent[a]
		i /= n.extent[a]
		at[0] += d * n.stride[0][a]
		at[1] += d * n.stride[1][a]
	}
	return at
}

func (n nest) size() int {
	size := 1
	for _, d := range n.extent {
		size *= d
	}
	return size
}

// lowerBinary works on pieces of rows along the innermost merged axis, where each operand is either contiguous or one
// number, which is spelled out in scratch: so one loop per operator is enough.
func lowerBinary(o *operation) (kernel, error) {
	rank := len(o.out)
	rows, length, stride := newNest(perImage(o.out, rank), perImage(o.in[0], rank), perImage(o.in[1], rank)).inner()
	pieces := chunks(length)
	f := binary(o.Op)
	return kernel{
		units:   rows.size() * pieces,
		cost:    min(length, chunk),
		scratch: 2 * min(length, chunk),
		inPlace: true,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				row, from := u/pieces, u%pieces*chunk
				n := min(chunk, length-from)
				at := rows.at(row)
				var x [2][]float32
				for i := range x {
					if stride[i] == 1 {
						x[i] = c.in[i][at[i]+from:][:n]
						continue
					}
					x[i] = c.scratch[i*n:][:n]
					fill(x[i], c.in[i][at[i]])
				}
				f(c.out[row*length+from:][:n], x[0], x[1])
			}
		},
	}, nil
}

func binary(op graph.Op) func(y, a, b []float32) {
	switch op {
	case graph.Add:
		return vec.Add
	case graph.Sub:
		return vec.Sub
	case graph.Mul:
		return vec.Mul
	default: // Div
		return func(y, a, b []float32) {
			a, b = a[:len(y)], b[:len(y)]
			for i := range y {
				y[i] = a[i] / b[i]
			}
		}
	}
}

// fill sets every element to v. Copying what is there already runs at the speed of memory.
func fill(x []float32, v float32) {
	if len(x) == 0 {
		return
	}
	x[0] = v
	for n := 1; n < len(x); n *= 2 {
		copy(x[n:], x[:n])
	}
}
