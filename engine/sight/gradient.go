package sight

import (
	"context"
	"fmt"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"gorgonia.org/tensor"
)

// plan says how the wanted cells of a batch are covered by windows; windows of one size share a job. Every image's windows
// depend on that image alone.
type plan struct {
	where []bool
	jobs  []*job
	place [][]slot // per image, in window order
}

type slot struct{ job, at int }

// job is windows of one size that run together.
type job struct {
	ps []patch
	// Per layer; nil where windows are exact:
	missing []*tensor.Dense // [len(ps),D,h,w]: what is missing from their features
	around  []*tensor.Dense // [len(ps),D,h,w] of what the method sees; see methodGradient

	energy []float64
	dx     *tensor.Dense // [len(ps),3,h,w] of the windows
}

func (s *Scorer) newPlan(where []bool, N, h, w int) *plan {
	p := &plan{where: slices.Clone(where), place: make([][]slot, N)}
	l := s.Net.layout(h, w, s.Net.context)
	type size struct{ h, w int }
	open := map[size]int{}
	for n := range N {
		for _, win := range l.covering(where[n*h*w : (n+1)*h*w]) {
			k := size{win.in.h(), win.in.w()}
			at, ok := open[k]
			if !ok || (len(p.jobs[at].ps)+1)*win.in.area() > l.limit {
				at = len(p.jobs)
				open[k] = at
				p.jobs = append(p.jobs, &job{})
			}
			j := p.jobs[at]
			p.place[n] = append(p.place[n], slot{at, len(j.ps)})
			j.ps = append(j.ps, patch{image: n, win: win, norm: s.Norms[n]})
		}
	}
	return p
}

// Gradient implements refine.Scorer. The network runs on windows around the wanted cells only, and their gradients are
// added in a fixed order. Cells that are not inspected have no energy. Calls with the same where share what they prepare; the scorer is for one goroutine.
func (s *Scorer) Gradient(ctx context.Context, x *tensor.Dense, where []bool, e refine.Energy, energy []float64, dx *tensor.Dense) error {
	st := s.Stride()
	N, H, W := x.Shape()[0], x.Shape()[2], x.Shape()[3]
	if inside := s.inside(H/st, W/st); inside != nil {
		where = slices.Clone(where)
		for v := range where {
			where[v] = where[v] && inside[v]
		}
	}
	if s.plan == nil || !slices.Equal(s.plan.where, where) {
		s.plan = s.newPlan(where, N, H/st, W/st)
	}
	lap := s.Timer.Start(0)
	defer func() { lap(stage.Gradients) }()
	clear(nd.Data(dx))
	clear(energy)
	err := par.Err(len(s.plan.jobs), func(i int) error { return s.windowGradient(ctx, x, s.plan.jobs[i], where, e) })
	if err != nil {
		return err
	}
	dst := nd.Data(dx)
	for n := range N {
		for _, p := range s.plan.place[n] {
			j := s.plan.jobs[p.job]
			energy[n] += j.energy[p.at]
			in := j.ps[p.at].win.in
			ph, pw := in.h()*st, in.w()*st
			src := nd.Data(j.dx)[p.at*3*ph*pw:]
			for c := range 3 {
				k := s.Norms[n].Scale[c]
				for i := range ph {
					to := dst[((n*3+c)*H+in.y0*st+i)*W+in.x0*st:][:pw]
					for q, v := range src[(c*ph+i)*pw:][:pw] {
						to[q] += float32(v * k)
					}
				}
			}
		}
		if energy[n]-energy[n] != 0 || !Finite(dst[n*3*H*W:][:3*H*W]) {
			s.Bad.Add(n, fmt.Errorf("engine: the gradient of %s is not finite", s.Net.bb.Name()))
		}
	}
	return nil
}

