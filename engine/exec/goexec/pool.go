package goexec

import (
	"math"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/vec"
)

// pool is the geometry of a pooling of planes x [H,W] to y [OH,OW].
type pool struct {
	win            graph.Window
	x, y           [2]int
	channels       int
	rows, cols     []span // taps that read the input, for each output coordinate
	rowDiv, colDiv []int  // AveragePool's divisors
}

type span struct{ lo, hi int } // input coordinates lo, lo+dilation, ... below hi

// newPool is for a forward pooling from shape x to y; includePad is AveragePool's.
func newPool(n *graph.Node, x, y graph.Shape) (*pool, error) {
	win, err := graph.PoolWindow(n)
	if err != nil {
		return nil, err
	}
	p := &pool{win: win, x: [2]int(x[2:]), y: [2]int(y[2:]), channels: x[1]}
	p.rows, p.rowDiv = p.spans(0, n.Int("count_include_pad", 0) != 0)
	p.cols, p.colDiv = p.spans(1, n.Int("count_include_pad", 0) != 0)
	return p, nil
}

func (p *pool) spans(axis int, includePad bool) (spans []span, divisors []int) {
	for o := range p.y[axis] {
		lo, hi := p.win.Taps(axis, o, p.x[axis])
		start, d := p.win.Start(axis, o), p.win.Dilation[axis]
		spans = append(spans, span{start + lo*d, start + hi*d})
		divisors = append(divisors, p.win.Divisor(axis, o, p.x[axis], includePad))
	}
	return spans, divisors
}

// cost is that of one output row.
func (p *pool) cost() int { return 2 * p.y[1] * p.win.Kernel[0] * p.win.Kernel[1] }

// forward is a kernel that computes each output element from its plane of the input.
func (p *pool) forward(f func(plane []float32, i, j int) float32) kernel {
	size := p.x[0] * p.x[1]
	return kernel{
		units: p.channels * p.y[0],
		cost:  p.cost(),
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				plane := c.in[0][u/p.y[0]*size:][:size]
				row := c.out[u*p.y[1]:][:p.y[1]]
				for j := range row {
					row[j] = f(plane, u%p.y[0], j)
				}
			}
		},
	}
}

// backward is a kernel that adds what each output element's gradient d gives to its plane dx of the input's gradient, in
// the order of the output. The last input is x where the operator has it.
func (p *pool) backward(f func(dx, x []float32, i, j int, d float32)) kernel {
	size, from := p.x[0]*p.x[1], p.y[0]*p.y[1]
	return kernel{
		units: p.channels,
		cost:  p.cost() * p.y[0],
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				dx, x := c.out[u*size:][:size], c.in[len(c.in)-1]
				if len(c.in) == 2 {
					x = x[u*size:][:size]
				}
				clear(dx)
				for o, d := range c.in[0][u*from:][:from] {
					f(dx, x, o/p.y[1], o%p.y[1], d)
				}
			}
		},
	}
}

func lowerMaxPool(o *operation) (kernel, error) {
	p, err := newPool(o.Node, o.in[0], o.out)
	if err != nil {
		return kernel{}, err
	}
	size := p.x[0] * p.x[1]
	return kernel{
		units:   p.channels * p.y[0],
		cost:    p.cost() / 4,
		scratch: p.x[1],
		run: func(c *call, lo, hi int) {
			top := c.scratch[:p.x[1]] // of each column under the windows
			for u := lo; u < hi; u++ {
				rows := p.rows[u%p.y[0]]
				x := c.in[0][u/p.y[0]*size:][:size]
				copy(top, x[rows.lo*p.x[1]:])
				for r := rows.lo + p.win.Dilation[0]; r < rows.hi; r += p.win.Dilation[0] {
					vec.Larger(top, top, x[r*p.x[1]:][:p.x[1]])
				}
				row := c.out[u*p.y[1]:][:p.y[1]]
				for j, cols := range p.cols {
					v := top[cols.lo]
					for at := cols.lo + p.win.Dilation[1]; at < cols.hi; at += p.win.Dilation[1] {
						v = max(v, top[at]) // NaN if either is
					}
					row[j] = v
				}
			}
		},
	}, nil
}

func lowerMaxPoolGrad(o *operation) (kernel, error) {
	p, err := newPool(o.Node, o.out, o.in[0])
	if err != nil {
		return kernel{}, err
	}
	return p.backward(func(dx, x []float32, i, j int, d float32) { dx[p.largest(x, i, j)] += d }), nil
}

// largest is the place of the first maximum under window (i,j), in row-major order; NaN counts as the largest. It looks for
// the largest of integers that are in the order of the values, the earlier of equals above the later: for values that
// nobody can foresee, branches would take several times as long.
func (p *pool) largest(x []float32, i, j int) int {
	rows, cols := p.rows[i], p.cols[j]
	best := int64(math.MinInt64)
	for r := rows.lo; r < rows.hi; r += p.win.Dilation[0] {
		for at := r*p.x[1] + cols.lo; at < r*p.x[1]+cols.hi; at += p.win.Dilation[1] {
			v := x[at] + 0 // 0 for -0, which is no less
			key := int64(int32(math.Float32bits(v)))
			key ^= key >> 63 & math.MaxInt32
			if v != v {
				key = math.MaxInt32
			}
			best = max(best, key<<32|int64(^uint32(at)))
		}
	}
	return int(^uint32(best))
}

func lowerAveragePool(o *operation) (kernel, error) {
	p, err := newPool(o.Node, o.in[0], o.out)
	if err != nil {
		return kernel{}, err
	}
	return p.forward(func(x []float32, i, j int) float32 {
		rows, cols := p.rows[i], p.cols[j]
		sum := float32(0)
		for r := rows.lo; r < rows.hi; r++ {
			for _, v := range x[r*p.x[1]:][cols.lo:cols.hi] {
				sum += v
			}
		}
		return sum / float32(p.rowDiv[i]*p.colDiv[j])
	}), nil
}

func lowerAveragePoolGrad(o *operation) (kernel, error) {
	p, err := newPool(o.Node, o.out, o.in[0])
	if err != nil {
		return kernel{}, err
	}
	return p.backward(func(dx, _ []float32, i, j int, d float32) {
		d /= float32(p.rowDiv[i] * p.colDiv[j])
		rows, cols := p.rows[i], p.cols[j]
		for r := rows.lo; r < rows.hi; r++ {
			row := dx[r*p.x[1]:][cols.lo:cols.hi]
			for k := range row {
				row[k] += d
			}
		}
	}), nil
}
