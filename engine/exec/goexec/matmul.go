package goexec

import (
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
)

// product is a batch of matrix products [m,k] * [k,n] of one image, cut into blocks of columns.
type product struct {
	m, k, n int
	kernel  *gemm.Kernel
	nest    nest // of the batch; strides in matrices
	store   *store
	packed  []*weights // a constant right side, else nil: packed block by block in scratch
	bias    []float32  // [n], or nil
}

// columns is how many columns a unit works on, at most: a multiple of every kernel's.
const columns = 384

func (p *product) lower() kernel {
	blocks := (p.n + columns - 1) / columns
	left, right := p.kernel.SizeA(p.m, p.k), 0
	if p.packed == nil {
		right = p.kernel.SizeB(p.k, min(p.n, columns))
	}
	return kernel{
		units:   p.nest.size() * blocks,
		cost:    p.m * p.k * min(p.n, columns) / 8,
		scratch: left + right,
		packed:  p.packed != nil,
		run: func(c *call, lo, hi int) {
			a := c.scratch[:left]
			for u := lo; u < hi; u++ {
				i, j := u/blocks, u%blocks*columns
				cols := min(columns, p.n-j)
				at := p.nest.at(i)
				p.kernel.PackA(a, p.m, p.k, c.in[0][at[0]*p.m*p.k:])
				var b []float32
				if p.packed != nil {
					b = p.packed[at[1]].floats[j*p.k:]
				} else {
					b = c.scratch[left:][:right]
					p.kernel.PackB(b, p.k, p.n, c.in[1][at[1]*p.k*p.n:][:p.k*p.n], false, j, j+cols)
				}
				y := c.out[i*p.m*p.n:][:p.m*p.n]
				p.kernel.Mul(y[j:], p.n, p.m, cols, p.k, a, b)
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

// constant packs a constant right side [k,n], or with trans [n,k].
func (p *product) constant(w []float32, trans bool) {
	b := make([]float32, p.kernel.SizeB(p.k, p.n))
	p.kernel.PackB(b, p.k, p.n, w, trans, 0, p.n)
	p.packed = append(p.packed, p.store.keep(b))
}

func lowerMatMul(o *operation) (kernel, error) {
	a, b, y := o.in[0], o.in[1], o.out
	rank := len(y)
	p := &product{kernel: &o.isa.Many, store: o.store, k: b[len(b)-2], n: b[len(b)-1], m: 1}
	if rank > 2 { // else the rows are the images
		p.m = y[rank-2]
		drop := func(s graph.Shape) []int { return perImage(s, rank)[:rank-3] }
		p.nest = newNest(drop(y), drop(a), drop(b))
	}
	if w := o.consts[1]; w != nil {
		for size := p.k * p.n; len(w) > 0; w = w[size:] {
			p.constant(w[:size], false)
		}
	}
	return p.lower(), nil
}

// lowerGemm folds alpha into B and beta into C.
func lowerGemm(o *operation) (kernel, error) {
	p := &product{kernel: &o.isa.Many, store: o.store, k: o.in[0][1], n: o.out[1], m: 1}
	p.constant(scaled(o.consts[1], o.Float("alpha", 1)), o.Int("transB", 0) != 0)
	if len(o.consts) == 3 && o.consts[2] != nil {
		c := scaled(o.consts[2], o.Float("beta", 1))
		if len(c) == 1 {
			c = slices.Repeat(c, p.n)
		}
		p.bias = c
	}
	return p.lower(), nil
}

func scaled(x []float32, by float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = v * by
	}
	return y
}
