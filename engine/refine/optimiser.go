package refine

import (
	"context"
	"fmt"
	"math"
	"slices"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
)

// Diary is what happened while an image was refined.
type Diary struct {
	Iterations []Iteration `json:"iterations"` // of the optimisation; empty where it had nothing to do
}

// Iteration is one iteration of the optimisation on the islands it is for: the energy and support of the A it started from,
// and the step it took.
type Iteration struct {
	Data    float64 `json:"data"`    // data term, over the cells near the region
	Penalty float64 `json:"penalty"` // lambda times the penalty
	Support int     `json:"support"` // pixels with A not 0
	Step    float64 `json:"step"`    // mean of ||dA/c|| over the islands
}

// Energy is the whole energy.
func (i Iteration) Energy() float64 { return i.Data + i.Penalty }

// optimise runs step 4 on the doubtful islands of all images in lockstep; images without any cost nothing.
func (r *Refiner) optimise(ctx context.Context, sc Scorer, scenes []*scene) error {
	o := &r.opts.Optimiser
	first := scenes[0]
	N, H, W := len(scenes), first.h, first.w
	cells := (H / r.opts.Stride) * (W / r.opts.Stride)
	problems := make([]Problem, N)
	where := make([]bool, N*cells)
	area := make([]int, N) // pixels to optimise
	for i, s := range scenes {
		problems[i] = Problem{Y: s.y, H: H, W: W}
		var some []bool // [H,W] those
		for _, is := range s.islands {
			if !is.doubtful {
				continue
			}
			if some == nil {
				some = make([]bool, H*W)
			}
			for _, p := range is.state.Pixels {
				some[is.pixel(p, W)] = true
			}
			problems[i].States = append(problems[i].States, is.state)
			area[i] += len(is.state.Pixels)
		}
		if some != nil {
			cellsNear(some, H, W, r.opts.Stride, r.opts.px(o.NearCells), where[i*cells:(i+1)*cells])
		}
	}
	if slices.Max(area) == 0 {
		return nil
	}
	x, dx := nd.New(N, 3, H, W), nd.New(N, 3, H, W)
	for i, s := range scenes {
		copy(nd.Data(x)[i*3*H*W:], s.y)
	}
	stepper, err := r.Device.Stepper(problems, r.step())
	if err != nil {
		return err
	}
	defer stepper.Close()
	energy := make([]float64, N)
	stats := make([]pixel.Stats, N)
	for t := 1; t <= o.Iterations; t++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := stepper.Compose(x); err != nil {
			return err
		}
		if err := sc.Gradient(ctx, x, where, r.Energy, energy, dx); err != nil {
			return err
		}
		if err := stepper.Step(t, dx, stats); err != nil {
			return err
		}
		for i, s := range scenes {
			if area[i] == 0 {
				continue
			}
			// A gradient that is not finite makes the step so.
			if !finite(energy[i]) || !finite(stats[i].Moved) {
				return fmt.Errorf("refine: image %d: the scorer's energy (%g) or its gradient is not finite in iteration %d",
					i, energy[i], t)
			}
			if s.diary != nil {
				s.diary.Iterations = append(s.diary.Iterations, Iteration{
					Data: energy[i], Penalty: stats[i].Penalty, Support: stats[i].Support,
					Step: stats[i].Moved / float64(area[i]),
				})
			}
		}
	}
	return stepper.Finish()
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
