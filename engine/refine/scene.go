package refine

import (
	"fmt"
	"math"
	"slices"

	"f2pad/engine/internal/par"
	"f2pad/engine/nd"
	"f2pad/engine/pixel"
)

// scene is one image on its way through the steps.
type scene struct {
	y     []float32 // [3,h,w]
	h, w  int
	u     []float32 // [h,w] upsampled scores
	diary *Diary

	// Below: set where something is suspicious.
	distance []int32 // [h,w] squared distance to Omega; nil: nothing is suspicious
	area     int     // pixels of Omega
	islands  []*island
	filled   bool      // some region has a fill
	scale    float64   // c
	residual []float32 // [h,w] P_res
	domains  [][]int32 // of the random walk
}

// island is a part of Omega that no blur reaches from another part, in its window.
type island struct {
	state    *pixel.State
	residual []float32 // [h,w] of the window: least residual, blurred
	regions  []int     // the components of Omega in it
}

// prepare runs steps 1 to 3.
func (r *Refiner) prepare(in *Input) (*scene, error) {
	o := &r.opts
	s := &scene{y: nd.Data(in.Y), h: in.Y.Shape()[1], w: in.Y.Shape()[2]}
	if in.Diary {
		s.diary = &Diary{Walks: map[Kind]Walk{}}
	}
	s.u = make([]float32, s.h*s.w)
	smooth := pixel.NewGaussian(o.px(o.Region.SmoothCells))
	if err := r.Device.Smooth(nd.Data(in.Z), s.h/o.Stride, s.w/o.Stride, o.Stride, smooth, s.u); err != nil {
		return nil, err
	}

	omega := suspicious(s.u, s.h, s.w, o)
	if omega == nil {
		return s, nil
	}
	s.distance = distances(omega, s.h, s.w)
	regions := components(omega, s.h, s.w, true)
	fills := r.Fills.Fill(&Scene{
		Y: s.y, H: s.h, W: s.w, Omega: omega, Distance: s.distance, Regions: regions, Memory: in.Memory, Seed: in.Seed,
	}, o.Fills.Count)
	if err := checkFills(fills, regions); err != nil {
		return nil, err
	}
	s.split(regions, r.reach)
	err := par.Err(len(s.islands), func(i int) error { return r.compare(s, s.islands[i], regions, fills) })
	if err != nil {
		return nil, err
	}
	for i, region := range regions {
		s.area += len(region)
		s.filled = s.filled || len(fills[i]) > 0
	}
	s.scale = r.scale(s)
	s.residual = s.posterior(func(is *island) []float32 { return is.residual }, func(a []float32) float64 {
		return pixel.Quantile(a, o.Residual.Quantile) + o.Residual.Floor
	})
	s.domains = components(within(s.distance, o.Contrast.DilatePx), s.h, s.w, false)
	return s, nil
}

func checkFills(fills [][][]float32, regions [][]int32) error {
	if len(fills) != len(regions) {
		return fmt.Errorf("refine: fills for %d regions, want %d", len(fills), len(regions))
	}
	for i, fs := range fills {
		for _, f := range fs {
			if len(f) != 3*len(regions[i]) {
				return fmt.Errorf("refine: a fill of %d values for a region of %d pixels", len(f), len(regions[i]))
			}
		}
	}
	return nil
}

// split gathers the regions of Omega into islands more than twice reach apart, each with a window that reach fits into.
func (s *scene) split(regions [][]int32, reach int) {
	label := make([]int32, s.h*s.w)
	groups := components(within(s.distance, float64(reach)), s.h, s.w, true)
	for i, g := range groups {
		for _, p := range g {
			label[p] = int32(i)
		}
	}
	s.islands = make([]*island, len(groups))
	for i := range s.islands {
		s.islands[i] = &island{}
	}
	for i, region := range regions {
		is := s.islands[label[region[0]]]
		is.regions = append(is.regions, i)
	}
	for _, is := range s.islands {
		var all []int32
		for _, i := range is.regions {
			all = append(all, regions[i]...)
		}
		slices.Sort(all)
		box := pixel.Bounds(all, s.w).Grow(reach, s.h, s.w)
		for k, p := range all {
			all[k] = int32((int(p)/s.w-box.Y0)*box.W() + int(p)%s.w - box.X0)
		}
		is.state = &pixel.State{Box: box, Pixels: all}
	}
}

