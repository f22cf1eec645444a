package sight

import (
	"context"
	"fmt"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// job is windows of one size that run together.
type job struct {
	ps   []Patch
	seen []Rect // what the method sees of each
	// Per layer; nil where windows are exact:
	missing []*tensor.Dense // [len(ps),D,h,w]: what is missing from their features
	around  []*tensor.Dense // [len(ps),D,h,w] of what the method sees

	energy []float64
	dx     *tensor.Dense // [len(ps),3,h,w] of the windows
}

// Gradient is a loop.Gradient, of the scores on scale. The network runs on windows around the wanted cells only, and their
// gradients are added in a fixed order. Calls with the same where share what they prepare.
func (b *HostBatch) Gradient(
	ctx context.Context, x *tensor.Dense, where []bool, e loop.Energy, scale Scale, energy []float64, dx *tensor.Dense,
) error {
	st := b.Net.Stride
	N, H, W := x.Shape()[0], x.Shape()[2], x.Shape()[3]
	h, w := H/st, W/st
	if b.plan == nil || !slices.Equal(b.where, where) {
		b.where, b.plan = slices.Clone(where), b.Net.Plan(where, N, h, w)
		b.jobs = make([]*job, len(b.plan.Jobs))
		for i, ps := range b.plan.Jobs {
			b.jobs[i] = &job{ps: ps, seen: b.Net.Seen(ps, h, w)}
		}
	}
	lap := b.timer.Start(0)
	defer func() { lap(stage.Gradients) }()
	clear(nd.Data(dx))
	clear(energy)
	err := par.Err(len(b.jobs), func(i int) error { return b.windowGradient(ctx, x, b.jobs[i], where, e, scale) })
	if err != nil {
		return err
	}
	dst := nd.Data(dx)
	for n := range N {
		for _, p := range b.plan.Places[n] {
			j := b.jobs[p.Job]
			energy[n] += j.energy[p.At]
			in := j.ps[p.At].In
			ph, pw := in.H()*st, in.W()*st
			src := nd.Data(j.dx)[p.At*3*ph*pw:]
			for c := range 3 {
				k := b.norms[n].Scale[c]
				for i := range ph {
					to := dst[((n*3+c)*H+in.Y0*st+i)*W+in.X0*st:][:pw]
					for q, v := range src[(c*ph+i)*pw:][:pw] {
						to[q] += float32(v * k)
					}
				}
			}
		}
		if energy[n]-energy[n] != 0 || !b.finite(dst[n*3*H*W:][:3*H*W], b.plan.Places[n], W) {
			b.bad.Add(n, fmt.Errorf("engine: the gradient of %s is not finite", b.Net.bb.Name()))
		}
	}
	return nil
}

// finite says whether an image's gradient dx [3,H,W] is; beyond its windows it is 0.
func (b *HostBatch) finite(dx []float32, places []Place, W int) bool {
	for _, p := range places {
		in, st := b.jobs[p.Job].ps[p.At].In, b.Net.Stride
		for y := in.Y0 * st; y < in.Y1*st; y++ {
			for c := range 3 {
				if !Finite(dx[c*len(dx)/3+y*W:][in.X0*st : in.X1*st]) {
					return false
				}
			}
		}
	}
	return true
}

// windowGradient runs a job's windows forward and backward: their energies, and the gradients w.r.t. the network's input.
func (b *HostBatch) windowGradient(ctx context.Context, x *tensor.Dense, j *job, where []bool, e loop.Energy, scale Scale) error {
	st := b.Net.Stride
	h, w := x.Shape()[2]/st, x.Shape()[3]/st
	ih, iw := j.ps[0].In.H(), j.ps[0].In.W()
	work := <-b.Net.turns
	defer func() { b.Net.turns <- work }()
	work.begin()
	c, err := b.Net.nets.Take(ih*st, iw*st, true)
	if err != nil {
		return fmt.Errorf("engine: %s: %w", b.Net.bb.Name(), err)
	}
	defer b.Net.nets.Give(c)
	if j.dx == nil {
		j.dx = nd.New(b.Net.inputs(j.ps)...)
	}
	in := j.dx // the gradient takes the place of what it is the gradient of
	if b.features != nil && j.missing == nil {
		if err := b.measureMissing(ctx, c, j, in); err != nil {
			return fmt.Errorf("engine: %s: %w", b.Net.bb.Name(), err)
		}
	}
	b.Net.load(in, x, b.norms, j.ps)
	f := c.OutputsIn(len(j.ps), work.tensor)
	if err := c.Forward(ctx, []*tensor.Dense{in}, f); err != nil {
		return fmt.Errorf("engine: %s: %w", b.Net.bb.Name(), err)
	}
	j.complete(f)
	df := work.like(f)
	if err := b.methodGradient(ctx, j, work, f, df, where, h, w, e, scale); err != nil {
		return err
	}
	if err := c.Backward(ctx, df, []*tensor.Dense{j.dx}); err != nil {
		return fmt.Errorf("engine: gradient of %s: %w", b.Net.bb.Name(), err)
	}
	return nil
}

// methodGradient takes the energies of the cells that a job's windows own, for the windows' features f [len(j.ps),D,h,w] per
// layer, and fills df with the gradients w.r.t. them. where is the images', whose grid is h x w.
func (b *HostBatch) methodGradient(
	ctx context.Context, j *job, work *workspace, f, df []*tensor.Dense, where []bool, h, w int, e loop.Energy, scale Scale,
) error {
	seen, fs, dfs := j.seen, f, df
	// A method's embedding reaches beyond the window. Where windows are cut, the features there are those of the image as it
	// was given.
	if b.features != nil {
		if j.around == nil {
			j.around = b.surroundings(j, Rect{0, 0, h, w})
		}
		fs, dfs = j.around, work.like(j.around)
		j.between(fs, f, func(outer, inner *tensor.Dense, seen, in Rect) { copyCells(outer, seen, inner, in, in) })
	}
	sh, sw := seen[0].H(), seen[0].W()
	r := &method.Result{S: nd.New(len(j.ps), sh, sw), Where: Wanted(j.ps, seen, where, h, w), Gradient: true, Origins: Origins(seen)}
	if err := b.ask(ctx, fs, r); err != nil {
		return err
	}
	j.energy = make([]float64, len(j.ps))
	dS := nd.New(len(j.ps), sh, sw)
	for v, on := range r.Where {
		if on {
			z := scale.Z(nd.Data(r.S)[v])
			j.energy[v/(sh*sw)] += e.Value(z)
			nd.Data(dS)[v] = float32(e.Slope(z) * scale.Slope())
		}
	}
	if err := b.method.Grad(ctx, fs, r, dS, dfs); err != nil {
		return fmt.Errorf("engine: gradient of %s: %w", b.method.Name(), err)
	}
	if b.features != nil {
		j.between(dfs, df, func(outer, inner *tensor.Dense, seen, in Rect) { copyCells(inner, in, outer, seen, in) })
	}
	return nil
}
