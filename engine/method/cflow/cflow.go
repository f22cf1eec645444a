// Package cflow is CFLOW-AD (Gudovskiy et al., "CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via
// Conditional Normalizing Flows", WACV 2022): for each layer a normalizing flow gives the likelihood of a location's features
// under the condition of where it is.
//
// With q = log p / D of a layer's cell and max its largest value in the training images, a location's score is one of
//
//	sum:  s = log M - log sum_l up(exp(q_l - max_l)),   M the largest sum in the training images,
//	root: the square root of that, a distance, as a Gaussian's is, which blurs like one,
//	mean: s = mean_l up(sqrt((max_l - q_l) / (max_l - mean_l))),
//
// all 0 where a logarithm or a difference would be less; up resizes a layer's grid to the finest with half-pixel centres. sum is a monotonous
// function of the published map, which subtracts the sum from the largest one that it meets among the images scored: it is
// computed from logarithms, so that it neither saturates nor loses its gradient where p is small. The constants belong to the
// model, so an image's score does not depend on others.
//
// A location's q depends on its own features alone, so Score finds dq/dx with one backward pass, and Grad is a weighted sum.
package cflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/internal/axis"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

const name = "cflow"

// Model is a fitted CFLOW-AD. It is immutable and safe for concurrent use.
type Model struct {
	opts   Options
	layers []*layer
	total  float64 // log M
}

var _ method.Method = (*Model)(nil)

// layer is a trained flow and what is known of its likelihoods.
type layer struct {
	flow
	h, w    int // of the grid that positions are of; 0 if images may have any
	theta   []float32
	largest float64 // q in the training images
	average float64 // of them

	encoding *encoding
	once     sync.Once
	packed   *packed
}

// Name returns "cflow".
func (m *Model) Name() string { return name }

// Shape implements method.Method.
func (m *Model) Shape() method.Shape {
	s := method.Shape{H: m.layers[0].h, W: m.layers[0].w}
	for _, l := range m.layers {
		s.Widths = append(s.Widths, l.d)
	}
	return s
}

// Map is bilinear with a Gaussian of sigma 4 px, cut at 16 px, for the profile "compact", else without.
func (m *Model) Map() method.MapOptions {
	if m.opts.Profile == "compact" {
		return method.MapOptions{Sigma: 4, Radius: 16}
	}
	return method.MapOptions{}
}

// Description is what Describe returns.
type Description struct {
	Options
	Layers     []int `json:"layers"`     // channels of each layer
	Parameters []int `json:"parameters"` // of each flow
}

// Describe returns a Description.
func (m *Model) Describe() any {
	d := Description{Options: m.opts}
	for _, l := range m.layers {
		d.Layers, d.Parameters = append(d.Layers, l.d), append(d.Parameters, len(l.theta))
	}
	return d
}

// ready is the flow as it runs, made when it is first needed.
func (l *layer) ready() *packed {
	l.once.Do(func() { l.packed = l.pack(l.theta) })
	return l.packed
}

// view is how a batch's layer lies under the finest grid.
type view struct {
	*layer
	h, w       int
	rows, cols axis.Map // of the finest grid
	origins    [][2]int // cells of the layer's whole grid that cells (0,0) are
	at         []int    // cells that are looked at, of all images, ascending
	q          []float32
	unit       []float32 // dq/dx of the cells at, by panels: [.,D,width]
}

func (v *view) cells() int { return v.h * v.w }

// views lays the layers of a batch under its grid, and lists the cells that the wanted locations read.
func (m *Model) views(f []*tensor.Dense, g method.Grid, r *method.Result) ([]*view, error) {
	views := make([]*view, len(f))
	for i, t := range f {
		v := &view{layer: m.layers[i], h: t.Shape()[2], w: t.Shape()[3], origins: make([][2]int, g.N)}
		for n := range g.N {
			row, col := r.Origin(n)
			var err error
			if v.origins[n], err = place([2]int{v.layer.h, v.layer.w}, [2]int{v.h, v.w}, [2]int{g.H, g.W}, row, col); err != nil {
				return nil, fmt.Errorf("layer %d: %w", i+1, err)
			}
		}
		v.rows, v.cols = axis.Bilinear(v.h, g.H), axis.Bilinear(v.w, g.W)
		v.want(g, r.Where)
		views[i] = v
	}
	return views, nil
}

