// Package refine turns a detector's coarse scores into pixel-accurate maps by optimising the image's own pixels (F2PAD).
//
// The idea of an optimisation at inference time, guided by feature-level scores, is that of Tao, Xu and Du, "F2PAD: A
// General Optimization Framework for Feature-Level to Pixel-Level Anomaly Detection", arXiv 2407.06519. The terms, the
// fills, the optimiser and every constant here are this project's own, found by experiment.
//
// The steps, for an image Y with calibrated scores z on the grid; u is z upsampled, v the method's own map, calibrated
// likewise, G_s a Gaussian:
//
//  1. Suspicious region Omega: where u stands out of its neighbourhood. Where it is empty the image is done.
//  2. Fills N_k of each component: what a normal image could look like there (Fills).
//  3. Residual: min_k ||Y - N_k||, in units of c, what normal fills differ by among themselves at that place. Several times
//     that is evidence; a residual that normal images have, too, is none.
//  4. Optimisation over A, 0 outside Omega, from A = Y - N*: sum of e(z_v(Y - A)) over the cells near Omega (loop.Energy) plus
//     Lambda times a penalty on ||A_p/c_p|| (pixel.Penalty). What had to move is evidence.
//  5. Questions: on Omega, v is averaged with the maps of the image moved by less than a cell (looks), and the detector is asked
//     what it finds in the fill that the optimisation starts from: x is the share of its finding in a region that is then
//     gone. That is asked first: where it is next to all, the start needs no optimisation, and where it is next to nothing,
//     it is none.
//  6. Map: S = g(v) ((f + e)/(f + mean of e near by))^t, e the evidence, t how far it agrees with the detector. The
//     detector's own ranking stands, and within what it finds suspicious the score moves to the pixels that the evidence
//     speaks for. Without evidence, or with as much everywhere, S = g(v), which ranks pixels as the method's own map does.
//     With step 5, t is multiplied by x and S by 1 + Gain x: what a normal fill shows as well is no defect.
//  7. Pixel classifier: once more, with how much a pixel looks like those with the highest S as the evidence.
package refine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"gorgonia.org/tensor"
)

// Kind names a map. All kinds are peers: every report shows all of them side by side.
type Kind string

const (
	Base     Kind = "base"     // the method's own map: scores, upsampled and blurred
	Residual Kind = "residual" // the control: all steps but 4 and 5, in which the network is asked again, and 7
	F2PAD    Kind = "f2pad"    // all steps
)

// Scorer is the network and the method as the optimiser sees them: pixels in, calibrated scores z on a grid of Stride
// pixels out. z = (s - q50)/(q99.5 - q50), quantiles of held-out normal images: one scale for every method. It has the inputs of the
// Run where it computes; what works on whole images asks it, so that they need not come there again.
type Scorer interface {
	Stride() int
	// Costs compares candidates for fills with inputs of the Run; see Filler.
	Costs(searches []Search) error
	// Map fills v [K,H,W] with the method's own maps of variants, calibrated like Input.V, at the pixels with where [K*H*W]; what v is
	// elsewhere does not matter, and may stay as it was.
	Map(ctx context.Context, x Variants, where []bool, v *tensor.Dense) error
	// Optimise runs the loop on the inputs of the Run, problem i on input i (see loop.Run). What it found is in the problems'
	// states; it returns what happened in each iteration, by image.
	Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error)
}

// Input is an image to refine. Nothing in it is changed or kept.
type Input struct {
	Y      *tensor.Dense // [3,H,W] in [0,1]; H and W are multiples of the stride
	Z      *tensor.Dense // [h,w] calibrated scores of Y
	V      *tensor.Dense // [H,W] the method's own map, calibrated: 0 at the median of held-out normal images, 1 at the 99.5 % quantile
	Base   *tensor.Dense // [H,W] the method's own map, passed through as kind Base; nil if that is not wanted
	Seed   uint64        // of the choice of fills. Derived from the image, it makes the result independent of the batch
	Memory []*Normal     // remembered normal images in Y's coordinates, of any size: each serves where it covers
	Diary  bool          // keep a diary
}

