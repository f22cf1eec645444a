package sight

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"gorgonia.org/tensor"
)

// Host is the Detector of the CPU: the network on an executor, everything else in Go.
type Host struct {
	Net    *Network
	method method.Method
	timer  Timer
}

var _ Detector = (*Host)(nil)

// NewHost returns a Detector whose network runs on ex.
func NewHost(ex exec.Executor, s Spec) *Host {
	return &Host{NewNetwork(s.Backbone, ex, s.Windows()), s.Method, s.Timer}
}

// Score implements Detector.
func (d *Host) Score(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) error {
	f, err := d.Net.Features(ctx, x, norms)
	if err != nil {
		return err
	}
	return d.ask(ctx, f, r)
}

// ask lets the method score features.
func (d *Host) ask(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	if err := d.method.Score(ctx, f, r); err != nil {
		return fmt.Errorf("engine: %s: %w", d.method.Name(), err)
	}
	return nil
}

// Maps implements Detector.
func (d *Host) Maps(s []float32, n, h, w, H, W int, dst []float32) error {
	method.BaseMaps(s, n, h, w, H, W, d.method.Map(), dst)
	return nil
}

// Close implements Detector.
func (d *Host) Close() error {
	d.Net.Close()
	return nil
}

// HostBatch is the Batch of a Host.
type HostBatch struct {
	*Host
	norms    []backbone.Affine
	given    *tensor.Dense   // [N,3,H,W] the images, with
	features []*tensor.Dense // their feature maps; kept for windows that do not hold all that their features depend on
	moved    *tensor.Dense   // [K,3,H,W] what Moved last looked at
	bad      BadFrames       // what there were no finite values for while pixels changed

	where []bool // of the last Gradient, with
	plan  *Plan  // the windows for it, and
	jobs  []*job // what they have in common from one call to the next
}

// Begin implements Detector.
func (d *Host) Begin(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) (Batch, error) {
	lap := d.timer.Start(x.Shape()[0])
	f, err := d.Net.Features(ctx, x, norms)
	if err != nil {
		return nil, err
	}
	lap(stage.Features)
	if err := d.ask(ctx, f, r); err != nil {
		return nil, err
	}
	lap(stage.Scores)
	b := &HostBatch{Host: d, norms: norms, given: x}
	if !d.Net.Exact {
		b.features = f
	}
	return b, nil
}

// Moved implements Batch.
func (b *HostBatch) Moved(ctx context.Context, of []int, dy, dx int, r *method.Result) error {
	h, w := b.given.Shape()[2], b.given.Shape()[3]
	if b.moved == nil || b.moved.Shape()[0] != len(of) {
		b.moved = nd.New(len(of), 3, h, w)
	}
	plane := func(x *tensor.Dense, i int) []float32 { return nd.Data(x)[i*h*w:][:h*w] }
	par.For(3*len(of), func(k int) { pixel.Moved(plane(b.moved, k), plane(b.given, 3*of[k/3]+k%3), h, w, dy, dx) })
	return b.ScoreAsked(ctx, b.moved, chosen(b.norms, of), r)
}

// ScoreAsked is Score of the locations r.Where alone: the network runs on windows that hold all that they depend on.
func (d *Host) ScoreAsked(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) error {
	s := r.S.Shape()
	n, h, w := s[0], s[1], s[2]
	plan := d.Net.Asked(r.Where, n, h, w)
	return par.Err(len(plan.Jobs), func(i int) error {
		ps := plan.Jobs[i]
		work := <-d.Net.turns
		defer func() { d.Net.turns <- work }()
		work.begin()
		f, err := d.Net.windows(ctx, x, norms, ps, work)
		if err != nil {
			return err
		}
		ih, iw := ps[0].In.H(), ps[0].In.W()
		part := &method.Result{S: nd.New(len(ps), ih, iw), Where: make([]bool, len(ps)*ih*iw), Origins: make([][2]int, len(ps))}
		for k, p := range ps {
			part.Origins[k] = [2]int{p.In.Y0, p.In.X0}
		}
		each := func(visit func(inner, image int)) { // location that is asked for and a window owns
			for k, p := range ps {
				for y := p.Own.Y0; y < p.Own.Y1; y++ {
					for x := p.Own.X0; x < p.Own.X1; x++ {
						if image := (p.Image*h+y)*w + x; r.Where[image] {
							visit((k*ih+y-p.In.Y0)*iw+x-p.In.X0, image)
						}
					}
				}
			}
		}
		each(func(inner, _ int) { part.Where[inner] = true })
		if err := d.ask(ctx, f, part); err != nil {
			return err
		}
		each(func(inner, image int) { nd.Data(r.S)[image] = nd.Data(part.S)[inner] })
		return nil
	})
}

// Close implements Batch.
func (b *HostBatch) Close() {}

// Optimise implements Batch.
func (b *HostBatch) Optimise(ctx context.Context, problems []loop.Problem, scale Scale, o *loop.Options) ([][]loop.Iteration, error) {
	told, err := loop.Run(ctx, problems, o, func(ctx context.Context, x *tensor.Dense, where []bool, e loop.Energy, energy []float64, dx *tensor.Dense) error {
		return b.Gradient(ctx, x, where, e, scale, energy, dx)
	})
	if bad := b.bad.Err(); bad != nil && errors.As(err, new(*loop.NotFinite)) {
		return nil, bad
	}
	return told, err
}
