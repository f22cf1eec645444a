package refine

import (
	"context"
	"fmt"
	"math"

	"f2pad/engine/internal/par"
	"f2pad/engine/nd"
	"f2pad/engine/pixel"

	"gorgonia.org/tensor"
)

// Problem is one image's part of the optimisation (step 4).
type Problem struct {
	Y      []float32      // [3,H,W]
	H, W   int            //
	Scale  float64        // c
	States []*pixel.State // of disjoint regions that no blur reaches across; none: nothing to optimise
}

// Stepper keeps the anomalies of a batch of problems while they are optimised: the part of the loop that another device
// can take over from the host. It changes the states of its problems, which are up to date again after Finish.
type Stepper interface {
	// Compose writes X = Y - A on the regions into x [N,3,H,W] and leaves its other pixels alone.
	Compose(x *tensor.Dense) error
	// Step runs iteration t = 1, 2, ... (pixel.Step) with dx [N,3,H,W], the data term's gradient w.r.t. x, and fills st [N].
	Step(t int, dx *tensor.Dense, st []pixel.Stats) error
	Finish() error
}

// hostStepper steps on the host, images and their regions in parallel.
type hostStepper struct {
	problems []Problem
	o        *pixel.StepOptions
	parts    []part
	stats    []pixel.Stats // of parts
}

type part struct{ problem, state int }

// NewHostStepper returns the Stepper in pure Go.
func NewHostStepper(problems []Problem, o *pixel.StepOptions) (Stepper, error) {
	s := &hostStepper{problems: problems, o: o}
	for i, p := range problems {
		for j := range p.States {
			s.parts = append(s.parts, part{i, j})
		}
	}
	s.stats = make([]pixel.Stats, len(s.parts))
	return s, nil
}

// image is problem i's part of a batch [N,3,H,W].
func (s *hostStepper) image(t *tensor.Dense, i int) []float32 {
	n := 3 * s.problems[i].H * s.problems[i].W
	return nd.Data(t)[i*n : (i+1)*n]
}

func (s *hostStepper) Compose(x *tensor.Dense) error {
	par.For(len(s.parts), func(k int) {
		p := &s.problems[s.parts[k].problem]
		pixel.Compose(p.States[s.parts[k].state], p.Y, p.H, p.W, p.Scale, s.image(x, s.parts[k].problem))
	})
	return nil
}

func (s *hostStepper) Step(t int, dx *tensor.Dense, st []pixel.Stats) error {
	par.For(len(s.parts), func(k int) {
		p := &s.problems[s.parts[k].problem]
		s.stats[k] = pixel.Step(p.States[s.parts[k].state], s.image(dx, s.parts[k].problem), p.H, p.W, p.Scale, t, s.o)
	})
	clear(st)
	for k, p := range s.parts {
		st[p.problem].Add(s.stats[k])
	}
	return nil
}

func (s *hostStepper) Finish() error { return nil }

// Diary is what happened while an image was refined.
type Diary struct {
	Iterations []Iteration   `json:"iterations"` // of the optimisation; empty where it did not run
	Walks      map[Kind]Walk `json:"walks"`
}

// Iteration is one iteration of the optimisation: the energy and support of the A it started from, and the step it took.
type Iteration struct {
	Data    float64 `json:"data"`    // data term, over the cells near the region
	Penalty float64 `json:"penalty"` // lambda times the penalty
	Support int     `json:"support"` // pixels with A not 0
	Step    float64 `json:"step"`    // mean of ||dA||/c over the region
}

// Energy is the whole energy.
func (i Iteration) Energy() float64 { return i.Data + i.Penalty }

// optimise runs step 4 on all images in lockstep; images without a problem cost nothing.
func (r *Refiner) optimise(ctx context.Context, sc Scorer, scenes []*scene) error {
	o := &r.opts.Optimiser
	first := scenes[0]
	N, H, W := len(scenes), first.h, first.w
	cells := (H / r.opts.Stride) * (W / r.opts.Stride)
	problems := make([]Problem, N)
	where := make([]bool, N*cells)
	x, dx := nd.New(N, 3, H, W), nd.New(N, 3, H, W)
	work := false
	for i, s := range scenes {
		copy(nd.Data(x)[i*3*H*W:], s.y)
		problems[i] = Problem{Y: s.y, H: H, W: W, Scale: s.scale}
		if !s.filled {
			continue
		}
		work = true
		for _, is := range s.islands {
			problems[i].States = append(problems[i].States, is.state)
		}
		cellsNear(s.distance, H, W, r.opts.Stride, r.opts.px(o.NearCells), where[i*cells:(i+1)*cells])
	}
	if !work {
		return nil
	}
	stepper, err := r.Stepper(problems, r.step())
	if err != nil {
		return err
	}
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
			if !s.filled {
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
					Step: stats[i].Moved / float64(s.area),
				})
			}
		}
	}
	return stepper.Finish()
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