// want lists the cells that the wanted locations read.
func (v *view) want(g method.Grid, where []bool) {
	read := make([]bool, g.N*v.cells())
	for p := range g.N * g.Cells() {
		if where == nil || where[p] {
			v.taps(g, p, func(cell int, _ float32) { read[cell] = true })
		}
	}
	for cell, is := range read {
		if is {
			v.at = append(v.at, cell)
		}
	}
}

// taps visits the cells that a location of the finest grid reads, with their weights.
func (v *view) taps(g method.Grid, p int, visit func(cell int, w float32)) {
	n, i, j := p/g.Cells(), p%g.Cells()/g.W, p%g.W
	row, col := v.rows[i], v.cols[j]
	for a, wy := range row.W {
		for b, wx := range col.W {
			if w := wy * wx; w != 0 {
				visit(n*v.cells()+(row.Lo+a)*v.w+col.Lo+b, w)
			}
		}
	}
}

// fill puts the cells at[lo:hi] of the batch f into a panel.
func (v *view) fill(to *panel, f []float32, lo, hi int) {
	base, run := v.base(lo, hi)
	for c := range v.d {
		x := row(to.x, c)
		if run {
			copy(x, f[base[0]+c*v.cells():][:hi-lo])
			continue
		}
		for j, b := range base[:hi-lo] {
			x[j] = f[b+c*v.cells()]
		}
	}
	if v.flow.c == 0 {
		return
	}
	codes := to.encodings(v.flow.c)
	for j, cell := range v.at[lo:hi] {
		n, at := cell/v.cells(), cell%v.cells()
		v.encoding.put(codes[j:], width, v.origins[n][0]+at/v.w, v.origins[n][1]+at%v.w)
	}
}

// base is where the first channel of each of the cells at[lo:hi] lies in a batch, and whether they lie side by side.
func (v *view) base(lo, hi int) (base [width]int, run bool) {
	run = true
	for j, cell := range v.at[lo:hi] {
		n, at := cell/v.cells(), cell%v.cells()
		base[j] = n*v.d*v.cells() + at
		run = run && base[j] == base[0]+j
	}
	return base, run
}

// look computes the likelihoods, and their gradients if there will be a use for them.
func (v *view) look(ctx context.Context, f *tensor.Dense, n int, gradient bool) error {
	q := make([]float32, len(v.at))
	if gradient {
		v.unit = make([]float32, (len(v.at)+width-1)/width*width*v.d)
	}
	fill := func(to *panel, lo, hi int) { v.fill(to, nd.Data(f), lo, hi) }
	if err := v.ready().density(ctx, fill, q, v.unit); err != nil {
		return err
	}
	v.q = make([]float32, n*v.cells())
	for k, cell := range v.at {
		v.q[cell] = q[k]
	}
	return nil
}

// Score implements method.Method. It leaves r.Image as it is: the image score is the maximum of the map. The cost is that of the
// flows: for each cell of a layer that a wanted location reads, as many multiplications as the flow has parameters and blocks x
// D^2, three times that with r.Gradient.
func (m *Model) Score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	g, err := r.Check(f, m.Shape().Widths)
	if err != nil {
		return fmt.Errorf("cflow: %w", err)
	}
	views, err := m.views(f, g, r)
	if err != nil {
		return fmt.Errorf("cflow: %w", err)
	}
	for l, v := range views {
		if err := v.look(ctx, f[l], g.N, r.Gradient); err != nil {
			return fmt.Errorf("cflow: layer %d: %w", l+1, err)
		}
	}
	if r.Gradient {
		r.Aux = views
	}
	s := nd.Data(r.S)
	par.Range(len(s), 256, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			if r.Where == nil || r.Where[p] {
				s[p] = float32(m.fuse(views, g, p))
			}
		}
	})
	return ctx.Err()
}

