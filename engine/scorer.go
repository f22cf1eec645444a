package engine

import (
	"context"
	"fmt"
	"slices"

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
	scale scale                                                     // of scores
	rank  scale                                                     // of the method's own maps
	maps  func(s []float32, n, h, w, H, W int, dst []float32) error // makes those of scores
	norms []backbone.Affine

	frames   []*frame        // of the images as they were given
	scores   *tensor.Dense   // [N,h,w] of the images as they were given
	given    *tensor.Dense   // [N,3,H,W] the images as they were given, with
	features []*tensor.Dense // their feature maps; kept for windows that do not hold all that their features depend on
	plan     *plan

	bad badFrames // what the network or its gradient gave no finite values for while pixels changed
}

var _ refine.Scorer = (*scorer)(nil)

func (s *scorer) Stride() int { return s.net.bb.Stride() }

// start scores the images x [N,3,H,W] as they were given, as the method does: s [N,h,w], and its own image scores if it has any.
func (s *scorer) start(ctx context.Context, x *tensor.Dense, image []float32) (*tensor.Dense, error) {
	f, err := s.net.features(ctx, x, s.norms)
	if err != nil {
		return nil, err
	}
	if !s.net.exact {
		s.given, s.features = x, f
	}
	sh := x.Shape()
	s.scores = nd.New(sh[0], sh[2]/s.Stride(), sh[3]/s.Stride())
	return s.scores, s.score(ctx, f, &method.Result{S: s.scores, Image: image, Inside: s.inside(sh[2]/s.Stride(), sh[3]/s.Stride())})
}

// inside says which cells of the images' grids are inspected; nil: all.
func (s *scorer) inside(h, w int) []bool {
	if !slices.ContainsFunc(s.frames, func(f *frame) bool { return f.inside != nil }) {
		return nil
	}
	all := slices.Repeat([]bool{true}, len(s.frames)*h*w)
	for i, f := range s.frames {
		if f.inside != nil {
			copy(all[i*h*w:], f.grid(h, w))
		}
	}
	return all
}

// ownMaps makes the method's own maps [K,H,W] of the scores x [K,h,w] of variants of images. What is not inspected takes no part in
// them: scores there are replaced.
func (s *scorer) ownMaps(images []int, x []float32, h, w, H, W int, dst []float32) error {
	for k, i := range images {
		spread(x[k*h*w:][:h*w], s.frames[i].grid(h, w), h, w)
	}
	if err := s.maps(x, len(images), h, w, H, W, dst); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

func (s *scorer) score(ctx context.Context, f []*tensor.Dense, r *method.Result) error {
	if err := s.meth.Score(ctx, f, r); err != nil {
		return fmt.Errorf("engine: %s: %w", s.meth.Name(), err)
	}
	return nil
}

// Map implements refine.Scorer. The method scores what the map depends on where it is asked for; elsewhere it is made of the
// scores of the images as they were given.
func (s *scorer) Map(ctx context.Context, images []int, x *tensor.Dense, where []bool, v *tensor.Dense) error {
	K, H, W := x.Shape()[0], x.Shape()[2], x.Shape()[3]
	h, w := H/s.Stride(), W/s.Stride()
	norms := make([]backbone.Affine, K)
	r := &method.Result{S: nd.New(K, h, w), Where: make([]bool, K*h*w)}
	for k, i := range images {
		norms[k] = s.norms[i]
		copy(nd.Data(r.S)[k*h*w:(k+1)*h*w], nd.Data(s.scores)[i*h*w:])
		copy(r.Where[k*h*w:], s.meth.Map().Cells(where[k*H*W:(k+1)*H*W], h, w, H, W))
	}
	f, err := s.net.features(ctx, x, norms)
	if err != nil {
		return err
	}
	if err := s.score(ctx, f, r); err != nil {
		return err
	}
	if err := s.ownMaps(images, nd.Data(r.S), h, w, H, W, nd.Data(v)); err != nil {
		return err
	}
	for p, b := range nd.Data(v) {
		nd.Data(v)[p] = float32(s.rank.z(b))
	}
	for k, i := range images {
		if !finite(nd.Data(v)[k*H*W:][:H*W]) {
			s.bad.add(i, fmt.Errorf("engine: %s gives values that are not finite for a changed image", s.net.bb.Name()))
		}
	}
	return nil
}

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
	lack   []*tensor.Dense // [len(ps),D,h,w]: see scorer.complete
	around []*tensor.Dense // [len(ps),D,h,w] of what the method sees; see methodGradient

	energy []float64
	dx     *tensor.Dense // [len(ps),3,h,w] of the windows
}

