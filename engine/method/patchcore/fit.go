package patchcore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"f2pad.example/engine/method"

	"gorgonia.org/tensor"
)

// Streams of the seed: one per random choice.
const (
	streamPatches = iota
	streamProjection
	streamStart
)

// Fit collects the patch vectors of the training images, or a random subset, in one pass, and chooses the bank among
// them. Memory: 4 D bytes per collected patch, 4 d more if they are projected to d values, and the bank. Time: bank x
// patches x min(D, d) multiplications. Features must be finite; images may differ in size.
func Fit(ctx context.Context, feats method.Features, o Options) (*Model, error) {
	return FitWith(ctx, o, method.Fitting{Features: feats})
}

// FitWith is Fit with the Features, Where, Progress (phase "coreset") and KCentre of f.
func FitWith(ctx context.Context, o Options, f method.Fitting) (*Model, error) {
	m, err := fit(ctx, o, f)
	if err != nil {
		return nil, fmt.Errorf("patchcore: %w", err)
	}
	return m, nil
}

func fit(ctx context.Context, o Options, f method.Fitting) (*Model, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := &Model{opts: o}
	var c *collector
	image := 0
	err := f.Features(ctx, func(layers []*tensor.Dense) error {
		image++
		if c == nil {
			widths, err := method.Widths(layers)
			if err != nil {
				return err
			}
			m.embed = newEmbedding(widths, o.EmbedDim)
			c = &collector{embed: &m.embed, limit: o.MaxPatches, rng: rand.New(rand.NewPCG(o.Seed, streamPatches))}
		}
		if err := c.add(layers, &f); err != nil {
			return fmt.Errorf("image %d: %w", image, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	if c == nil || len(c.rows) == 0 {
		return nil, errors.New("no training images")
	}
	chosen, err := o.coreset(ctx, c.rows, m.embed.dim, f)
	if err != nil {
		return nil, err
	}
	m.bank = newBank(pick(c.rows, m.embed.dim, chosen), m.embed.dim)
	return m, nil
}

// collector keeps the patch vectors of the images added, or a uniform random subset of limit of them (a reservoir).
type collector struct {
	embed *embedding
	limit int // 0: none
	rng   *rand.Rand
	seen  int
	rows  []float32 // [patches kept, D]
}

// add collects from an image what fitting learns from.
func (c *collector) add(f []*tensor.Dense, fitting *method.Fitting) error {
	g, err := method.Check(f, c.embed.widths)
	if err != nil {
		return err
	}
	if g.N != 1 {
		return fmt.Errorf("a batch of %d, want 1", g.N)
	}
	d := c.embed.dim
	slot := make([]int, 0, g.Cells()) // where the patches of at go
	at := make([]int, 0, g.Cells())
	learns := fitting.Learns(g.H, g.W)
	for i := range g.Cells() {
		if !learns(i) {
			continue
		}
		s := c.seen
		if c.limit > 0 && c.seen >= c.limit {
			s = c.rng.IntN(c.seen + 1)
		}
		c.seen++
		if c.limit == 0 || s < c.limit {
			slot, at = append(slot, s), append(at, i)
		}
	}
	q := c.embed.view(f, g).vectors(f, at)
	for p, s := range slot {
		row := q[p*d : (p+1)*d]
		if n := dot(row, row); math.IsNaN(n) || math.IsInf(n, 0) {
			return fmt.Errorf("the features are not finite at location %d", at[p])
		}
		if s*d == len(c.rows) {
			c.rows = append(c.rows, row...)
		} else {
			copy(c.rows[s*d:(s+1)*d], row)
		}
	}
	return nil
}

// coreset chooses the bank among rows [P,dim]: their indices in the order of choice.
func (o *Options) coreset(ctx context.Context, rows []float32, dim int, f method.Fitting) ([]int, error) {
	count := len(rows) / dim
	want := o.members(count)
	if d := o.projectedDim(count); o.Projection != NoProjection && d < dim {
		rng := rand.New(rand.NewPCG(o.Seed, streamProjection))
		matrix := gaussian
		if o.Projection == SparseProjection {
			matrix = sparse
		}
		rows, dim = project(rows, dim, matrix(rng, d, dim), d), d
	}
	starts := rand.New(rand.NewPCG(o.Seed, streamStart)).Perm(count)[:min(max(o.StartPoints, 1), count)]
	choose := KCentre
	if f.KCentre != nil {
		choose = f.KCentre
	}
	var progress func(done, total int)
	if f.Progress != nil {
		progress = func(done, total int) { f.Progress(method.Progress{Phase: "coreset", Done: done, Total: total}) }
	}
	return choose(ctx, rows, dim, want, starts, progress)
}

// pick copies the rows of the given indices.
func pick(rows []float32, dim int, index []int) []float32 {
	out := make([]float32, 0, len(index)*dim)
	for _, i := range index {
		out = append(out, rows[i*dim:(i+1)*dim]...)
	}
	return out
}
