package sight

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"

	"gorgonia.org/tensor"
)

// Scale puts a method's scores on the one scale that the refinement works with: z = (s - Q50)/(Q995 - Q50), quantiles of
// the scores of held-out normal images.
type Scale struct{ Q50, Q995 float64 }

// Z is a score on the scale, Slope its derivative.
func (c Scale) Z(s float32) float64 { return (float64(s) - c.Q50) / (c.Q995 - c.Q50) }
func (c Scale) Slope() float64      { return 1 / (c.Q995 - c.Q50) }

// Scorer is a Detector as the refinement sees it, for one batch of images of one size. It is for one goroutine.
type Scorer struct {
	Detector
	Spec   Spec              // of the Detector
	Scale  Scale             // of scores
	Rank   Scale             // of the method's own maps
	Norms  []backbone.Affine // of the images as they were given; they stay when pixels change
	Frames []*Frame          // likewise
	Bad    BadFrames         // what the network or its gradient gave no finite values for while pixels changed

	scores *tensor.Dense // [N,h,w] of the images as they were given
	batch  Batch
}

var _ refine.Scorer = (*Scorer)(nil)

// Stride implements refine.Scorer.
func (s *Scorer) Stride() int { return s.Spec.Backbone.Stride() }

// Start scores the images x [N,3,H,W] as they were given, as the method does: s [N,h,w], and its own image scores if it has any.
// Finish must follow.
func (s *Scorer) Start(ctx context.Context, x *tensor.Dense, image []float32) (_ *tensor.Dense, err error) {
	sh := x.Shape()
	h, w := sh[2]/s.Stride(), sh[3]/s.Stride()
	s.scores = nd.New(sh[0], h, w)
	s.batch, err = s.Begin(ctx, x, s.Norms, &method.Result{S: s.scores, Image: image, Inside: s.inside(h, w)})
	return s.scores, err
}

// Finish frees what Start has kept.
func (s *Scorer) Finish() {
	if s.batch != nil {
		s.batch.Close()
	}
}

// Optimise implements refine.Scorer. Cells that are not inspected have no energy.
func (s *Scorer) Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error) {
	sh := s.scores.Shape()
	if inside := s.inside(sh[1], sh[2]); inside != nil {
		problems = slices.Clone(problems)
		for i := range problems {
			cells := slices.Clone(problems[i].Cells)
			for v := range cells {
				cells[v] = cells[v] && inside[i*len(cells)+v]
			}
			problems[i].Cells = cells
		}
	}
	told, err := s.batch.Optimise(ctx, problems, s.Scale, o)
	if bad := (*BadFrames)(nil); errors.As(err, &bad) {
		for i, why := range bad.Why {
			s.Bad.Add(i, why)
		}
	}
	return told, err
}

// inside says which cells of the images' grids are inspected; nil: all.
func (s *Scorer) inside(h, w int) []bool {
	if !slices.ContainsFunc(s.Frames, func(f *Frame) bool { return f.Inside != nil }) {
		return nil
	}
	all := slices.Repeat([]bool{true}, len(s.Frames)*h*w)
	for i, f := range s.Frames {
		if f.Inside != nil {
			copy(all[i*h*w:], f.Grid(h, w))
		}
	}
	return all
}

// Costs implements refine.Scorer.
func (s *Scorer) Costs(searches []refine.Search) error { return s.batch.Costs(searches) }

// OwnMaps makes the method's own maps [K,H,W] of the scores x [K,h,w] of variants of images at the wanted pixels, as Detector.Maps does.
// What is not inspected takes no part in them: scores there are replaced.
func (s *Scorer) OwnMaps(images []int, x []float32, h, w, H, W int, wanted []bool, dst []float32) error {
	for k, i := range images {
		spread(x[k*h*w:][:h*w], s.Frames[i].Grid(h, w), h, w)
	}
	if err := s.Maps(x, len(images), h, w, H, W, wanted, dst); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

// Map implements refine.Scorer. The method scores what the map depends on where it is asked for; what it does not depend on is as in the
// images as they were given.
func (s *Scorer) Map(ctx context.Context, x refine.Variants, where []bool, v *tensor.Dense) error {
	K, H, W := len(x.Of), v.Shape()[1], v.Shape()[2]
	h, w := H/s.Stride(), W/s.Stride()
	r := &method.Result{S: nd.New(K, h, w), Where: s.Spec.Method.Map().Cells(where, K, h, w, H, W)}
	for k, i := range x.Of {
		copy(nd.Data(r.S)[k*h*w:(k+1)*h*w], nd.Data(s.scores)[i*h*w:])
	}
	lap := s.Spec.Timer.Start(0) // of the images, which other stages count
	if err := s.batch.Score(ctx, x, r); err != nil {
		return err
	}
	lap(stage.Asked)
	if err := s.OwnMaps(x.Of, nd.Data(r.S), h, w, H, W, where, nd.Data(v)); err != nil {
		return err
	}
	for k, i := range x.Of {
		m, finite := nd.Data(v)[k*H*W:][:H*W], true
		for from, to := range pixel.Runs(where[k*H*W:][:H*W]) {
			for p, b := range m[from:to] {
				m[from+p] = float32(s.Rank.Z(b))
			}
			finite = finite && Finite(m[from:to])
		}
		if !finite {
			s.Bad.Add(i, fmt.Errorf("engine: %s gives values that are not finite for a changed image", s.Spec.Backbone.Name()))
		}
	}
	return nil
}

// chosen are the normalisations of those images.
func chosen(norms []backbone.Affine, of []int) []backbone.Affine {
	all := make([]backbone.Affine, len(of))
	for k, i := range of {
		all[k] = norms[i]
	}
	return all
}
