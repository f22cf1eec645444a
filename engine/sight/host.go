package sight

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"

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

// ask lets the method score features.
func (d *Host) ask(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	if err := d.method.Score(ctx, f, r); err != nil {
		return fmt.Errorf("engine: %s: %w", d.method.Name(), err)
	}
	return nil
}

// Maps implements Detector.
func (d *Host) Maps(s []float32, n, h, w, H, W int, wanted []bool, dst []float32) error {
	method.BaseMaps(s, n, h, w, H, W, d.method.Map(), wanted, dst)
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
	varied   *tensor.Dense   // [K,3,H,W] the variants that were scored last
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

// Score implements Batch.
func (b *HostBatch) Score(ctx context.Context, x refine.Variants, r *method.Result) error {
	sh := b.given.Shape()
	if err := x.Check(sh[0], sh[2], sh[3]); err != nil {
		return err
	}
	K, size := len(x.Of), 3*sh[2]*sh[3]
	if b.varied == nil || b.varied.Shape()[0] != K {
		b.varied = nd.New(K, 3, sh[2], sh[3])
	}
	par.For(K, func(k int) {
		variant(nd.Data(b.varied)[k*size:][:size], nd.Data(b.given)[x.Of[k]*size:][:size], sh[2], sh[3], &x, k)
	})
	norms := chosen(b.norms, x.Of)
	if r.Where != nil {
		return b.scoreWhere(ctx, b.varied, norms, r)
	}
	f, err := b.Net.Features(ctx, b.varied, norms)
	if err != nil {
		return err
	}
	return b.ask(ctx, f, r)
}

// scoreWhere scores the locations r.Where of the images x: the network runs on windows that hold all that they depend on.
func (d *Host) scoreWhere(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) error {
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
		in := make([]Rect, len(ps))
		for k, p := range ps {
			in[k] = p.In
		}
		ih, iw := in[0].H(), in[0].W()
		part := &method.Result{S: nd.New(len(ps), ih, iw), Where: Wanted(ps, in, r.Where, h, w), Origins: Origins(in)}
		if err := d.ask(ctx, f, part); err != nil {
			return err
		}
		for v, on := range part.Where {
			if on {
				k, y, x := v/(ih*iw), v/iw%ih, v%iw
				nd.Data(r.S)[(ps[k].Image*h+in[k].Y0+y)*w+in[k].X0+x] = nd.Data(part.S)[v]
			}
		}
		return nil
	})
}

// variant makes number k of x from its image y [3,h,w].
func variant(dst, y []float32, h, w int, x *refine.Variants, k int) {
	if x.Changes != nil {
		y = slices.Clone(y)
		x.Changes[k].Put(y)
	}
	n := h * w
	for c := range 3 {
		pixel.Moved(dst[c*n:(c+1)*n], y[c*n:(c+1)*n], h, w, x.DY, x.DX)
	}
}

// Costs implements Batch. It never fails.
func (b *HostBatch) Costs(searches []refine.Search) error { return refine.Host{}.Costs(searches) }

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