// Output is an image's maps.
type Output struct {
	Maps    map[Kind]*tensor.Dense // [H,W] of each kind asked for; finite and not negative, but for Base
	Refined bool                   // something was suspicious (Omega is not empty); false if only Base was asked for
	Pixels  int                    // of Omega
	Diary   *Diary                 // if asked for
	// Seconds is the wall time to each kind of map, Base left out: each step's, divided among the images it worked on.
	Seconds map[Kind]float64
}

// Refiner makes maps. Its parts may be replaced before it is first used; then it is safe for concurrent use.
type Refiner struct {
	Energy  loop.Energy   // the data term; default loop.Hinge
	Penalty pixel.Penalty // what a pixel's anomaly costs, as a function of ||A||/c; default pixel.GroupLog
	Fills   Fills         // default ShiftFills
	Pixels  Pixels        // default Host
	Timer   stage.Timer   // told how long the steps take; may be nil

	opts  Options
	reach int // pixels: the largest radius of what blurs the region's planes
}

// New returns a Refiner with the default parts. The error names the option that is out of range.
func New(o Options) (*Refiner, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Refiner{
		Energy:  loop.Hinge{Weight: o.Optimiser.DataWeight, Margin: o.Optimiser.Margin},
		Penalty: pixel.NewGroupLog(o.Optimiser.Eps),
		Fills:   ShiftFills{o.Fills, o.Stride},
		Pixels:  Host{},
		opts:    o,
	}
	for _, sigma := range []float64{
		o.Residual.SmoothPx, o.Optimiser.StartPx, o.Optimiser.SharePx, o.Optimiser.NormPx, o.Optimiser.SmoothPx, o.Residual.SpreadPx,
	} {
		r.reach = max(r.reach, pixel.NewGaussian(sigma).Radius())
	}
	return r, nil
}

// Run makes the maps of the given kinds for images of one size; steps that several kinds share are taken once. It fails
// on values that are not finite, and when ctx ends. An image's maps depend on its Input alone, bit for bit. Besides the
// Scorer it costs a few microseconds per pixel of Omega and some 0.1 us per pixel of the image.
func (r *Refiner) Run(ctx context.Context, sc Scorer, in []Input, kinds []Kind) ([]Output, error) {
	if err := r.check(sc, in, kinds); err != nil {
		return nil, err
	}
	out := make([]Output, len(in))
	for i := range out {
		out[i] = Output{Maps: map[Kind]*tensor.Dense{}, Seconds: map[Kind]float64{}}
		if slices.Contains(kinds, Base) {
			out[i].Maps[Base] = in[i].Base
		}
	}
	if len(in) == 0 || !slices.ContainsFunc(kinds, func(k Kind) bool { return k != Base }) {
		return out, nil
	}
	lap := r.Timer.Start(len(in))
	scenes, err := r.prepare(ctx, sc, in)
	if err != nil {
		return nil, err
	}
	refined := 0
	for i, s := range scenes {
		out[i].Refined, out[i].Diary = s.omega != nil, s.diary
		for _, in := range s.omega {
			if in {
				out[i].Pixels++
			}
		}
		if out[i].Refined {
			refined++
		}
	}
	prepared := lap(stage.Regions).Seconds() / float64(len(in))
	measured, took := map[evidence][][]float32{}, map[evidence]float64{}
	for _, recipe := range recipes {
		if !slices.Contains(kinds, recipe.kind) {
			continue
		}
		asked := 0.0
		if recipe.asks {
			if err := r.explain(ctx, sc, scenes); err != nil {
				return nil, err
			}
			asked += lap(stage.Explain).Seconds() / float64(max(refined, 1))
		}
		for _, e := range recipe.parts {
			if measured[e] != nil {
				continue
			}
			if measured[e], err = e.measure(ctx, r, sc, scenes); err != nil {
				return nil, err
			}
			took[e] = lap(e.stage()).Seconds() / float64(max(refined, 1))
		}
		if recipe.asks {
			if err := r.look(ctx, sc, scenes); err != nil {
				return nil, err
			}
			asked += lap(stage.Looks).Seconds() / float64(max(refined, 1))
		}
		made := make([][]float32, len(in))
		par.For(len(in), func(i int) {
			v, e := scenes[i].v, []float32(nil)
			if out[i].Refined {
				if recipe.asks && scenes[i].looked != nil {
					v = scenes[i].looked
				}
				e = make([]float32, scenes[i].h*scenes[i].w)
				for _, part := range recipe.parts {
					for p, v := range measured[part][i] {
						e[p] += v / float32(len(recipe.parts))
					}
				}
			}
			made[i] = r.join(scenes[i], v, e, recipe.asks)
		})
		joined := lap(stage.Join).Seconds() / float64(len(in))
		for i, m := range made {
			out[i].Maps[recipe.kind] = nd.Wrap(m, scenes[i].h, scenes[i].w)
			out[i].Seconds[recipe.kind] = prepared + joined
			if out[i].Refined {
				out[i].Seconds[recipe.kind] += asked
				for _, part := range recipe.parts {
					out[i].Seconds[recipe.kind] += took[part]
				}
			}
		}
	}
	return out, nil
}

