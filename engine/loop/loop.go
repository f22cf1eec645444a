// Package loop is the optimisation of pixels, step 4 of the refinement: what has to be taken away from images for the detector
// to find them normal.
//
// One iteration is
//
//	x = Y - c A on the regions           compose
//	e, dx = sum of e(z(x)), d/dx of it   the data term: network and method, forward and back (Gradient)
//	A, m, v = pixel.Step(dx)             momentum, rate, penalty on ||A||
//
// as often as Options say. An image's result depends on its problem alone, bit for bit, whoever else is in the batch. Run is the
// host's loop; a place that keeps all of it to itself (sight.Batch.Optimise) does the same, up to rounding.
package loop

import (
	"context"
	"fmt"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"gorgonia.org/tensor"
)

// Problem is one image's part of the optimisation.
type Problem struct {
	Y      []float32      // [3,H,W]
	H, W   int            //
	States []*pixel.State // of disjoint regions that no blur reaches across; none: nothing to optimise. Run changes them
	Cells  []bool         // [h*w] of the scores' grid: those that the data term adds up
}

// Area is how many pixels there are to optimise.
func (p *Problem) Area() int {
	n := 0
	for _, s := range p.States {
		n += len(s.Pixels)
	}
	return n
}

// Iteration is what an iteration did, from its energy and the sums of its step.
func (p *Problem) Iteration(energy float64, s pixel.Stats) Iteration {
	return Iteration{Data: energy, Penalty: s.Penalty, Support: s.Support, Step: s.Moved / float64(p.Area())}
}

// Options are the same for all problems of a batch.
type Options struct {
	Iterations int
	Energy     Energy
	Step       *pixel.StepOptions
}

// Iteration is one iteration for one image: the energy and support of the A it started from, and the step it took.
type Iteration struct {
	Data    float64 `json:"data"`    // data term, over the cells near the region
	Penalty float64 `json:"penalty"` // lambda times the penalty
	Support int     `json:"support"` // pixels with A not 0
	Step    float64 `json:"step"`    // mean of ||dA/c|| over the regions
}

// Energy is the whole energy.
func (i Iteration) Energy() float64 { return i.Data + i.Penalty }

// Finite reports whether energy and step are numbers: a gradient that is none makes the step so.
func (i Iteration) Finite() bool { return i.Data-i.Data == 0 && i.Step-i.Step == 0 }

// NotFinite says that an image's energy or gradient was no number.
type NotFinite struct {
	Image, Iteration int
	Energy           float64
}

func (e *NotFinite) Error() string {
	return fmt.Sprintf("image %d: the scorer's energy (%g) or its gradient is not finite in iteration %d", e.Image, e.Energy, e.Iteration)
}

// Gradient computes, for each image n of x [N,3,H,W], energy[n] = sum of e(z_v) over the grid cells with where[n*h*w+v], and its
// gradient dx [N,3,H,W] w.r.t. x. Images with no such cell cost nothing and get zeros.
type Gradient func(ctx context.Context, x *tensor.Dense, where []bool, e Energy, energy []float64, dx *tensor.Dense) error

// Run optimises a batch of problems of one size on the host, regions in parallel, and returns what happened to each image with
// something to optimise. It fails where gradient does, on values that are not finite (NotFinite), and when ctx ends.
func Run(ctx context.Context, problems []Problem, o *Options, gradient Gradient) ([][]Iteration, error) {
	type part struct{ problem, state int }
	var parts []part
	var where []bool
	for i := range problems {
		for j := range problems[i].States {
			parts = append(parts, part{i, j})
		}
		where = append(where, problems[i].Cells...)
	}
	done := make([][]Iteration, len(problems))
	if len(parts) == 0 {
		return done, nil
	}
	N, H, W := len(problems), problems[0].H, problems[0].W
	image := func(t *tensor.Dense, i int) []float32 { return nd.Data(t)[i*3*H*W:][:3*H*W] }
	x, dx := nd.New(N, 3, H, W), nd.New(N, 3, H, W)
	for i := range problems {
		copy(image(x, i), problems[i].Y)
	}
	energy, stats := make([]float64, N), make([]pixel.Stats, len(parts))
	for t := 1; t <= o.Iterations; t++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		par.For(len(parts), func(k int) {
			p := &problems[parts[k].problem]
			pixel.Compose(p.States[parts[k].state], p.Y, H, W, image(x, parts[k].problem))
		})
		if err := gradient(ctx, x, where, o.Energy, energy, dx); err != nil {
			return nil, err
		}
		par.For(len(parts), func(k int) {
			p := &problems[parts[k].problem]
			stats[k] = pixel.Step(p.States[parts[k].state], image(dx, parts[k].problem), H, W, t, o.Step)
		})
		all := make([]pixel.Stats, N)
		for k, p := range parts {
			all[p.problem].Add(stats[k])
		}
		for i := range problems {
			if len(problems[i].States) == 0 {
				continue
			}
			it := problems[i].Iteration(energy[i], all[i])
			if !it.Finite() {
				return nil, &NotFinite{i, t, energy[i]}
			}
			done[i] = append(done[i], it)
		}
	}
	return done, nil
}
