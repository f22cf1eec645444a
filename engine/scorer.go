package engine

import (
	"context"
	"fmt"

	"f2pad/engine/backbone"
	"f2pad/engine/internal/par"
	"f2pad/engine/method"
	"f2pad/engine/nd"
	"f2pad/engine/refine"

	"gorgonia.org/tensor"
)

// scale puts a method's scores on the one scale that the refinement works with: z = (s - Q50)/(Q995 - Q50), quantiles of
// the scores of held-out normal images.
type scale struct{ q50, q995 float64 }

func (c scale) z(s float32) float64 { return (float64(s) - c.q50) / (c.q995 - c.q50) }
func (c scale) slope() float64      { return 1 / (c.q995 - c.q50) }

// scorer is the network and the method as the refinement sees them, for one batch of images. norms belong to the images
// as they were given, and stay when the refinement changes pixels.
type scorer struct {
	net   *network
	meth  method.Method
	scale scale
	norms []backbone.Affine
}

var _ refine.Scorer = (*scorer)(nil)

func (s *scorer) Stride() int { return s.net.bb.Stride() }

// raw scores the images x [N,3,H,W] as the method does: s [N,h,w], and its own image scores if it has any.
func (s *scorer) raw(ctx context.Context, x *tensor.Dense, image []float32) (*tensor.Dense, error) {
	sh := x.Shape()
	f, err := s.net.features(ctx, x, s.norms)
	if err != nil {
		return nil, err
	}
	r := &method.Result{S: nd.New(sh[0], sh[2]/s.Stride(), sh[3]/s.Stride()), Image: image}
	if err := s.meth.Score(ctx, f, r); err != nil {
		return nil, fmt.Errorf("engine: %s: %w", s.meth.Name(), err)
	}
	return r.S, nil
}

// Score implements refine.Scorer.
func (s *scorer) Score(ctx context.Context, x, z *tensor.Dense) error {
	raw, err := s.raw(ctx, x, nil)
	if err != nil {
		return err
	}
	out := nd.Data(z)
	for i, v := range nd.Data(raw) {
		out[i] = float32(s.scale.z(v))
	}
	return nil
}

// contextCells is how far a method's embedding of a location reaches into its neighbours, in cells of the coarsest layer:
// one for 3x3 pooling and one for bilinear upsampling.
const contextCells = 2

// Gradient implements refine.Scorer. The network runs on windows around the wanted cells only; windows of one size share
// a batch. Every image's windows depend on that image alone, and their gradients are added in a fixed order.
func (s *scorer) Gradient(ctx context.Context, x *tensor.Dense, where []bool, e refine.Energy, energy []float64, dx *tensor.Dense) error {
	st := s.Stride()
	N, H, W := x.Shape()[0], x.Shape()[2], x.Shape()[3]
	h, w := H/st, W/st
	limit := s.net.limit / (st * st)
	clear(nd.Data(dx))
	clear(energy)

	type job struct {
		ps []patch
		e  []float64
		dx *tensor.Dense // [len(ps),3,h,w] of the windows
	}
	var jobs []*job
	type size struct{ h, w int }
	open := map[size]*job{}
	place := make([][][2]int, N) // per image, in window order: job and index in it
	index := map[*job]int{}
	for n := range N {
		for _, win := range covering(where[n*h*w:(n+1)*h*w], h, w, s.net.margin+contextCells*s.net.coarsest, limit) {
			k := size{win.in.h(), win.in.w()}
			j := open[k]
			if j == nil || (len(j.ps)+1)*win.in.area() > limit {
				j = &job{}
				open[k] = j
				index[j] = len(jobs)
				jobs = append(jobs, j)
			}
			place[n] = append(place[n], [2]int{index[j], len(j.ps)})
			j.ps = append(j.ps, patch{image: n, win: win, norm: s.norms[n]})
		}
	}
	err := par.Err(len(jobs), func(i int) (err error) {
		jobs[i].e, jobs[i].dx, err = s.windowGradient(ctx, x, jobs[i].ps, where, e)
		return err
	})
	if err != nil {
		return err
	}
	dst := nd.Data(dx)
	for n := range N {
		for _, p := range place[n] {
			j := jobs[p[0]]
			energy[n] += j.e[p[1]]
			in := j.ps[p[1]].win.in
			ph, pw := in.h()*st, in.w()*st
			src := nd.Data(j.dx)[p[1]*3*ph*pw:]
			for c := range 3 {
				k := s.norms[n].Scale[c]
				for i := range ph {
					to := dst[((n*3+c)*H+in.y0*st+i)*W+in.x0*st:][:pw]
					for q, v := range src[(c*ph+i)*pw:][:pw] {
						to[q] += float32(v * k)
					}
				}
			}
		}
	}
	return nil
}

