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
	"fmt"
	"math"

	"f2pad/engine/internal/par"
	"f2pad/engine/method"
	"f2pad/engine/nd"

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
// K^2/2 multiplications per wanted location.
func (m *Model) Score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	g, err := r.Check(f, m.widths)
	if err != nil {
		return fmt.Errorf("padim: %w", err)
	}
	s := nd.Data(r.S)
	return m.run(ctx, f, g, r.Origin, func(v int) bool { return r.Where == nil || r.Where[v] }, func(b *block, _ []float32) {
		for lane, p := range b.at {
			s[p.n*g.Cells()+p.location] = float32(b.norm(lane))
		}
	})
}

// Grad implements method.Method: the distances are found again, which costs less than keeping them. K^2 multiplications
// per location with dS != 0.
func (m *Model) Grad(ctx context.Context, f []*tensor.Dense, r *method.Result, dS *tensor.Dense, df []*tensor.Dense) error {
	g, err := r.CheckGrad(f, dS, df, m.widths)
	if err != nil {
		return fmt.Errorf("padim: %w", err)
	}
	for _, t := range df {
		clear(nd.Data(t))
	}
	ds := nd.Data(dS)
	out := newSources(df, m.widths, m.channels, g)
	return m.run(ctx, f, g, r.Origin, func(v int) bool { return ds[v] != 0 }, func(b *block, factor []float32) {
		var scale [lanes]float32
		for lane, p := range b.at {
			if s := b.norm(lane); s > 0 {
				scale[lane] = float32(float64(ds[p.n*g.Cells()+p.location]) / s)
			}
		}
		b.pullBack(factor, scale)
		for k := range out {
			for lane, p := range b.at {
				*out[k].value(p.n, p.location) += b.delta[k][lane]
			}
		}
	})
}

// run calls visit with M(f-mu) of the wanted locations, in blocks that share a Gaussian, and with its M. Blocks that touch
// the same cells of some layer come from one goroutine, in row-major order.
func (m *Model) run(ctx context.Context, f []*tensor.Dense, g method.Grid, origin [2]int, want func(v int) bool,
	visit func(b *block, factor []float32),
) error {
	if !m.opts.Native && (origin[0]+g.H > m.h || origin[1]+g.W > m.w) {
		return fmt.Errorf("padim: %dx%d locations at cell %v, but the model has %dx%d: it was fitted for one image size",
			g.H, g.W, origin, m.h, m.w)
	}
	in := newSources(f, m.widths, m.channels, g)
	rows := bands(f, g.H)
	return par.Err(len(rows)-1, func(t int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := newBlock(len(m.channels))
		flush := func(state int) {
			if len(b.at) > 0 {
				b.load(in, m.meanOf(state))
				b.solve(m.factorOf(state))
				visit(b, m.factorOf(state))
				b.at = b.at[:0]
			}
		}
		state := 0
		for i := rows[t]; i < rows[t+1]; i++ {
			for j := range g.W {
				if !m.opts.Native {
					flush(state)
					state = (origin[0]+i)*m.w + origin[1] + j
				}
				for n := range g.N {
					p := place{n, i*g.W + j}
					if !want(n*g.Cells() + p.location) {
						continue
					}
					if len(b.at) == lanes {
						flush(state)
					}
					b.at = append(b.at, p)
				}
			}
		}
		flush(state)
		return nil
	})
}

func (m *Model) meanOf(state int) []float32 {
	k := len(m.channels)
	return m.mean[state*k : (state+1)*k]
}

func (m *Model) factorOf(state int) []float32 {
	t := packed(len(m.channels))
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
		cell[v] = int32(v/g.W*hl/g.H*wl + v%g.W*wl/g.W)
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

// bands cuts h rows where no layer's cell is read from both sides.
func bands(f []*tensor.Dense, h int) []int {
	cuts := []int{0}
next:
	for i := 1; i < h; i++ {
		for _, t := range f {
			hl := t.Shape()[2]
			if i*hl/h == (i-1)*hl/h {
				continue next
			}
		}
		cuts = append(cuts, i)
	}
	return append(cuts, h)
}

// lanes is how many locations are worked on at once: each value of M is then read once for all of them, and the sums do
// not wait for each other.
const lanes = 4

// place is a location of an image of the batch.
type place struct{ n, location int }

// block is up to lanes places with one Gaussian. All lanes are always computed, whatever unused ones hold: a place's
// result depends neither on its lane nor on the others.
type block struct {
	at       []place
	delta, z [][lanes]float32 // [K]: f-mu, and M(f-mu)
}

func newBlock(k int) *block {
	return &block{at: make([]place, 0, lanes), delta: make([][lanes]float32, k), z: make([][lanes]float32, k)}
}

func (b *block) load(in []source, mean []float32) {
	for k := range in {
		for lane, p := range b.at {
			b.delta[k][lane] = *in[k].value(p.n, p.location) - mean[k]
		}
	}
}

// solve computes z = M delta.
func (b *block) solve(m []float32) {
	for i := range b.z {
		row := m[:i+1]
		m = m[i+1:]
		delta := b.delta[:len(row)]
		var z0, z1, z2, z3 float32
		for j, w := range row {
			d := &delta[j]
			z0 += w * d[0]
			z1 += w * d[1]
			z2 += w * d[2]
			z3 += w * d[3]
		}
		b.z[i] = [lanes]float32{z0, z1, z2, z3}
	}
}

// pullBack replaces delta by M' z scale: the gradient w.r.t. the features.
func (b *block) pullBack(m []float32, scale [lanes]float32) {
	clear(b.delta)
	for i := range b.z {
		row := m[:i+1]
		m = m[i+1:]
		delta := b.delta[:len(row)]
		z := b.z[i]
		z0, z1, z2, z3 := z[0]*scale[0], z[1]*scale[1], z[2]*scale[2], z[3]*scale[3]
		for j, w := range row {
			d := &delta[j]
			d[0] += w * z0
			d[1] += w * z1
			d[2] += w * z2
			d[3] += w * z3
		}
	}
}

// norm is |M delta| of a lane.
func (b *block) norm(lane int) float64 {
	sum := 0.0
	for i := range b.z {
		z := float64(b.z[i][lane])
		sum += z * z
	}
	return math.Sqrt(sum)
}