// step returns the constants of the optimiser's step.
func (r *Refiner) step() *pixel.StepOptions {
	o := &r.opts.Optimiser
	return &pixel.StepOptions{
		Share: pixel.NewGaussian(o.SharePx), Norm: pixel.NewGaussian(o.NormPx), Momentum: o.Momentum, Decay: o.Decay,
		Rate: o.Rate, Lambda: o.Lambda, Penalty: r.Penalty, From: o.Iterations - o.Averaged + 1,
	}
}

// What float32 can work with: images overshoot [0,1] a little where they were resampled, and scores of a method that saw
// next to no variation are huge.
const (
	maxPixel = 16
	maxScore = 1e30
)

// check refuses what Run cannot work with.
func (r *Refiner) check(sc Scorer, in []Input, kinds []Kind) error {
	if sc == nil {
		return errors.New("refine: no scorer")
	}
	stride := r.opts.Stride
	if sc.Stride() != stride {
		return fmt.Errorf("refine: options for stride %d, the scorer has %d", stride, sc.Stride())
	}
	for _, k := range kinds {
		if k != Base && k != Residual && k != F2PAD {
			return fmt.Errorf("refine: unknown kind of map %q", k)
		}
	}
	if len(in) == 0 {
		return nil
	}
	if err := nd.Check("refine: image 0: y", in[0].Y, 3, -1, -1); err != nil {
		return err
	}
	h, w := in[0].Y.Shape()[1], in[0].Y.Shape()[2]
	if h%stride != 0 || w%stride != 0 {
		return fmt.Errorf("refine: images of %d x %d pixels, want multiples of the stride %d", h, w, stride)
	}
	base := slices.Contains(kinds, Base)
	refines := slices.ContainsFunc(kinds, func(k Kind) bool { return k != Base })
	return par.Err(len(in), func(i int) error {
		fail := func(err error) error { return fmt.Errorf("refine: image %d: %w", i, err) }
		x := &in[i]
		if err := nd.Check("y", x.Y, 3, h, w); err != nil {
			return fail(err)
		}
		if err := nd.Check("z", x.Z, h/stride, w/stride); err != nil {
			return fail(err)
		}
		if base {
			if err := nd.Check("base", x.Base, h, w); err != nil {
				return fail(err)
			}
		}
		var v []float32
		if refines {
			if err := nd.Check("v", x.V, h, w); err != nil {
				return fail(err)
			}
			v = nd.Data(x.V)
		}
		for _, t := range []struct {
			name string
			v    []float32
			most float32
		}{{"y", nd.Data(x.Y), maxPixel}, {"z", nd.Data(x.Z), maxScore}, {"v", v, maxScore}} {
			for p, v := range t.v {
				if !bounded(v, t.most) {
					return fail(fmt.Errorf("%s[%d] is %g, want at most %g", t.name, p, v, t.most))
				}
			}
		}
		for k, m := range x.Memory {
			if m == nil {
				return fail(fmt.Errorf("memory[%d] is nil", k))
			}
		}
		return nil
	})
}

// bounded refuses NaN, too.
func bounded(v, most float32) bool { return v >= -most && v <= most }
