// Package padim is PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and
// Localization", 2021): a Gaussian per grid location over the concatenated features of all layers.
//
// Layers are brought to the first layer's grid by nearest upsampling and concatenated, and K of the D channels are kept.
// The score of a location with kept features f is its Mahalanobis distance, not squared,
//
//	s = sqrt((f-mu)' Sigma^-1 (f-mu)) = |M (f-mu)|,   ds/df = M' M (f-mu) / s   (0 where s = 0),
//
// where M = L^-1 is the inverse of Sigma's Cholesky factor. M is stored as packed lower-triangular float32, K(K+1)/2
// values per location (550 channels at 56x56 locations: 1.9 GB): half of the inverse covariance, and it gives score and
// gradient without cancellation. A pass over a batch reads every location's M once.
package padim

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/internal/cholesky"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

const name = "padim"

// Model is a fitted PaDiM. It is immutable and safe for concurrent use.
type Model struct {
	opts     Options
	widths   []int     // channels of each layer
	channels []int     // kept channels of the concatenation, ascending; K of them
	h, w     int       // grid of the Gaussians; 1x1 if one is shared by all locations
	mean     []float32 // [h*w,K]
	factor   []float32 // [h*w,K(K+1)/2]: M row by row
}

var _ method.Method = (*Model)(nil)

// Name returns "padim".
func (m *Model) Name() string { return name }

// Shape implements method.Method: the grid is the Gaussians', unless one serves all locations.
func (m *Model) Shape() method.Shape {
	if m.opts.Native {
		return method.Shape{Widths: m.widths}
	}
	return method.Shape{Widths: m.widths, H: m.h, W: m.w}
}

// Map is bilinear with a Gaussian of sigma 4 px, cut at 16 px.
func (m *Model) Map() method.MapOptions {
	return method.MapOptions{Sigma: 4, Radius: 16, Reflect101: m.opts.Profile == "anomalib"}
}

// Description is what Describe returns.
type Description struct {
	Options
	Layers []int  `json:"layers"` // channels of each layer
	Kept   int    `json:"kept"`   // K
	Grid   [2]int `json:"grid"`   // rows and columns of Gaussians; 1x1 if Native
}

// Describe returns a Description.
func (m *Model) Describe() any {
	return Description{Options: m.opts, Layers: m.widths, Kept: len(m.channels), Grid: [2]int{m.h, m.w}}
}

// Score implements method.Method. It leaves r.Image as it is: PaDiM's image score is the maximum of its map. The cost is
// K^2/2 multiplications per wanted location, twice that with r.Gradient.
func (m *Model) Score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	g, err := r.Check(f, m.widths)
	if err != nil {
		return fmt.Errorf("padim: %w", err)
	}
	fitted := m.Gaussians()
	for n := range g.N {
		row, col := r.Origin(n)
		if err := fitted.Cover(g.H, g.W, row, col); err != nil {
			return err
		}
	}
	at, state := m.wanted(g, r)
	k := len(m.channels)
	var unit []float32
	if r.Gradient {
		unit = make([]float32, len(at)*k)
		r.Aux = &gradients{at, unit}
	}
	in := newSources(f, m.widths, m.channels, g)
	s := nd.Data(r.S)
	step := max(1, chunk/k)
	x, dist := make([]float32, min(step, len(at))*k), make([]float32, min(step, len(at)))
	for lo := 0; lo < len(at); lo += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi := min(lo+step, len(at))
		x, dist := x[:(hi-lo)*k], dist[:hi-lo]
		par.Range(hi-lo, grain, func(a, b int) {
			for l, p := range at[lo+a : lo+b] {
				to := x[(a+l)*k : (a+l+1)*k]
				for c := range to {
					to[c] = *in[c].value(p.n, p.location)
				}
			}
		})
		var u []float32
		if r.Gradient {
			u = unit[lo*k : hi*k]
		}
		if err := m.distances(ctx, x, state[lo:hi], dist, u); err != nil {
			return fmt.Errorf("padim: %w", err)
		}
		for l, p := range at[lo:hi] {
			s[p.n*g.Cells()+p.location] = dist[l]
		}
	}
	return ctx.Err()
}