// windowGradient runs a job's windows forward and backward: their energies, and the gradients w.r.t. the network's input.
func (s *Scorer) windowGradient(ctx context.Context, x *tensor.Dense, j *job, where []bool, e refine.Energy) error {
	st := s.Stride()
	h, w := x.Shape()[2]/st, x.Shape()[3]/st
	ih, iw := j.ps[0].win.in.h(), j.ps[0].win.in.w()
	s.Net.turns <- struct{}{}
	defer func() { <-s.Net.turns }()
	c, err := s.Net.take(ih*st, iw*st, true)
	if err != nil {
		return fmt.Errorf("engine: %s: %w", s.Net.bb.Name(), err)
	}
	defer s.Net.give(c)
	if s.features != nil && j.missing == nil {
		if err := s.measureMissing(ctx, c, j); err != nil {
			return fmt.Errorf("engine: %s: %w", s.Net.bb.Name(), err)
		}
	}
	in := s.Net.load(x, j.ps)
	f := c.outputs(len(j.ps))
	if err := c.net.Forward(ctx, []*tensor.Dense{in}, f); err != nil {
		return fmt.Errorf("engine: %s: %w", s.Net.bb.Name(), err)
	}
	j.complete(f)
	j.dx = in // the gradient takes the place of what it is the gradient of
	df := c.outputs(len(j.ps))
	if err := s.methodGradient(ctx, j, f, df, where, h, w, e); err != nil {
		return err
	}
	if err := c.net.Backward(ctx, df, []*tensor.Dense{j.dx}); err != nil {
		return fmt.Errorf("engine: gradient of %s: %w", s.Net.bb.Name(), err)
	}
	return nil
}

// methodGradient takes the energies of the cells that a job's windows own, for the windows' features f [len(j.ps),D,h,w] per
// layer, and fills df with the gradients w.r.t. them. where is the images', whose grid is h x w.
func (s *Scorer) methodGradient(ctx context.Context, j *job, f, df []*tensor.Dense, where []bool, h, w int, e refine.Energy) error {
	seen, fs, dfs := make([]rect, len(j.ps)), f, df
	for k, p := range j.ps {
		seen[k] = p.win.in
	}
	// A method's embedding reaches beyond the window. Where windows are cut, the features there are those of the image as it
	// was given.
	if s.features != nil {
		all := rect{0, 0, h, w}
		for k, p := range j.ps {
			seen[k] = p.win.in.widened(s.Net.embedding(), all)
		}
		if j.around == nil {
			j.around = s.surroundings(j, seen, all)
		}
		fs, dfs = j.around, make([]*tensor.Dense, len(f))
		for l, t := range fs {
			dfs[l] = nd.New(t.Shape()...)
		}
		j.between(fs, f, seen, func(outer, inner *tensor.Dense, seen, in rect) { copyCells(outer, seen, inner, in, in) })
	}
	sh, sw := seen[0].h(), seen[0].w()
	r := &method.Result{
		S: nd.New(len(j.ps), sh, sw), Where: make([]bool, len(j.ps)*sh*sw), Gradient: true, Origins: make([][2]int, len(j.ps)),
	}
	for k, p := range j.ps {
		r.Origins[k] = [2]int{seen[k].y0, seen[k].x0}
		own := p.win.own
		for i := own.y0; i < own.y1; i++ {
			copy(r.Where[(k*sh+i-seen[k].y0)*sw+own.x0-seen[k].x0:], where[(p.image*h+i)*w+own.x0:(p.image*h+i)*w+own.x1])
		}
	}
	if err := s.score(ctx, fs, r); err != nil {
		return err
	}
	j.energy = make([]float64, len(j.ps))
	dS := nd.New(len(j.ps), sh, sw)
	for v, on := range r.Where {
		if on {
			z := s.Scale.Z(nd.Data(r.S)[v])
			j.energy[v/(sh*sw)] += e.Value(z)
			nd.Data(dS)[v] = float32(e.Slope(z) * s.Scale.Slope())
		}
	}
	if err := s.Method.Grad(ctx, fs, r, dS, dfs); err != nil {
		return fmt.Errorf("engine: gradient of %s: %w", s.Method.Name(), err)
	}
	if s.features != nil {
		j.between(dfs, df, seen, func(outer, inner *tensor.Dense, seen, in rect) { copyCells(inner, in, outer, seen, in) })
	}
	return nil
}
