package refine

import (
	"context"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
)

// explain asks the detector what it finds once the suspicious regions are filled, and keeps for each region the share of its
// finding that this takes away: x = 1 - (sum of g(v) of the filled image)/(sum of g(v)) over its pixels, within [0,1]. What is
// found in the fill, too, is no defect of these pixels. Where a region has no fill nothing is asked, and x is 1.
//
// It goes before the optimisation, and says what that is for: the islands in which a fill explains a part. Where one explains
// all, the detector is content with the start; where it explains next to nothing, it is no start.
func (r *Refiner) explain(ctx context.Context, sc Scorer, scenes []*scene) error {
	var which []int
	for i, s := range scenes {
		if slices.ContainsFunc(s.regions, func(g region) bool { return g.filled }) {
			which = append(which, i)
		}
	}
	if len(which) == 0 {
		return nil
	}
	h, w := scenes[0].h, scenes[0].w
	n := h * w
	v := nd.New(len(which), h, w)
	where, fills := make([]bool, len(which)*n), make([]Change, len(which))
	par.For(len(which), func(k int) {
		s := scenes[which[k]]
		copy(where[k*n:], s.omega)
		fills[k] = s.fill()
	})
	if err := ask(ctx, sc, Variants{Of: which, Changes: fills}, where, v, "its fill"); err != nil {
		return err
	}
	par.For(len(which), func(k int) { r.conclude(scenes[which[k]], nd.Data(v)[k*n:(k+1)*n]) })
	return nil
}

// conclude sets a scene's shares from the map left [h,w] of its filled image.
func (r *Refiner) conclude(s *scene, left []float32) {
	s.explained = make([]float32, s.h*s.w)
	rank := r.opts.Map.ranking()
	for i := range s.regions {
		g := &s.regions[i]
		g.explained = 1
		if g.filled {
			var found, still float64
			for _, p := range g.pixels {
				found += rank.of(float64(s.v[p]))
				still += rank.of(float64(left[p]))
			}
			g.explained = min(max(1-still/found, 0), 1)
		}
		for _, p := range g.pixels {
			s.explained[p] = float32(g.explained)
		}
	}
	o := &r.opts.Optimiser
	for _, is := range s.islands {
		for _, i := range is.regions {
			g := &s.regions[i]
			is.doubtful = is.doubtful || g.filled && g.explained >= o.ExplainedFrom && g.explained <= o.ExplainedTo
		}
	}
}

// fill is the fills that the optimisation starts from, in the place of Omega's pixels.
func (s *scene) fill() Change {
	c := Change{Pixels: s.inside()}
	P, number := len(c.Pixels), make([]int32, s.h*s.w) // of the pixels
	for i, p := range c.Pixels {
		number[p] = int32(i)
	}
	c.Values = make([]float32, 3*P)
	for _, is := range s.islands {
		n := is.state.Box.H() * is.state.Box.W()
		for _, p := range is.state.Pixels {
			at := is.pixel(p, s.w)
			for ch := range 3 {
				c.Values[ch*P+int(number[at])] = s.y[ch*s.h*s.w+at] - is.state.C[p]*is.state.A[ch*n+int(p)]
			}
		}
	}
	return c
}
