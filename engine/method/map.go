package method

import (
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/method/internal/axis"
	"f2pad.example/engine/pixel"
)

// BaseMap turns the scores s [h,w] of one image into its map dst [H,W]: resized to the input's size as o says, then
// blurred. Both steps and both boundaries are linear and separable, so one banded matrix per axis does it: about
// 2*(2*Radius+1)*h/H multiplications per pixel. H and W are usually stride*h and stride*w, but any size works.
//
// It equals torch.nn.functional.interpolate followed by scipy.ndimage.gaussian_filter, or by a convolution with
// PyTorch's reflect padding if o.Reflect101.
func BaseMap(s []float32, h, w, H, W int, o MapOptions, dst []float32) {
	BaseMaps(s, 1, h, w, H, W, o, nil, dst)
}

// BaseMaps is BaseMap of each of a batch, s [n,h,w] to dst [n,H,W], at the wanted pixels [n,H,W], which costs that much less; nil: all. A
// pixel's value is the same whatever else is wanted; the others in dst stay as they are.
func BaseMaps(s []float32, n, h, w, H, W int, o MapOptions, wanted []bool, dst []float32) {
	rows, cols := o.axes(h, w, H, W)
	wide := make([]float32, n*h*W)
	par.For(n, func(i int) { // turned, so that a sum is of whole columns
		top, bottom, columns := reach(wanted, i, h, H, W, rows)
		if top >= bottom {
			return
		}
		var at []int
		high := bottom - top
		in, column := turned(s[i*h*w+top*w:i*h*w+bottom*w], high, w), make([]float32, high)
		for j, t := range cols {
			if columns != nil && !columns[j] {
				continue
			}
			at = at[:0]
			for k := range t.W {
				at = append(at, (t.Lo+k)*high)
			}
			vec.SumRows(column, in, at, t.W)
			for y, v := range column {
				wide[(i*h+top+y)*W+j] = v
			}
		}
	})
	par.Range(n*H, 16, func(lo, hi int) {
		var at []int
		sum := func(i, from, to int) {
			row := rows[i%H]
			at = at[:0]
			for k := range row.W {
				at = append(at, (row.Lo+k)*W+from)
			}
			vec.SumRows(dst[i*W+from:i*W+to], wide[i/H*h*W:], at, row.W)
		}
		for i := lo; i < hi; i++ {
			if wanted == nil {
				sum(i, 0, W)
				continue
			}
			for from, to := range pixel.Runs(wanted[i*W:][:W]) {
				sum(i, from, to)
			}
		}
	})
}

// reach is what image i of a batch needs for its wanted pixels: the rows of scores from top to bottom, and the columns [W] of pixels;
// nil: all.
func reach(wanted []bool, i, h, H, W int, rows axis.Map) (top, bottom int, columns []bool) {
	if wanted == nil {
		return 0, h, nil
	}
	top, columns = h, make([]bool, W)
	for y, row := range rows {
		for from, to := range pixel.Runs(wanted[(i*H+y)*W:][:W]) {
			top, bottom = min(top, row.Lo), max(bottom, row.Lo+len(row.W))
			for x := from; x < to; x++ {
				columns[x] = true
			}
		}
	}
	return top, bottom, columns
}

// turned is the transpose of x [h,w].
func turned(x []float32, h, w int) []float32 {
	out := make([]float32, h*w)
	for i := range h {
		for j, v := range x[i*w:][:w] {
			out[j*h+i] = v
		}
	}
	return out
}

// Cells returns which of the scores [n,h,w] the maps [n,H,W] depend on at the wanted pixels [n,H,W].
func (o MapOptions) Cells(wanted []bool, n, h, w, H, W int) []bool {
	rows, cols := o.axes(h, w, H, W)
	cells := make([]bool, n*h*w)
	par.For(n, func(i int) {
		cells := cells[i*h*w:][:h*w]
		wide := make([]bool, w)
		for y, r := range rows {
			some := false
			for from, to := range pixel.Runs(wanted[(i*H+y)*W:][:W]) {
				if !some {
					clear(wide)
					some = true
				}
				for _, c := range cols[from:to] {
					for k := range c.W {
						wide[c.Lo+k] = true
					}
				}
			}
			if !some {
				continue
			}
			for j, on := range wide {
				if on {
					for k := range r.W {
						cells[(r.Lo+k)*w+j] = true
					}
				}
			}
		}
	})
	return cells
}

// Axis is the map along one axis of n cells and N pixels, for places that make it elsewhere: pixel i is the weighted sum of the
// cells from first on.
func (o MapOptions) Axis(n, N int) func(i int) (first int, weights []float32) {
	m := o.axis(n, N)
	return func(i int) (int, []float32) { return m[i].Lo, m[i].W }
}

// axes are the maps along both.
func (o MapOptions) axes(h, w, H, W int) (rows, cols axis.Map) {
	rows = o.axis(h, H)
	if h == w && H == W {
		return rows, rows
	}
	return rows, o.axis(w, W)
}

// axis is the map along one axis of n cells and N pixels.
func (o MapOptions) axis(n, N int) axis.Map {
	m := axis.Bilinear(n, N)
	if o.Nearest {
		m = axis.Nearest(n, N)
	}
	if o.Sigma > 0 {
		m = axis.Gaussian(N, o.Sigma, o.Radius, o.Reflect101).After(m, n)
	}
	return m
}
