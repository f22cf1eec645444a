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
	"runtime"
	"sync"

	"f2pad/engine/exec"
	"f2pad/engine/internal/par"
	"f2pad/engine/method"
	"f2pad/engine/method/internal/axis"
	"f2pad/engine/nd"

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
	h, w    int // of the grid that positions are of; 0 if there is no condition
	theta   []float32
	largest float64 // q in the training images
	average float64 // of them

	encoding *encoding
	ex       exec.Executor
	mu       sync.Mutex
	idle     [2][]exec.Net // without and with gradient
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

// On implements method.Method: flows run on the CPU (method.ErrNoDevice).
func (m *Model) On(method.Device) (method.Method, error) {
	return nil, fmt.Errorf("cflow: %w", method.ErrNoDevice)
}

// Close implements method.Method.
func (m *Model) Close() error {
	var errs []error
	for _, l := range m.layers {
		l.mu.Lock()
		for k, nets := range l.idle {
			for _, n := range nets {
				errs = append(errs, n.Close())
			}
			l.idle[k] = nil
		}
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Vectors go through a flow in parts of rows, two for each core at once.
const (
	rows = 128
	nets = 4 // that wait for work, at most
)

func (l *layer) take(gradient int) (exec.Net, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle[gradient]); n > 0 {
		net := l.idle[gradient][n-1]
		l.idle[gradient] = l.idle[gradient][:n-1]
		return net, nil
	}
	g, err := l.graph(rows, l.theta, logDense)
	if err != nil {
		return nil, err
	}
	return l.ex.Compile(g, gradient == 1)
}

func (l *layer) give(gradient int, net exec.Net) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.idle[gradient]) == nets {
		return net.Close()
	}
	l.idle[gradient] = append(l.idle[gradient], net)
	return nil
}

// vectors is what goes through a flow: x [n,D] and the encodings of their positions [n,C].
type vectors struct{ x, c []float32 }

func (l *layer) newVectors(n int) vectors {
	return vectors{make([]float32, n*l.d), make([]float32, n*l.flow.c)}
}

// density fills q with log p / D of the vectors and, if it is not nil, unit [n,D] with dq/dx.
func (l *layer) density(ctx context.Context, v vectors, q, unit []float32) (err error) {
	kind := 0
	if unit != nil {
		kind = 1
	}
	net, err := l.take(kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.give(kind, net)) }()
	most := rows * 2 * runtime.GOMAXPROCS(0)
	for lo := 0; lo < len(q); lo += most {
		n := min(len(q)-lo, most)
		count := (n + rows - 1) / rows
		in := []*tensor.Dense{padded(v.x[lo*l.d:], n*l.d, count, rows, l.d)}
		if l.flow.c > 0 {
			in = append(in, padded(v.c[lo*l.flow.c:], n*l.flow.c, count, rows, l.flow.c))
		}
		out := nd.New(count, rows, 1)
		if err := net.Forward(ctx, in, []*tensor.Dense{out}); err != nil {
			return err
		}
		copy(q[lo:lo+n], nd.Data(out))
		if unit == nil {
			continue
		}
		for i := range nd.Data(out) {
			nd.Data(out)[i] = 1
		}
		dx := make([]*tensor.Dense, len(in))
		dx[0] = nd.New(count, rows, l.d)
		if err := net.Backward(ctx, []*tensor.Dense{out}, dx); err != nil {
			return err
		}
		copy(unit[lo*l.d:(lo+n)*l.d], nd.Data(dx[0]))
	}
	return ctx.Err()
}

// padded is a tensor that begins with n values of x, or holds them if there are as many.
func padded(x []float32, n int, shape ...int) *tensor.Dense {
	if size := nd.Size(shape...); n == size {
		return nd.Wrap(x[:n], shape...)
	}
	t := nd.New(shape...)
	copy(nd.Data(t), x[:n])
	return t
}

// view is how a batch's layer lies under the finest grid.
type view struct {
	*layer
	h, w       int
	rows, cols axis.Map // of the finest grid
	origins    [][2]int // cells of the layer's whole grid that cells (0,0) are
	at         []int    // cells that are looked at, of all images, ascending
	q          []float32
	unit       []float32 // [len(at),D]
}

func (v *view) cells() int { return v.h * v.w }

// views lays the layers of a batch under its grid, and lists the cells that the wanted locations read.
func (m *Model) views(f []*tensor.Dense, g method.Grid, r *method.Result) ([]*view, error) {
	views := make([]*view, len(f))
	for i, t := range f {
		v := &view{layer: m.layers[i], h: t.Shape()[2], w: t.Shape()[3], origins: make([][2]int, g.N)}
		if g.H%v.h != 0 || g.W%v.w != 0 {
			return nil, fmt.Errorf("layer %d has %dx%d cells, the finest %dx%d: want whole cells in each", i+1, v.h, v.w, g.H, g.W)
		}
		kh, kw := g.H/v.h, g.W/v.w
		for n := range g.N {
			row, col := r.Origin(n)
			if row%kh != 0 || col%kw != 0 {
				return nil, fmt.Errorf("a window at cell (%d,%d), which is not at a border of layer %d's cells", row, col, i+1)
			}
			row, col = row/kh, col/kw
			if !m.opts.Native && (row+v.h > v.layer.h || col+v.w > v.layer.w) {
				return nil, fmt.Errorf("layer %d has %dx%d locations at cell (%d,%d), but the model %dx%d: it was fitted for one image size",
					i+1, v.h, v.w, row, col, v.layer.h, v.layer.w)
			}
			v.origins[n] = [2]int{row, col}
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

// load gathers the vectors of the cells that are looked at.
func (v *view) load(f *tensor.Dense) vectors {
	out := v.newVectors(len(v.at))
	data, cells := nd.Data(f), v.cells()
	par.Range(len(v.at), 64, func(lo, hi int) {
		for k := lo; k < hi; k++ {
			n, at := v.at[k]/cells, v.at[k]%cells
			to := out.x[k*v.d : (k+1)*v.d]
			for c := range to {
				to[c] = data[(n*v.d+c)*cells+at]
			}
			if v.flow.c > 0 {
				v.encoding.put(out.c[k*v.flow.c:(k+1)*v.flow.c], v.origins[n][0]+at/v.w, v.origins[n][1]+at%v.w)
			}
		}
	})
	return out
}

// look computes the likelihoods, and their gradients if there will be a use for them.
func (v *view) look(ctx context.Context, f *tensor.Dense, n int, gradient bool) error {
	q := make([]float32, len(v.at))
	if gradient {
		v.unit = make([]float32, len(v.at)*v.d)
	}
	if err := v.density(ctx, v.load(f), q, v.unit); err != nil {
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
	par.For(len(views), func(l int) {
		v, to := views[l], nd.Data(df[l])
		clear(to)
		for k, cell := range v.at {
			d := dq[l][cell]
			if d == 0 {
				continue
			}
			n, at := cell/v.cells(), cell%v.cells()
			for c, u := range v.unit[k*v.d : (k+1)*v.d] {
				to[(n*v.d+c)*v.cells()+at] = float32(d * float64(u))
			}
		}
	})
	return nil
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