func (s *scorer) newPlan(where []bool, N, h, w int) *plan {
	p := &plan{where: slices.Clone(where), place: make([][]slot, N)}
	l := s.net.layout(h, w, s.net.context)
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
			j.ps = append(j.ps, patch{image: n, win: win, norm: s.norms[n]})
		}
	}
	return p
}

// Gradient implements refine.Scorer. The network runs on windows around the wanted cells only, and their gradients are
// added in a fixed order. Cells that are not inspected have no energy. Calls with the same where share what they prepare; the scorer is for one goroutine.
func (s *scorer) Gradient(ctx context.Context, x *tensor.Dense, where []bool, e refine.Energy, energy []float64, dx *tensor.Dense) error {
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
				k := s.norms[n].Scale[c]
				for i := range ph {
					to := dst[((n*3+c)*H+in.y0*st+i)*W+in.x0*st:][:pw]
					for q, v := range src[(c*ph+i)*pw:][:pw] {
						to[q] += float32(v * k)
					}
				}
			}
		}
		if energy[n]-energy[n] != 0 || !finite(dst[n*3*H*W:][:3*H*W]) {
			s.bad.add(n, fmt.Errorf("engine: the gradient of %s is not finite", s.net.bb.Name()))
		}
	}
	return nil
}

// findLack measures what the features of a job's windows lack. Where a window does not hold all that its features depend on,
// they differ from the whole image's. What the window makes of the image as it was given, and what the whole image gave there,
// are known; their difference stays nearly the same while pixels in the window's middle change.
func (s *scorer) findLack(ctx context.Context, c *compiled, j *job) error {
	lack := c.outputs(len(j.ps))
	if err := c.net.Forward(ctx, []*tensor.Dense{s.net.load(s.given, j.ps)}, lack); err != nil {
		return err
	}
	h, w := s.given.Shape()[2]/s.Stride(), s.given.Shape()[3]/s.Stride()
	for k, p := range j.ps {
		part := slicesOf(lack, k)
		for l, whole := range slicesOf(s.features, p.image) {
			to := nd.Data(part[l])
			for i, v := range nd.Data(cropped(whole, rect{0, 0, h, w}, p.win.in)) {
				to[i] = v - to[i]
			}
		}
	}
	j.lack = lack
	return nil
}

// complete adds to the windows' features f what they lack.
func (j *job) complete(f []*tensor.Dense) {
	for l, part := range j.lack {
		to := nd.Data(f[l])
		for i, v := range nd.Data(part) {
			to[i] += v
		}
	}
}

// windowGradient runs a job's windows forward and backward: their energies, and the gradients w.r.t. the network's input.
func (s *scorer) windowGradient(ctx context.Context, x *tensor.Dense, j *job, where []bool, e refine.Energy) error {
	st := s.Stride()
	h, w := x.Shape()[2]/st, x.Shape()[3]/st
	ih, iw := j.ps[0].win.in.h(), j.ps[0].win.in.w()
	c, err := s.net.take(ih*st, iw*st, true)
	if err != nil {
		return fmt.Errorf("engine: %s: %w", s.net.bb.Name(), err)
	}
	defer s.net.give(c)
	if s.features != nil && j.lack == nil {
		if err := s.findLack(ctx, c, j); err != nil {
			return fmt.Errorf("engine: %s: %w", s.net.bb.Name(), err)
		}
	}
	in := s.net.load(x, j.ps)
	f := c.outputs(len(j.ps))
	if err := c.net.Forward(ctx, []*tensor.Dense{in}, f); err != nil {
		return fmt.Errorf("engine: %s: %w", s.net.bb.Name(), err)
	}
	j.complete(f)
	j.dx = in // the gradient takes the place of what it is the gradient of
	df := c.outputs(len(j.ps))
	if err := s.methodGradient(ctx, j, f, df, where, h, w, e); err != nil {
		return err
	}
	if err := c.net.Backward(ctx, df, []*tensor.Dense{j.dx}); err != nil {
		return fmt.Errorf("engine: gradient of %s: %w", s.net.bb.Name(), err)
	}
	return nil
}

