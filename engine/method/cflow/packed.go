package cflow

import (
	"math"
	"sync"

	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/par"
)

// packed is a flow ready to run: its parameters as the products read them. While nobody loads it is safe for concurrent use.
type packed struct {
	*flow
	isa              *gemm.ISA
	kernel           *gemm.Kernel
	center           []float32 // -mean [D]; nil: no whitening
	whiten, unwhiten []float32 // M, M'
	couplings        []coupling
	fixed            float64      // of log |det| / D: that of M
	constant         float32      // of log p / D
	rows, couplers   []int        // where the rows of a panel begin, and in a trace's in those of [y1 c]
	panels           [2]sync.Pool // of *panel, without and with what gradients need
}

// coupling is a block's parameters, for both directions.
type coupling struct {
	w1, w2, mix             []float32 // W1' [hidden,inner], W2' [2 right,hidden], (g R)' [D,D]
	w1Back, w2Back, mixBack []float32 // W1 of y1 [left,hidden], 0.1 W2 [hidden,2 right], g R [D,D]
	b1, b2, o               []float32
	g                       []float64
}

// pack makes the flow ready with these parameters.
func (f *flow) pack(theta []float32) *packed { return f.packFor(gemm.Best(), theta) }

func (f *flow) packFor(isa *gemm.ISA, theta []float32) *packed {
	p := &packed{flow: f, isa: isa, kernel: &isa.Wide, couplings: make([]coupling, f.blocks)}
	for l := range max(f.d+f.c, f.hidden()) {
		p.rows = append(p.rows, l*width)
	}
	p.couplers = append(append(p.couplers, p.rows[f.c:f.c+f.left()]...), p.rows[:f.c]...)
	if f.mean != nil {
		p.center = make([]float32, f.d)
		for i, m := range f.mean {
			p.center[i] = -m
			p.fixed += math.Log(float64(f.whiten[i*f.d+i])) / float64(f.d)
		}
		p.whiten, p.unwhiten = p.transposed(nil, f.d, f.d, f.whiten), p.straight(nil, f.d, f.d, f.whiten)
	}
	for k, gradient := range []bool{false, true} {
		p.panels[k].New = func() any { return p.newPanel(gradient) }
	}
	p.load(theta)
	return p
}

// load takes other parameters.
func (p *packed) load(theta []float32) {
	all := p.parameters()
	par.For(len(p.couplings), func(k int) {
		var of [parts][]float32
		for i, q := range all[k*parts : (k+1)*parts] {
			of[i] = theta[q.at : q.at+q.size()]
		}
		p.loadCoupling(&p.couplings[k], of, p.mixes[k*p.d*p.d:(k+1)*p.d*p.d])
	})
	det := p.fixed
	for _, b := range p.couplings {
		log := 0.0
		for _, g := range b.g {
			log += math.Log(g) / float64(p.d)
		}
		det += log
	}
	p.constant = float32(det - 0.5*math.Log(2*math.Pi))
}

// loadCoupling joins a block's scales, offsets and rotation: R (g y + o) = (g R) y + R o.
func (p *packed) loadCoupling(b *coupling, of [parts][]float32, rotation []float32) {
	d, hidden, right := p.d, p.hidden(), p.right()
	mix, sum := make([]float32, d*d), make([]float64, d)
	b.g, b.o = make([]float64, d), make([]float32, d)
	for i := range d {
		b.g[i] = 0.2 * softplus(float64(of[scale][i])/2)
		for j, r := range rotation[i*d : (i+1)*d] {
			mix[i*d+j] = float32(b.g[i] * float64(r))
			sum[j] += float64(of[offset][i]) * float64(r)
		}
	}
	for j, v := range sum {
		b.o[j] = float32(v)
	}
	tenth := make([]float32, len(of[w2]))
	for i, v := range of[w2] {
		tenth[i] = 0.1 * v
	}
	b.b1, b.b2 = of[b1], of[b2]
	b.w1 = p.transposed(b.w1, hidden, p.inner(), of[w1])
	b.w2 = p.transposed(b.w2, 2*right, hidden, of[w2])
	b.mix = p.transposed(b.mix, d, d, mix)
	b.w1Back = p.straight(b.w1Back, p.left(), hidden, of[w1])
	b.w2Back = p.straight(b.w2Back, hidden, 2*right, tenth)
	b.mixBack = p.straight(b.mixBack, d, d, mix)
}

// straight packs w [m,depth] into a buffer, a new one if that is nil; transposed packs the transpose of w [depth,m].
func (p *packed) straight(to []float32, m, depth int, w []float32) []float32 {
	to = p.room(to, m, depth)
	p.kernel.PackA(to, m, depth, w)
	return to
}

func (p *packed) transposed(to []float32, m, depth int, w []float32) []float32 {
	to = p.room(to, m, depth)
	p.kernel.PackTransposedA(to, m, depth, w)
	return to
}

func (p *packed) room(to []float32, m, depth int) []float32 {
	if to == nil {
		to = make([]float32, p.kernel.SizeA(m, depth))
	}
	return to
}

// product sets rows of dst, or with more adds to them, to the product of a packed matrix and the rows of x that begin at. It
// writes whole bands: newRows has room for them.
func (p *packed) product(dst []float32, rows int, a, x []float32, at []int, more bool) {
	k := p.kernel
	for i := 0; i < rows; i += k.Rows {
		for j := 0; j < width; j += k.Cols {
			k.Part(dst[i*width+j:], width, k.Rows, k.Cols, len(at), a[i*len(at):], x[j:], at, zeros[:k.Rows], more, gemm.Unbounded())
		}
	}
}

var zeros [16]float32 // what sums begin with, for each row of a band

// newRows is n rows of a panel, and as many more as a band is whole with.
func (p *packed) newRows(n int) []float32 {
	return make([]float32, (n+p.kernel.Rows-1)/p.kernel.Rows*p.kernel.Rows*width)
}
