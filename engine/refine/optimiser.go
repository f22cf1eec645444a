package refine

import (
	"context"
	"fmt"

	"f2pad.example/engine/internal/morph"
	"f2pad.example/engine/loop"
)

// Diary is what happened while an image was refined.
type Diary struct {
	Iterations []loop.Iteration `json:"iterations"` // of the optimisation; empty where it had nothing to do
}

// optimise runs step 4 on the doubtful islands of all images; images without any cost nothing.
func (r *Refiner) optimise(ctx context.Context, sc Scorer, scenes []*scene) error {
	o := &r.opts.Optimiser
	H, W := scenes[0].h, scenes[0].w
	problems := make([]loop.Problem, len(scenes))
	for i, s := range scenes {
		p := &problems[i]
		*p = loop.Problem{Y: s.y, H: H, W: W, Cells: make([]bool, (H/r.opts.Stride)*(W/r.opts.Stride))}
		var some []bool // [H,W] what is optimised
		for _, is := range s.islands {
			if !is.doubtful {
				continue
			}
			if some == nil {
				some = make([]bool, H*W)
			}
			for _, q := range is.state.Pixels {
				some[is.pixel(q, W)] = true
			}
			p.States = append(p.States, is.state)
		}
		if some != nil {
			cellsNear(morph.Distances(some, H, W), H, W, r.opts.Stride, r.opts.px(o.NearCells), p.Cells)
		}
	}
	told, err := sc.Optimise(ctx, problems, &loop.Options{Iterations: o.Iterations, Energy: r.Energy, Step: r.step()})
	if err != nil {
		return fmt.Errorf("refine: %w", err)
	}
	for i, s := range scenes {
		if s.diary != nil {
			s.diary.Iterations = told[i]
		}
	}
	return nil
}
