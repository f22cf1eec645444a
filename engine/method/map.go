package method

import (
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/method/internal/axis"
)

// BaseMap turns the scores s [h,w] of one image into its map dst [H,W]: resized to the input's size as o says, then
// blurred. Both steps and both boundaries are linear and separable, so one banded matrix per axis does it: about
// 2*(2*Radius+1)*h/H multiplications per pixel. H and W are usually stride*h and stride*w, but any size works.
//
// It equals torch.nn.functional.interpolate followed by scipy.ndimage.gaussian_filter, or by a convolution with
// PyTorch's reflect padding if o.Reflect101.
func BaseMap(s []float32, h, w, H, W int, o MapOptions, dst []float32) {
	BaseMaps(s, 1, h, w, H, W, o, dst)
}

// BaseMaps is BaseMap of each of a batch: s [n,h,w] to dst [n,H,W].
func BaseMaps(s []float32, n, h, w, H, W int, o MapOptions, dst []float32) {
	rows, cols := o.axes(h, w, H, W)
	wide := make([]float32, n*h*W)
	par.For(n, func(i int) { // turned, so that a sum is of whole columns
		var at []int
		in, column := turned(s[i*h*w:(i+1)*h*w], h, w), make([]float32, h)
		for j, t := range cols {
			at = at[:0]
			for k := range t.W {
				at = append(at, (t.Lo+k)*h)
			}
			vec.SumRows(column, in, at, t.W)
			for y, v := range column {
				wide[(i*h+y)*W+j] = v
			}
		}
	})
	par.Range(n*H, 16, func(lo, hi int) {
		var at []int
		for i := lo; i < hi; i++ {
			row := rows[i%H]
			at = at[:0]
			for k := range row.W {
				at = append(at, (row.Lo+k)*W)
			}
			vec.SumRows(dst[i*W:(i+1)*W], wide[i/H*h*W:], at, row.W)
		}
	})
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

// Cells returns which of the scores [h,w] of one image the map [H,W] depends on at the wanted pixels [H,W].
func (o MapOptions) Cells(wanted []bool, h, w, H, W int) []bool {
	rows, cols := o.axes(h, w, H, W)
	cells := make([]bool, h*w)
	wide := make([]bool, w)
	for i, r := range rows {
		row := wanted[i*W : (i+1)*W]
		if !slices.Contains(row, true) {
			continue
		}
		clear(wide)
		for j, on := range row {
			if on {
				for k := range cols[j].W {
					wide[cols[j].Lo+k] = true
				}
			}
		}
		for j, on := range wide {
			if on {
				for k := range r.W {
					cells[(r.Lo+k)*w+j] = true
				}
			}
		}
	}
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
