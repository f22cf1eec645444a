package refine

import (
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"gorgonia.org/tensor"
)

// Device does the refinement's work on pixels. It is safe for concurrent use. Host is the CPU; what other devices compute
// may differ from it by float32 rounding.
type Device interface {
	Filler
	// Smooth enlarges the grid z [h,w] s times (pixel.Upsample) into u [h*s,w*s] and blurs it with g.
	Smooth(z []float32, h, w, s int, g pixel.Gaussian, u []float32) error
	// Compare measures a window y [3,h,w] against K fills [K,3,h,w] of it: residual [h,w] is the distance to the nearest
	// fill (pixel.FillMin), blurred with smooth; best [h,w] is the fill with the least squared distance, blurred with start
	// (pixel.Least).
	Compare(y, fills []float32, k, h, w int, smooth, start pixel.Gaussian, residual []float32, best []int32) error
	// Stepper takes over the pixels of a batch of problems.
	Stepper(problems []Problem, o *pixel.StepOptions) (Stepper, error)
}

// Host is the CPU, in pure Go.
type Host struct{}

var _ Device = Host{}

// Smooth implements Device. It never fails.
func (Host) Smooth(z []float32, h, w, s int, g pixel.Gaussian, u []float32) error {
	pixel.Upsample(z, h, w, s, u)
	g.Blur(u, h*s, w*s, make([]float32, g.Scratch(h*s, w*s)))
	return nil
}

// Compare implements Device. It never fails.
func (Host) Compare(y, fills []float32, k, h, w int, smooth, start pixel.Gaussian, residual []float32, best []int32) error {
	n := h * w
	scratch := make([]float32, max(start.Scratch(h, w), smooth.Scratch(h, w)))
	sq := make([]float32, k*n)
	pixel.FillMin(y, fills, k, 3, n, sq, residual)
	smooth.Blur(residual, h, w, scratch)
	for i := range k {
		start.Blur(sq[i*n:(i+1)*n], h, w, scratch)
	}
	pixel.Least(sq, k, n, best)
	return nil
}

// Problem is one image's part of the optimisation (step 4).
type Problem struct {
	Y      []float32      // [3,H,W]
	H, W   int            //
	States []*pixel.State // of disjoint regions that no blur reaches across; none: nothing to optimise
}

// Stepper keeps the anomalies of a batch of problems while they are optimised: the part of the loop that another device
// can take over from the host. It changes the states of its problems, whose A and Sum are up to date again after Finish. It
// is for one goroutine.
type Stepper interface {
	// Compose writes X = Y - A on the regions into x [N,3,H,W] and leaves its other pixels alone.
	Compose(x *tensor.Dense) error
	// Step runs iteration t = 1, 2, ... (pixel.Step) with dx [N,3,H,W], the data term's gradient w.r.t. x, and fills st [N].
	Step(t int, dx *tensor.Dense, st []pixel.Stats) error
	Finish() error
	// Close frees what the Stepper holds.
	Close()
}

// hostStepper steps on the host, images and their regions in parallel.
type hostStepper struct {
	problems []Problem
	o        *pixel.StepOptions
	parts    []part
	stats    []pixel.Stats // of parts
}

type part struct{ problem, state int }

// Stepper implements Device. It never fails.
func (Host) Stepper(problems []Problem, o *pixel.StepOptions) (Stepper, error) {
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
		pixel.Compose(p.States[s.parts[k].state], p.Y, p.H, p.W, s.image(x, s.parts[k].problem))
	})
	return nil
}

func (s *hostStepper) Step(t int, dx *tensor.Dense, st []pixel.Stats) error {
	par.For(len(s.parts), func(k int) {
		p := &s.problems[s.parts[k].problem]
		s.stats[k] = pixel.Step(p.States[s.parts[k].state], s.image(dx, s.parts[k].problem), p.H, p.W, t, s.o)
	})
	clear(st)
	for k, p := range s.parts {
		st[p.problem].Add(s.stats[k])
	}
	return nil
}

func (s *hostStepper) Finish() error { return nil }
func (s *hostStepper) Close()        {}
