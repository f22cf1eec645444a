// Package patchcore is PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022): the
// score of a location is the distance of its patch vector to the nearest member of a bank, a coreset of the patch vectors
// of normal images.
//
// Patch vectors q are linear in the features (see embedding), so with the nearest member b the gradient is
//
//	s = |q-b|, ds/dq = (q-b)/s (0 where s = 0),   or   s = |q-b|^2, ds/dq = 2(q-b),
//
// pulled back through the embedding's adjoint. Where two members are equally near, the one of lower index counts.
package patchcore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"f2pad/engine/internal/par"
	"f2pad/engine/method"
	"f2pad/engine/nd"

	"gorgonia.org/tensor"
)

const name = "patchcore"

// Model is a fitted PatchCore. It is immutable and safe for concurrent use.
type Model struct {
	opts  Options
	embed embedding
	bank  *bank
}

var _ method.Method = (*Model)(nil)

// Name returns "patchcore".
func (m *Model) Name() string { return name }

// Map is bilinear, or nearest for the profile "anomalib", with a Gaussian of sigma 4 px, cut at 16 px.
func (m *Model) Map() method.MapOptions {
	anomalib := m.opts.Profile == "anomalib"
	return method.MapOptions{Nearest: anomalib, Sigma: 4, Radius: 16, Reflect101: anomalib}
}

// Description is what Describe returns.
type Description struct {
	Options
	Layers []int `json:"layers"` // channels of each layer
	Dim    int   `json:"dim"`    // D
	Bank   int   `json:"bank"`   // M
}

// Describe returns a Description.
func (m *Model) Describe() any {
	return Description{Options: m.opts, Layers: m.embed.widths, Dim: m.embed.dim, Bank: m.bank.size()}
}

// queries is how many locations meet a block of the bank at once.
const queries = 64

// winners is a Result's Aux: per location the nearest member's index, -1 where it was not wanted.
type winners []int32

// Score implements method.Method. The cost is M*D multiplications per wanted location, and as many per image score.
func (m *Model) Score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	g, err := r.Check(f, m.embed.widths)
	if err != nil {
		return fmt.Errorf("patchcore: %w", err)
	}
	v := m.embed.view(f, g)
	won := make(winners, g.N*g.Cells())
	var at []int
	for i := range won {
		won[i] = -1
		if r.Where == nil || r.Where[i] {
			at = append(at, i)
		}
	}
	s := nd.Data(r.S)
	err = par.Err((len(at)+queries-1)/queries, func(b int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := at[b*queries : min((b+1)*queries, len(at))]
		winner, dist := make([]int32, len(at)), make([]float64, len(at))
		m.bank.nearest(v.vectors(f, at), winner, dist)
		for p, i := range at {
			won[i] = winner[p]
			s[i] = float32(m.score(dist[p]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Aux = won
	if r.Image != nil {
		par.For(g.N, func(n int) { r.Image[n] = m.imageScore(v, f, s, won, n) })
	}
	return nil
}

// vectors embeds the locations at of a batch.
func (v *view) vectors(f []*tensor.Dense, at []int) []float32 {
	places := make([]place, len(at))
	for p, i := range at {
		places[p] = v.place(i)
	}
	q := make([]float32, len(at)*v.dim)
	v.embed(f, places, q)
	return q
}

func (m *Model) score(squared float64) float64 {
	if m.opts.Squared {
		return squared
	}
	return math.Sqrt(squared)
}

// imageScore is the largest score of image n, times 1 - exp(d_1)/sum_k exp(d_k) if there are supports: d_k are the
// distances of the patch with that score to the b members nearest to its winner, the winner itself being the first
// (equation 7 of the paper). It is NaN if any score is.
func (m *Model) imageScore(v *view, f []*tensor.Dense, s []float32, won winners, n int) float32 {
	cells := v.grid.Cells()
	top := n * cells
	for i := top; i < (n+1)*cells; i++ {
		if s[i] > s[top] || math.IsNaN(float64(s[i])) {
			top = i
		}
	}
	near := m.bank.supports(m.bank.row(int(won[top])), m.opts.Supports)
	if len(near) < 2 {
		return s[top]
	}
	q := v.vectors(f, []int{top})
	d := make([]float64, len(near))
	far := 0.0
	for k, j := range near {
		d[k] = math.Sqrt(distance(q, m.bank.row(j)))
		far = max(far, d[k])
	}
	sum := 0.0
	for _, x := range d {
		sum += math.Exp(x - far)
	}
	return float32((1 - math.Exp(d[0]-far)/sum) * float64(s[top]))
}

// chunk is how many locations' gradients are in memory at once.
const chunk = 256

// Grad implements method.Method. Score must have seen the locations with dS != 0. The search is not repeated: the cost is
// that of the embedding, forward and back.
func (m *Model) Grad(ctx context.Context, f []*tensor.Dense, r *method.Result, dS *tensor.Dense, df []*tensor.Dense) error {
	g, err := r.CheckGrad(f, dS, df, m.embed.widths)
	if err != nil {
		return fmt.Errorf("patchcore: %w", err)
	}
	won, ok := r.Aux.(winners)
	if !ok || len(won) != g.N*g.Cells() {
		return errors.New("patchcore: gradient of a result that Score has not filled")
	}
	for _, t := range df {
		clear(nd.Data(t))
	}
	ds := nd.Data(dS)
	var at []int
	for i, w := range ds {
		if w == 0 {
			continue
		}
		if won[i] < 0 {
			return fmt.Errorf("patchcore: gradient at location %d, which was not scored", i)
		}
		at = append(at, i)
	}
	v := m.embed.view(f, g)
	for len(at) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := at[:min(chunk, len(at))]
		at = at[len(part):]
		v.pullBack(m.vectorGrads(v, f, won, ds, part), part, df)
	}
	return nil
}

// vectorGrads returns the gradients w.r.t. the patch vectors of the locations at: [len(at),D].
func (m *Model) vectorGrads(v *view, f []*tensor.Dense, won winners, ds []float32, at []int) []float32 {
	dq := make([]float32, len(at)*v.dim)
	par.Range(len(at), 16, func(lo, hi int) {
		q := v.vectors(f, at[lo:hi])
		for p, i := range at[lo:hi] {
			qp, b := q[p*v.dim:(p+1)*v.dim], m.bank.row(int(won[i]))
			scale := 2 * float64(ds[i])
			if !m.opts.Squared {
				scale = 0
				if s := math.Sqrt(distance(qp, b)); s > 0 {
					scale = float64(ds[i]) / s
				}
			}
			out := dq[(lo+p)*v.dim:]
			for k, x := range qp {
				out[k] = float32(scale * (float64(x) - float64(b[k])))
			}
		}
	})
	return dq
}

// pullBack adds the adjoint of the embedding, applied to dq [len(at),D], to df. Every cell's sum runs over the locations in
// order, whoever computes it.
func (v *view) pullBack(dq []float32, at []int, df []*tensor.Dense) {
	places := make([]place, len(at))
	for p, i := range at {
		places[p] = v.place(i)
	}
	raw := dq
	if v.unfolded {
		raw = make([]float32, len(at)*v.raw)
		par.Range(len(at), 16, func(lo, hi int) {
			mid := make([]float32, len(v.layers)*v.dim)
			for p := lo; p < hi; p++ {
				v.unpool(dq[p*v.dim:(p+1)*v.dim], mid, raw[p*v.raw:(p+1)*v.raw])
			}
		})
	}
	for l := range v.layers {
		la := &v.layers[l]
		par.For(la.c, func(c int) { la.spread(nd.Data(df[l]), c, places, raw, v.raw) })
	}
}