// windowGradient runs patches of one size forward and backward: their energies, and the gradients w.r.t. the network's
// input.
func (s *scorer) windowGradient(ctx context.Context, x *tensor.Dense, ps []patch, where []bool, e refine.Energy) ([]float64, *tensor.Dense, error) {
	st := s.Stride()
	w := x.Shape()[3] / st
	h := x.Shape()[2] / st
	ih, iw := ps[0].win.in.h(), ps[0].win.in.w()
	c, err := s.net.take(ih*st, iw*st, true)
	if err != nil {
		return nil, nil, fmt.Errorf("engine: %s: %w", s.net.bb.Name(), err)
	}
	defer s.net.give(c)
	in := s.net.load(x, ps)
	f := c.outputs(len(ps))
	if err := c.net.Forward(ctx, []*tensor.Dense{in}, f); err != nil {
		return nil, nil, fmt.Errorf("engine: %s: %w", s.net.bb.Name(), err)
	}
	energy := make([]float64, len(ps))
	dS, df := nd.New(len(ps), ih, iw), c.outputs(len(ps))
	// Windows lie at different origins, which a method with one state per location has to know: one call for each.
	for k, p := range ps {
		fk, dfk := slicesOf(f, k), slicesOf(df, k)
		r := &method.Result{
			S: nd.New(1, ih, iw), Where: make([]bool, ih*iw), Gradient: true,
			Origin: [2]int{p.win.in.y0, p.win.in.x0},
		}
		for i := p.win.own.y0; i < p.win.own.y1; i++ {
			for j := p.win.own.x0; j < p.win.own.x1; j++ {
				r.Where[(i-p.win.in.y0)*iw+j-p.win.in.x0] = where[(p.image*h+i)*w+j]
			}
		}
		if err := s.meth.Score(ctx, fk, r); err != nil {
			return nil, nil, fmt.Errorf("engine: %s: %w", s.meth.Name(), err)
		}
		g := nd.Data(dS)[k*ih*iw : (k+1)*ih*iw]
		for v, on := range r.Where {
			if on {
				z := s.scale.z(nd.Data(r.S)[v])
				energy[k] += e.Value(z)
				g[v] = float32(e.Slope(z) * s.scale.slope())
			}
		}
		if err := s.meth.Grad(ctx, fk, r, nd.Wrap(g, 1, ih, iw), dfk); err != nil {
			return nil, nil, fmt.Errorf("engine: gradient of %s: %w", s.meth.Name(), err)
		}
	}
	if err := c.net.Backward(ctx, df, []*tensor.Dense{in}); err != nil {
		return nil, nil, fmt.Errorf("engine: gradient of %s: %w", s.net.bb.Name(), err)
	}
	return energy, in, nil
}

// slicesOf returns image k of each tensor as a batch of one, sharing the values.
func slicesOf(ts []*tensor.Dense, k int) []*tensor.Dense {
	out := make([]*tensor.Dense, len(ts))
	for i, t := range ts {
		sh := t.Shape()
		n := nd.Size(sh[1:]...)
		out[i] = nd.Wrap(nd.Data(t)[k*n:(k+1)*n], append([]int{1}, sh[1:]...)...)
	}
	return out
}
