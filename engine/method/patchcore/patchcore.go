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

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"

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

// Shape implements method.Method: images may be of any size.
func (m *Model) Shape() method.Shape { return method.Shape{Widths: m.embed.widths} }

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

// chunk is how many values of patch vectors are searched for at once: 16 MB.
const chunk = 1 << 22

// gradients is a Result's Aux: ds/dq of the wanted locations.
type gradients struct {
	at   []int
	unit []float32 // [len(at),D]
}

// Score implements method.Method. The cost is M*D multiplications, of bytes or float32, per wanted location and per image score.
func (m *Model) Score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	g, err := r.Check(f, m.embed.widths)
	if err != nil {
		return fmt.Errorf("patchcore: %w", err)
	}
	v := m.embed.view(f, g)
	won := make([]int32, g.N*g.Cells())
	var at []int
	for i := range won {
		if r.Where == nil || r.Where[i] {
			at = append(at, i)
		}
	}
	var unit []float32
	if r.Gradient {
		unit = make([]float32, len(at)*v.dim)
		r.Aux = &gradients{at, unit}
	}
	s := nd.Data(r.S)
	step := max(1, chunk/v.dim)
	for lo := 0; lo < len(at); lo += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := at[lo:min(lo+step, len(at))]
		q := v.vectors(f, part)
		winner, dist := make([]int32, len(part)), make([]float64, len(part))
		var diff []float32
		if r.Gradient {
			diff = unit[lo*v.dim : (lo+len(part))*v.dim]
		}
		if err := m.bank.Nearest(ctx, q, winner, dist, diff); err != nil {
			return fmt.Errorf("patchcore: %w", err)
		}
		for p, i := range part {
			won[i] = winner[p]
			s[i] = float32(m.score(dist[p]))
		}
		if r.Gradient {
			m.scaleToUnit(diff, dist)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Image != nil {
		return m.imageScores(ctx, v, f, s, won, r)
	}
	return nil
}

// scaleToUnit turns q-b into ds/dq.
func (m *Model) scaleToUnit(diff []float32, squared []float64) {
	d := m.embed.dim
	par.Range(len(squared), queries, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			scale := 2.0
			if !m.opts.Squared {
				scale = 0
				if squared[p] > 0 {
					scale = 1 / math.Sqrt(squared[p])
				}
			}
			row := diff[p*d : (p+1)*d]
			for k, x := range row {
				row[k] = float32(scale * float64(x))
			}
		}
	})
}

// vectors embeds the locations at of a batch.
func (v *view) vectors(f []*tensor.Dense, at []int) []float32 {
	q := make([]float32, len(at)*v.dim)
	par.Range(len(at), max(embedRows*v.grid.W, 1), func(lo, hi int) {
		places := make([]place, hi-lo)
		for p, i := range at[lo:hi] {
			places[p] = v.place(i)
		}
		v.embed(f, places, q[lo*v.dim:hi*v.dim])
	})
	return q
}

// embedRows of the grid are embedded at a time: rows share what they have in common.
const embedRows = 4

func (m *Model) score(squared float64) float64 {
	if m.opts.Squared {
		return squared
	}
	return math.Sqrt(squared)
}

// imageScores are the largest scores of the images, inside of r.Inside, re-weighted if there are supports. An image's is NaN if any of
// its scores is.
func (m *Model) imageScores(ctx context.Context, v *view, f []*tensor.Dense, s []float32, won []int32, r *method.Result) error {
	fitted := m.Fitted()
	top, err := fitted.Greatest(s, len(r.Image), r.Inside)
	if err != nil {
		return err
	}
	var winners []float32
	for n, i := range top {
		r.Image[n] = s[i]
		winners = append(winners, fitted.Row(won[i])...)
	}
	if fitted.Supports == 0 {
		return nil
	}
	near, err := m.bank.Supports(ctx, winners, fitted.Supports)
	if err != nil {
		return fmt.Errorf("patchcore: %w", err)
	}
	q := v.vectors(f, top)
	for n, members := range near {
		r.Image[n] = fitted.Reweighed(r.Image[n], q[n*v.dim:(n+1)*v.dim], members)
	}
	return nil
}

// spreadAtOnce is how many locations' gradients of raw values are in memory at once.
const spreadAtOnce = 256

// Grad implements method.Method. The search is not repeated: the cost is that of the embedding's adjoint.
func (m *Model) Grad(ctx context.Context, f []*tensor.Dense, r *method.Result, dS *tensor.Dense, df []*tensor.Dense) error {
	g, err := r.CheckGrad(f, dS, df, m.embed.widths)
	if err != nil {
		return fmt.Errorf("patchcore: %w", err)
	}
	kept, ok := r.Aux.(*gradients)
	if !ok {
		return errors.New("patchcore: gradient of a result that Score has not prepared for it")
	}
	for _, t := range df {
		clear(nd.Data(t))
	}
	ds, d := nd.Data(dS), m.embed.dim
	v := m.embed.view(f, g)
	at, dq := make([]int, 0, spreadAtOnce), make([]float32, 0, spreadAtOnce*d)
	for l, i := range kept.at {
		if w := ds[i]; w != 0 {
			at = append(at, i)
			for _, u := range kept.unit[l*d : (l+1)*d] {
				dq = append(dq, w*u)
			}
		}
		if len(at) == spreadAtOnce || l == len(kept.at)-1 {
			if err := ctx.Err(); err != nil {
				return err
			}
			v.pullBack(dq, at, df)
			at, dq = at[:0], dq[:0]
		}
	}
	return ctx.Err()
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
		par.Range(la.c, together, func(c, _ int) { la.spread(nd.Data(df[l]), c, places, raw, v.raw) })
	}
}