// methodGradient takes the energies of the cells that a job's windows own, for the windows' features f [len(j.ps),D,h,w] per
// layer, and fills df with the gradients w.r.t. them. where is the images', whose grid is h x w.
func (s *scorer) methodGradient(ctx context.Context, j *job, f, df []*tensor.Dense, where []bool, h, w int, e refine.Energy) error {
	seen, fs, dfs := make([]rect, len(j.ps)), f, df
	for k, p := range j.ps {
		seen[k] = p.win.in
	}
	// A method's embedding reaches beyond the window. Where windows are cut, the features there are those of the image as it
	// was given.
	if s.features != nil {
		all := rect{0, 0, h, w}
		for k, p := range j.ps {
			seen[k] = p.win.in.widened(s.net.embedding(), all)
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
			z := s.scale.z(nd.Data(r.S)[v])
			j.energy[v/(sh*sw)] += e.Value(z)
			nd.Data(dS)[v] = float32(e.Slope(z) * s.scale.slope())
		}
	}
	if err := s.meth.Grad(ctx, fs, r, dS, dfs); err != nil {
		return fmt.Errorf("engine: gradient of %s: %w", s.meth.Name(), err)
	}
	if s.features != nil {
		j.between(dfs, df, seen, func(outer, inner *tensor.Dense, seen, in rect) { copyCells(inner, in, outer, seen, in) })
	}
	return nil
}

// surroundings are the features of the images as they were given, which cover all, where a job's windows see them.
func (s *scorer) surroundings(j *job, seen []rect, all rect) []*tensor.Dense {
	around := make([]*tensor.Dense, len(s.features))
	for l, whole := range s.features {
		sh := whole.Shape()
		k := all.h() / sh[2] // cells of the finest grid per cell
		around[l] = nd.New(len(j.ps), sh[1], seen[0].h()/k, seen[0].w()/k)
	}
	for k, p := range j.ps {
		for l, whole := range slicesOf(s.features, p.image) {
			copyCells(slicesOf(around, k)[l], seen[k], whole, all, seen[k])
		}
	}
	return around
}

// between visits the windows' feature maps [1,D,h,w], those of what they see beside their own.
func (j *job) between(outer, inner []*tensor.Dense, seen []rect, visit func(outer, inner *tensor.Dense, seen, in rect)) {
	for k, p := range j.ps {
		os, is := slicesOf(outer, k), slicesOf(inner, k)
		for l := range os {
			visit(os[l], is[l], seen[k], p.win.in)
		}
	}
}

// copyCells copies what lies in a rectangle of the finest grid between feature maps of one image [1,D,h,w], which cover the
// rectangles to and from of that grid.
func copyCells(dst *tensor.Dense, to rect, src *tensor.Dense, from, what rect) {
	ds, ss := dst.Shape(), src.Shape()
	k := from.h() / ss[2] // cells of the finest grid per cell
	rows, cols := what.h()/k, what.w()/k
	d, s := nd.Data(dst), nd.Data(src)
	for c := range ds[1] {
		for i := range rows {
			at := (c*ds[2]+(what.y0-to.y0)/k+i)*ds[3] + (what.x0-to.x0)/k
			copy(d[at:at+cols], s[(c*ss[2]+(what.y0-from.y0)/k+i)*ss[3]+(what.x0-from.x0)/k:])
		}
	}
}

// cropped is the part of a feature map, which covers the rectangle from, that covers the rectangle what.
func cropped(src *tensor.Dense, from, what rect) *tensor.Dense {
	s := src.Shape()
	k := from.h() / s[2]
	dst := nd.New(1, s[1], what.h()/k, what.w()/k)
	copyCells(dst, what, src, from, what)
	return dst
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