// fuse is the score of location p.
func (m *Model) fuse(views []*view, g method.Grid, p int) float64 {
	switch rare := m.total - logSum(views, g, p); m.opts.Fuse {
	case FuseSum:
		return max(0, rare)
	case FuseRoot:
		return math.Sqrt(max(0, rare))
	}
	sum := 0.0
	for _, v := range views {
		v.taps(g, p, func(cell int, w float32) { sum += float64(w) * v.rarity(cell) })
	}
	return sum / float64(len(views))
}

// rarity is sqrt((max - q)/(max - mean)), 0 where q is larger.
func (v *view) rarity(cell int) float64 {
	return math.Sqrt(max(0, (v.largest-float64(v.q[cell]))/(v.largest-v.average)))
}

// logSum is log sum_l up(exp(q_l - max_l)).
func logSum(views []*view, g method.Grid, p int) float64 {
	most := math.Inf(-1)
	for _, v := range views {
		v.taps(g, p, func(cell int, _ float32) { most = max(most, float64(v.q[cell])-v.largest) })
	}
	sum := 0.0
	for _, v := range views {
		v.taps(g, p, func(cell int, w float32) { sum += float64(w) * math.Exp(float64(v.q[cell])-v.largest-most) })
	}
	return most + math.Log(sum)
}

// Grad implements method.Method: D additions per cell.
func (m *Model) Grad(ctx context.Context, f []*tensor.Dense, r *method.Result, dS *tensor.Dense, df []*tensor.Dense) error {
	g, err := r.CheckGrad(f, dS, df, m.Shape().Widths)
	if err != nil {
		return fmt.Errorf("cflow: %w", err)
	}
	views, ok := r.Aux.([]*view)
	if !ok {
		return errors.New("cflow: gradient of a result that Score has not prepared for it")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dq := make([][]float64, len(views))
	for l, v := range views {
		dq[l] = make([]float64, g.N*v.cells())
	}
	for p, d := range nd.Data(dS) {
		if d != 0 {
			m.spread(views, g, p, float64(d), dq)
		}
	}
	for l, v := range views {
		clear(nd.Data(df[l]))
		par.Range(len(v.at), width, func(lo, hi int) { v.grad(nd.Data(df[l]), dq[l], lo, hi) })
	}
	return nil
}

// grad sets the gradients w.r.t. the cells at[lo:hi], which are a panel.
func (v *view) grad(to []float32, dq []float64, lo, hi int) {
	var d [width]float32
	any := false
	for j, cell := range v.at[lo:hi] {
		d[j] = float32(dq[cell])
		any = any || d[j] != 0
	}
	if !any {
		return
	}
	base, run := v.base(lo, hi)
	for c := range v.d {
		unit := row(v.unit[lo*v.d:], c)[:hi-lo]
		if run {
			vec.Mul(to[base[0]+c*v.cells():][:hi-lo], d[:], unit)
			continue
		}
		for j, u := range unit {
			to[base[j]+c*v.cells()] = d[j] * u
		}
	}
}

// spread adds d ds/dq of location p.
func (m *Model) spread(views []*view, g method.Grid, p int, d float64, dq [][]float64) {
	if m.opts.Fuse != FuseMean {
		log := logSum(views, g, p)
		if !(m.total > log) {
			return
		}
		if m.opts.Fuse == FuseRoot {
			d /= 2 * math.Sqrt(m.total-log)
		}
		for l, v := range views {
			v.taps(g, p, func(cell int, w float32) {
				dq[l][cell] -= d * float64(w) * math.Exp(float64(v.q[cell])-v.largest-log)
			})
		}
		return
	}
	for l, v := range views {
		v.taps(g, p, func(cell int, w float32) {
			if a := v.rarity(cell); a > 0 {
				dq[l][cell] -= d * float64(w) / (2 * a * (v.largest - v.average) * float64(len(views)))
			}
		})
	}
}
