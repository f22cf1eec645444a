package patchcore

import (
	"slices"

	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/internal/axis"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// embedding turns feature maps into one patch vector of dim values per location of the finest grid. It is linear, in two
// steps. First, raw values: each channel of each layer seen through stencils that cover 3x3 cells of its own grid, brought
// to the finest grid bilinearly: one stencil, the average (cells outside count as zero), or the nine single cells. Second,
// for the nine only, two adaptive poolings: each layer's 9C values to dim, and all layers' dim values, one layer after
// another, to dim.
type embedding struct {
	widths   []int
	dim      int
	unfolded bool
}

func newEmbedding(widths []int, embedDim int) embedding {
	e := embedding{widths: widths, dim: embedDim, unfolded: embedDim > 0}
	if !e.unfolded {
		for _, c := range widths {
			e.dim += c
		}
	}
	return e
}

// stencils per axis: their products are the stencils on the grid.
func (e *embedding) stencils() [][]float64 {
	if e.unfolded {
		return [][]float64{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}
	}
	return [][]float64{{1. / 3, 1. / 3, 1. / 3}}
}

// axis brings each stencil along an axis of so many cells to the finest grid.
func (e *embedding) axis(cells, finest int) []axis.Map {
	var all []axis.Map
	for _, w := range e.stencils() {
		all = append(all, axis.Bilinear(cells, finest).After(axis.Stencil(cells, w...), cells))
	}
	return all
}

// view is an embedding for batches of one grid.
type view struct {
	embedding
	grid   method.Grid
	layers []layer
	raw    int // raw values per location
}

type layer struct {
	c, h, w    int
	first      int        // its first raw value
	rows, cols []axis.Map // per stencil: the layer's rows (columns) to the finest grid's
}

func (e *embedding) view(f []*tensor.Dense, g method.Grid) *view {
	v := &view{embedding: *e, grid: g}
	for _, t := range f {
		s := t.Shape()
		l := layer{c: s[1], h: s[2], w: s[3], first: v.raw}
		l.rows, l.cols = e.axis(l.h, g.H), e.axis(l.w, g.W)
		v.layers = append(v.layers, l)
		v.raw += l.values()
	}
	return v
}

// values is the number of raw values of one location.
func (l *layer) values() int { return l.c * len(l.rows) * len(l.cols) }

// place is a location of an image of the batch: n, row, column.
type place struct{ n, i, j int }

func (v *view) place(at int) place {
	cells := v.grid.Cells()
	return place{at / cells, at % cells / v.grid.W, at % v.grid.W}
}

// embed fills q [len(at),dim] with the patch vectors of places.
func (v *view) embed(f []*tensor.Dense, at []place, q []float32) {
	raw := q
	if v.unfolded {
		raw = make([]float32, len(at)*v.raw)
	}
	for l := range v.layers {
		v.layers[l].read(nd.Data(f[l]), at, raw, v.raw)
	}
	if v.unfolded {
		mid := make([]float32, len(v.layers)*v.dim)
		for p := range at {
			v.pool(raw[p*v.raw:(p+1)*v.raw], mid, q[p*v.dim:(p+1)*v.dim])
		}
	}
}

// together is how many channels a location's sums are taken of at once: their numbers lie side by side.
const together = 8

// read fills the layer's part of raw, stride values per place. Every value is a sum along the rows of sums along columns; those
// are shared by the places below one another.
func (l *layer) read(f []float32, at []place, raw []float32, stride int) {
	for len(at) > 0 {
		box, n := l.around(at)
		l.readBox(f, at[:n], box, raw, stride)
		at, raw = at[n:], raw[n*stride:]
	}
}

// box is where sums along columns are taken: in an image, below one another and side by side.
type box struct{ n, top, bottom, left, right int }

// around is the box of the first places, and how many those are: all of an image that leave little of it unused, at least one.
func (l *layer) around(at []place) (box, int) {
	b := box{at[0].n, at[0].i, at[0].i + 1, at[0].j, at[0].j + 1}
	n := 1
	for ; n < len(at) && at[n].n == b.n; n++ {
		p := at[n]
		c := box{b.n, min(b.top, p.i), max(b.bottom, p.i+1), min(b.left, p.j), max(b.right, p.j+1)}
		if p.i != at[n-1].i && (c.bottom-c.top)*(c.right-c.left) > 4*(n+c.right-c.left) {
			break
		}
		b = c
	}
	return b, n
}

func (l *layer) readBox(f []float32, at []place, b box, raw []float32, stride int) {
	width := b.right - b.left
	values := len(l.rows) * len(l.cols) // of a channel
	var lines [][together]float32
	for r, rows := range l.rows {
		top, bottom := reached(l.rows[r:r+1], b.top, b.bottom, l.h)
		lines = slices.Grow(lines[:0], max(bottom-top, 0)*width)[:max(bottom-top, 0)*width]
		for s, cols := range l.cols {
			for c := 0; c < l.c; c += together {
				channels := min(together, l.c-c)
				for k := range channels {
					plane := f[(b.n*l.c+c+k)*l.h*l.w:][:l.h*l.w]
					for y := top; y < bottom; y++ {
						along(lines[(y-top)*width:][:width], k, plane[y*l.w:][:l.w], cols[b.left:b.right])
					}
				}
				k := l.first + c*values + r*len(l.cols) + s
				for p, to := range at {
					var sum [together]float32
					t := rows[to.i]
					for a, w := range t.W {
						line := &lines[(t.Lo-top+a)*width+to.j-b.left]
						sum[0] += w * line[0]
						sum[1] += w * line[1]
						sum[2] += w * line[2]
						sum[3] += w * line[3]
						sum[4] += w * line[4]
						sum[5] += w * line[5]
						sum[6] += w * line[6]
						sum[7] += w * line[7]
					}
					for i, v := range sum[:channels] {
						raw[p*stride+k+i*values] = v
					}
				}
			}
		}
	}
}

// along sets number k of every element to the sum of its taps of a row.
func along(sums [][together]float32, k int, row []float32, cols axis.Map) {
	for j := range sums {
		t := &cols[j]
		x := row[t.Lo:]
		var line float32
		switch w := t.W; len(w) {
		case 1:
			line += w[0] * x[0]
		case 3:
			x := x[:3]
			line += w[0] * x[0]
			line += w[1] * x[1]
			line += w[2] * x[2]
		case 4:
			x := x[:4]
			line += w[0] * x[0]
			line += w[1] * x[1]
			line += w[2] * x[2]
			line += w[3] * x[3]
		default:
			for i, w := range w {
				line += w * x[i]
			}
		}
		sums[j][k] = line
	}
}

// spread is the adjoint of read for the channels from c on, together of them at most: it adds to the gradient df, place after
// place.
func (l *layer) spread(df []float32, c int, at []place, raw []float32, stride int) {
	for len(at) > 0 {
		box, n := l.around(at)
		l.spreadBox(df, c, at[:n], box, raw, stride)
		at, raw = at[n:], raw[n*stride:]
	}
}

// spreadBox is spread for places in a box: meanwhile the channels of a cell lie side by side.
func (l *layer) spreadBox(df []float32, c int, at []place, b box, raw []float32, stride int) {
	values := len(l.rows) * len(l.cols) // of a channel
	channels := min(together, l.c-c)
	top, bottom := reached(l.rows, b.top, b.bottom, l.h)
	left, right := reached(l.cols, b.left, b.right, l.w)
	width := right - left
	if bottom <= top || width <= 0 {
		return
	}
	cells := make([][together]float32, (bottom-top)*width)
	each := func(do func(cells [][together]float32, k int, row []float32)) {
		for k := range channels {
			for y := top; y < bottom; y++ {
				do(cells[(y-top)*width:][:width], k, df[((b.n*l.c+c+k)*l.h+y)*l.w+left:][:width])
			}
		}
	}
	each(func(cells [][together]float32, k int, row []float32) {
		for i, v := range row {
			cells[i][k] = v
		}
	})
	var g [together]float32
	for p, to := range at {
		from := raw[p*stride+l.first+c*values:][:channels*values]
		for r, rows := range l.rows {
			for s, cols := range l.cols {
				for k := range channels {
					g[k] = from[k*values+r*len(l.cols)+s]
				}
				if ty, tx := rows[to.i], cols[to.j]; len(ty.W) > 0 && len(tx.W) > 0 {
					vec.Spread(cells[(ty.Lo-top)*width+tx.Lo-left:], width, ty.W, tx.W, &g)
				}
			}
		}
	}
	each(func(cells [][together]float32, k int, row []float32) {
		for i := range row {
			row[i] = cells[i][k]
		}
	})
}

// reached are the cells of an axis of so many that the taps of lo to hi reach.
func reached(maps []axis.Map, lo, hi, cells int) (from, to int) {
	from = cells
	for _, m := range maps {
		for _, t := range m[lo:hi] {
			if len(t.W) > 0 {
				from, to = min(from, t.Lo), max(to, t.Lo+len(t.W))
			}
		}
	}
	return from, to
}

// pool computes q [dim] from raw values; mid [layers,dim] is working space.
func (v *view) pool(raw, mid, q []float32) {
	for i, l := range v.layers {
		adapt(mid[i*v.dim:(i+1)*v.dim], raw[l.first:l.first+l.values()])
	}
	adapt(q, mid)
}

// unpool is the adjoint of pool.
func (v *view) unpool(dq, mid, raw []float32) {
	adaptBack(dq, mid)
	for i, l := range v.layers {
		adaptBack(mid[i*v.dim:(i+1)*v.dim], raw[l.first:l.first+l.values()])
	}
}

// bin is the range of n values that value i of m pools: torch's AdaptiveAvgPool1d.
func bin(i, n, m int) (lo, hi int) { return i * n / m, ((i+1)*n + m - 1) / m }

func adapt(dst, src []float32) {
	for i := range dst {
		lo, hi := bin(i, len(src), len(dst))
		var sum float32
		for _, x := range src[lo:hi] {
			sum += x
		}
		dst[i] = sum / float32(hi-lo)
	}
}

// adaptBack is the adjoint of adapt: it overwrites dsrc.
func adaptBack(ddst, dsrc []float32) {
	clear(dsrc)
	for i, g := range ddst {
		lo, hi := bin(i, len(dsrc), len(ddst))
		g /= float32(hi - lo)
		for j := lo; j < hi; j++ {
			dsrc[j] += g
		}
	}
}