// compare measures an island against its fills: the least residual (step 3), and A = Y - N* to start from (step 4), in units
// of 1. A region with fewer fills than others repeats them; one without is its own fill.
func (r *Refiner) compare(s *scene, is *island, regions [][]int32, fills [][][]float32) error {
	box, K := is.state.Box, 1
	for _, i := range is.regions {
		K = max(K, len(fills[i]))
	}
	h, w := box.H(), box.W()
	n := h * w
	y := make([]float32, 3*n)
	pixel.Crop(y, s.y, 3, s.h, s.w, box)
	all := make([]float32, 0, K*3*n)
	for range K {
		all = append(all, y...)
	}
	for _, i := range is.regions {
		if len(fills[i]) == 0 {
			continue
		}
		for k := range K {
			f := fills[i][k%len(fills[i])]
			for j, p := range regions[i] {
				at := (int(p)/s.w-box.Y0)*w + int(p)%s.w - box.X0
				for c := range 3 {
					all[(k*3+c)*n+at] = f[c*len(regions[i])+j]
				}
			}
		}
	}
	start, smooth := pixel.NewGaussian(r.opts.Optimiser.StartPx), pixel.NewGaussian(r.opts.Residual.SmoothPx)
	is.residual = make([]float32, n)
	best := make([]int32, n)
	if err := r.Device.Compare(y, all, K, h, w, smooth, start, is.residual, best); err != nil {
		return err
	}
	is.state = pixel.NewState(box, is.state.Pixels, r.step())
	for _, p := range is.state.Pixels {
		for c := range 3 {
			at := c*n + int(p)
			is.state.A[at] = y[at] - all[int(best[p])*3*n+at]
		}
	}
	return nil
}

// scale returns c, the quantile of ||A|| over Omega plus the floor, and divides A by it.
func (r *Refiner) scale(s *scene) float64 {
	size := make([]float32, 0, s.area)
	for _, is := range s.islands {
		a := is.state.A
		n := len(a) / 3
		for _, p := range is.state.Pixels {
			size = append(size, float32(math.Sqrt(float64(a[p]*a[p]+a[n+int(p)]*a[n+int(p)]+a[2*n+int(p)]*a[2*n+int(p)]))))
		}
	}
	c := pixel.Quantile(size, r.opts.Optimiser.ScaleQuantile) + r.opts.Optimiser.ScaleFloor
	k := float32(1 / c)
	for _, is := range s.islands {
		for i := range is.state.A {
			is.state.A[i] *= k
		}
	}
	return c
}

// posterior assembles the islands' planes, which are 0 away from them, into one [h,w] and divides it by unit of the
// values over Omega.
func (s *scene) posterior(plane func(*island) []float32, unit func([]float32) float64) []float32 {
	over := make([]float32, 0, s.area)
	for _, is := range s.islands {
		v := plane(is)
		for _, p := range is.state.Pixels {
			over = append(over, v[p])
		}
	}
	k := float32(1 / unit(over))
	out := make([]float32, s.h*s.w)
	for _, is := range s.islands {
		v, b := plane(is), is.state.Box
		for i := range v {
			out[(b.Y0+i/b.W())*s.w+b.X0+i%b.W()] += k * v[i]
		}
	}
	return out
}

// optimised returns P_opt after the optimisation: the mean of ||A||/c, blurred and scaled.
func (r *Refiner) optimised(s *scene) []float32 {
	o := &r.opts.Optimiser
	if !s.filled {
		return make([]float32, s.h*s.w)
	}
	smooth := pixel.NewGaussian(o.SmoothPx)
	k := 1 / float32(o.Averaged)
	for _, is := range s.islands {
		h, w := is.state.Box.H(), is.state.Box.W()
		for i := range is.state.Sum {
			is.state.Sum[i] *= k
		}
		smooth.Blur(is.state.Sum, h, w, make([]float32, smooth.Scratch(h, w)))
	}
	return s.posterior(func(is *island) []float32 { return is.state.Sum }, func(a []float32) float64 {
		return max(pixel.Quantile(a, o.Quantile), o.Floor)
	})
}

// finish runs steps 6 and 7 for the posterior p [h,w] and returns the map. Away from Omega P and RW are 0 and the map is
// PosteriorFloor ContrastFloor sqrt(u), as it is for an image in which nothing is suspicious.
func (r *Refiner) finish(s *scene, kind Kind, p []float32) []float32 {
	o := &r.opts
	out := make([]float32, s.h*s.w)
	floor := o.Map.PosteriorFloor * o.Map.ContrastFloor
	if s.distance == nil {
		for i, u := range s.u {
			out[i] = float32(math.Sqrt(max(float64(u), 0)) * floor)
		}
		return out
	}
	seeds := make([]uint8, len(out))
	far := o.Contrast.BackgroundPx * o.Contrast.BackgroundPx
	for _, d := range s.domains {
		for _, q := range d {
			evidence := float64(p[q]) * min(math.Sqrt(max(float64(s.u[q]), 0)), o.Contrast.EvidenceCap)
			switch {
			case float64(s.distance[q]) > far || evidence <= o.Contrast.Background:
				seeds[q] = background
			case evidence >= o.Contrast.Foreground:
				seeds[q] = foreground
			default:
				seeds[q] = unknown
			}
		}
	}
	rw, walk := (&walker{y: s.y, h: s.h, w: s.w, domains: s.domains, o: &o.Contrast}).solve(seeds)
	if s.diary != nil {
		s.diary.Walks[kind] = walk
	}
	for i, u := range s.u {
		contrast := o.Map.ContrastFloor + (1-o.Map.ContrastFloor)*float64(rw[i])
		out[i] = float32(math.Sqrt(max(float64(u), 0)) * (o.Map.PosteriorFloor + float64(p[i])) * contrast)
	}
	return out
}
