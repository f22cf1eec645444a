package goexec

import (
	"slices"

	"f2pad/engine/graph"
	"f2pad/engine/internal/gemm"
)

// product is a batch of matrix products [m,k] * [k,n] of one image, cut into blocks of columns.
type product struct {
	m, k, n int
	nest    nest            // of the batch; strides in matrices
	packed  []*gemm.PackedB // of a constant right side, else nil: packed block by block in scratch
	bias    []float32       // [n], or nil
}

// columns is how many columns a unit works on.
const columns = 16 * gemm.NR

func (p *product) kernel() kernel {
	blocks := (p.n + columns - 1) / columns
	pack := 0
	if p.packed == nil {
		pack = gemm.Panels(p.k, min(p.n, columns))
	}
	return kernel{
		units:   p.nest.size() * blocks,
		cost:    p.m * p.k * min(p.n, columns),
		scratch: pack,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				i, j := u/blocks, u%blocks*columns
				cols := min(columns, p.n-j)
				at := p.nest.at(i)
				var panels []float32
				if p.packed != nil {
					panels = p.packed[at[1]].Columns(j, j+cols)
				} else {
					panels = c.scratch[:gemm.Panels(p.k, cols)]
					gemm.PackColumns(panels, p.k, p.n, c.in[1][at[1]*p.k*p.n:][:p.k*p.n], false, j, j+cols)
				}
				y := c.out[i*p.m*p.n:][:p.m*p.n]
				gemm.MulPanels(y[j:], p.n, p.m, cols, p.k, c.in[0][at[0]*p.m*p.k:][:p.m*p.k], panels)
				if p.bias != nil {
					for r := range p.m {
						row := y[r*p.n+j:][:cols]
						for q, v := range p.bias[j:][:cols] {
							row[q] += v
						}
					}
				}
			}
		},
	}
}

func lowerMatMul(o *operation) (kernel, error) {
	a, b, y := o.in[0], o.in[1], o.out
	rank := len(y)
	p := &product{k: b[len(b)-2], n: b[len(b)-1], m: 1}
	if rank > 2 { // else the rows are the images
		p.m = y[rank-2]
		drop := func(s graph.Shape) []int { return perImage(s, rank)[:rank-3] }
		p.nest = newNest(drop(y), drop(a), drop(b))
	}
	if w := o.consts[1]; w != nil {
		for size := p.k * p.n; len(w) > 0; w = w[size:] {
			p.packed = append(p.packed, gemm.PackB(p.k, p.n, w[:size], false))
		}
	}
	return p.kernel(), nil
}

// lowerGemm folds alpha into B and beta into C.
func lowerGemm(o *operation) (kernel, error) {
	p := &product{k: o.in[0][1], n: o.out[1], m: 1}
	p.packed = []*gemm.PackedB{gemm.PackB(p.k, p.n, scaled(o.consts[1], o.Float("alpha", 1)), o.Int("transB", 0) != 0)}
	if len(o.consts) == 3 && o.consts[2] != nil {
		c := scaled(o.consts[2], o.Float("beta", 1))
		if len(c) == 1 {
			c = slices.Repeat(c, p.n)
		}
		p.bias = c
	}
	return p.kernel(), nil
}

func scaled(x []float32, by float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = v * by
	}
	return y
}