// chunk is how many feature values meet the Gaussians at once: 16 MB.
const chunk = 1 << 22

// gradients is a Result's Aux: ds/dx of the wanted locations.
type gradients struct {
	at   []place
	unit []float32 // [len(at),K]
}

// wanted lists the wanted locations of a batch and their Gaussians, sorted by Gaussian, so that the images of a batch
// share the reading of it, and by image.
func (m *Model) wanted(g method.Grid, r *method.Result) ([]place, []int32) {
	fitted := m.Gaussians()
	visit := func(wanted func(p place, state int)) {
		for n := range g.N {
			row, col := r.Origin(n)
			for v := range g.Cells() {
				if r.Where == nil || r.Where[n*g.Cells()+v] {
					wanted(place{n, v}, fitted.Of(row+v/g.W, col+v%g.W))
				}
			}
		}
	}
	next := make([]int, m.h*m.w+1) // where the next location of each Gaussian goes
	visit(func(_ place, state int) { next[state+1]++ })
	for s := range m.h * m.w {
		next[s+1] += next[s]
	}
	at, state := make([]place, next[m.h*m.w]), make([]int32, next[m.h*m.w])
	visit(func(p place, s int) {
		at[next[s]], state[next[s]] = p, int32(s)
		next[s]++
	})
	return at, state
}

// Grad implements method.Method: K additions per wanted location.
func (m *Model) Grad(ctx context.Context, f []*tensor.Dense, r *method.Result, dS *tensor.Dense, df []*tensor.Dense) error {
	g, err := r.CheckGrad(f, dS, df, m.widths)
	if err != nil {
		return fmt.Errorf("padim: %w", err)
	}
	kept, ok := r.Aux.(*gradients)
	if !ok {
		return errors.New("padim: gradient of a result that Score has not prepared for it")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, t := range df {
		clear(nd.Data(t))
	}
	ds := nd.Data(dS)
	out := newSources(df, m.widths, m.channels, g)
	// A channel's plane belongs to one goroutine, which adds the locations in their order.
	par.For(len(out), func(c int) {
		for l, p := range kept.at {
			if w := ds[p.n*g.Cells()+p.location]; w != 0 {
				*out[c].value(p.n, p.location) += w * kept.unit[l*len(out)+c]
			}
		}
	})
	return nil
}

func (m *Model) factorOf(state int) []float32 {
	t := cholesky.Packed(len(m.channels))
	return m.factor[state*t : (state+1)*t]
}

// source is one kept channel of a batch of feature maps on the finest grid.
type source struct {
	data  []float32 // of the channel's layer, from the channel's first value in the first image on
	image int       // values from one image to the next
	cell  []int32   // per location: the layer's cell; nil if its grid is the finest
}

func newSources(f []*tensor.Dense, widths, channels []int, g method.Grid) []source {
	all := make([]source, 0, len(channels))
	first, layer := 0, 0
	var cell []int32
	for _, c := range channels {
		for c-first >= widths[layer] {
			first += widths[layer]
			layer++
			cell = nearest(f[layer].Shape(), g)
		}
		plane := f[layer].Shape()[2] * f[layer].Shape()[3]
		all = append(all, source{
			data: nd.Data(f[layer])[(c-first)*plane:], image: widths[layer] * plane, cell: cell,
		})
	}
	return all
}

// nearest gives the cell of a layer that each location of the finest grid reads: floor(i hl/h), floor(j wl/w).
func nearest(layer tensor.Shape, g method.Grid) []int32 {
	hl, wl := layer[2], layer[3]
	if hl == g.H && wl == g.W {
		return nil
	}
	cell := make([]int32, g.Cells())
	for v := range cell {
		cell[v] = int32(Cell(v/g.W, hl, g.H)*wl + Cell(v%g.W, wl, g.W))
	}
	return cell
}

// value is the channel's value at a location of image n.
func (s *source) value(n, location int) *float32 {
	if s.cell != nil {
		location = int(s.cell[location])
	}
	return &s.data[n*s.image+location]
}

// place is a location of an image of the batch.
type place struct{ n, location int }
