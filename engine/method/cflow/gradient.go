package cflow

import (
	"math"
	"runtime"

	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
)

// gradient sums the gradients of the parameters over panels. It has two matrices a block, each a product of two traces over all
// vectors, and sums of rows.
type gradient struct {
	*packed
	kernel  *gemm.Kernel
	scratch []sums // of each goroutine
}

type sums struct {
	a, b, c []float32
	row     [width]float32
	product [width]float32
}

func (p *packed) newGradient(panels int) *gradient {
	g := &gradient{packed: p, kernel: &p.isa.Many, scratch: make([]sums, runtime.GOMAXPROCS(0))}
	depth, most := panels*width, max(p.hidden(), p.inner())
	for i := range g.scratch {
		s := &g.scratch[i]
		s.a, s.b, s.c = make([]float32, g.kernel.SizeA(most, depth)), make([]float32, g.kernel.SizeB(depth, most)), make([]float32, most*most)
	}
	return g
}

// add fills d, in the order of flow.parameters, after backward of all panels. total is the sum of the vectors' weights there.
func (g *gradient) add(d []float32, theta []float32, panels []*panel, total float64) {
	all := g.parameters()
	par.Workers(len(g.scratch), 2*g.blocks, func(worker, i int) {
		k, s := i/2, &g.scratch[worker]
		of := func(part int) []float32 {
			q := all[k*parts+part]
			return d[q.at : q.at+q.size()]
		}
		if i%2 == 0 {
			g.first(of(w1), of(b1), k, panels, s)
			G := all[k*parts+scale]
			g.scales(of(scale), of(offset), theta[G.at:G.at+G.size()], k, panels, total, s)
		} else {
			g.second(of(w2), of(b2), k, panels, s)
		}
	})
}

// first is of W1 [inner,hidden], whose rows are y1's and then c's, other than a trace's.
func (g *gradient) first(dw, db []float32, k int, panels []*panel, s *sums) {
	in := func(v *panel) []float32 { return v.trace(k).in }
	dh := func(v *panel) []float32 { return v.trace(k).dh }
	m, n := g.inner(), g.hidden()
	g.outer(s, m, in, n, dh, panels)
	copy(dw, s.c[g.c*n:m*n])
	copy(dw[g.left()*n:], s.c[:g.c*n])
	for i := range db {
		db[i] = float32(s.sum(i, dh, nil, panels))
	}
}

// second is of W2 [hidden,2 right].
func (g *gradient) second(dw, db []float32, k int, panels []*panel, s *sums) {
	da := func(v *panel) []float32 { return v.trace(k).da }
	m, n := g.hidden(), 2*g.right()
	g.outer(s, m, func(v *panel) []float32 { return v.trace(k).h }, n, da, panels)
	vec.ShiftRows(dw, s.c, m*n, nought, 0.1, unbounded)
	for i := range db {
		db[i] = float32(0.1 * s.sum(i, da, nil, panels))
	}
}

// scales are of G and o: dout is g times the gradient of what is scaled.
func (g *gradient) scales(dG, do, theta []float32, k int, panels []*panel, total float64, s *sums) {
	dout := func(v *panel) []float32 { return v.trace(k).dout }
	out := func(v *panel) []float32 { return v.trace(k).out }
	for i, scale := range g.couplings[k].g {
		do[i] = float32(s.sum(i, dout, nil, panels) / scale)
		slope := 0.1 / (1 + math.Exp(-float64(theta[i])/2))
		dG[i] = float32((s.sum(i, dout, out, panels) + total/float64(g.d)) / scale * slope)
	}
}

// outer sets s.c [m,n] to the sum of x y' over the vectors of all panels.
func (g *gradient) outer(s *sums, m int, x func(*panel) []float32, n int, y func(*panel) []float32, panels []*panel) {
	k, depth := g.kernel, len(panels)*width
	for q, v := range panels {
		for i := 0; i < m; i += k.Rows {
			k.PackA(s.a[i*depth+q*width*k.Rows:], min(k.Rows, m-i), width, x(v)[i*width:])
		}
		for j := 0; j < n; j += k.Cols {
			k.PackB(s.b[j*depth+q*width*k.Cols:], width, n, y(v), true, j, min(j+k.Cols, n))
		}
	}
	k.Mul(s.c, n, m, n, depth, s.a, s.b)
}

// sum is that of row i of x over all panels, or of its product with y's.
func (s *sums) sum(i int, x, y func(*panel) []float32, panels []*panel) float64 {
	clear(s.row[:])
	for _, v := range panels {
		values := row(x(v), i)
		if y != nil {
			vec.Mul(s.product[:], values, row(y(v), i))
			values = s.product[:]
		}
		vec.Add(s.row[:], s.row[:], values)
	}
	sum := 0.0
	for _, v := range s.row {
		sum += float64(v)
	}
	return sum
}
