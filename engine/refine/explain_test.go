package refine

import (
	"context"
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// twoRegions is an image with a region that fills lie in and one that has none, prepared, and their pixels' fill.
func twoRegions(t *testing.T, r *Refiner) (s *scene, fill float32) {
	t.Helper()
	const h, w = 48, 112
	y := make([]float32, 3*h*w)
	z := nd.New(h/4, w/4)
	v := nd.New(h, w)
	for p := range y {
		y[p] = 0.5
	}
	for _, at := range [][2]int{{5, 3}, {5, 23}} {
		nd.Data(z)[at[0]*w/4+at[1]] = 4
	}
	for p := range nd.Data(v) {
		nd.Data(v)[p] = 2
	}
	r.Fills = leftOnly{0.25}
	s = prepared(t, r, Input{Y: wrap(y, h, w), Z: z, V: v})
	require.Len(t, s.islands, 2)
	return s, 0.25
}

// leftOnly fills the regions in the left half with one value.
type leftOnly struct{ value float32 }

func (f leftOnly) Fill(_ Filler, scenes []*Scene, _ int) ([][][][]float32, error) {
	return eachScene(scenes, f.fill), nil
}

func (f leftOnly) fill(s *Scene) [][][]float32 {
	out := make([][][]float32, len(s.Regions))
	for i, region := range s.Regions {
		if int(region[0])%s.W < s.W/2 {
			fill := make([]float32, 3*len(region))
			for k := range fill {
				fill[k] = f.value
			}
			out[i] = [][]float32{fill, fill}
		}
	}
	return out
}

// What the fill takes away of the region's ranking g(v) = v^2 is the share; where there is no fill it is 1.
func TestFillsExplain(t *testing.T) {
	r := newRefiner(t)
	s, fill := twoRegions(t, r)
	none := &scene{h: s.h, w: s.w}
	asked := 0
	sc := on([]*scene{none, s}, func(image int, x []float32, h, w int) []float32 {
		asked++
		require.Equal(t, 1, image)
		out := make([]float32, h*w)
		for p := range out {
			filled := s.omega[p] && p%w < w/2
			for c := range 3 {
				want := float32(0.5)
				if filled {
					want = fill
				}
				require.InDelta(t, want, x[c*h*w+p], 1e-6)
			}
			out[p] = 1 // half of v
			if p/w < h/2 {
				out[p] = 2.1 // more than v
			}
		}
		return out
	})
	require.NoError(t, r.explain(t.Context(), sc, []*scene{none, s}))
	require.Equal(t, 1, asked)
	require.Nil(t, none.explained)
	var high, low float64
	for p, in := range s.omega {
		switch {
		case !in || p%s.w >= s.w/2:
		case p/s.w >= s.h/2:
			low++
		default:
			high++
		}
	}
	require.Positive(t, high)
	share := 1 - (2.1*2.1*high+low)/(2*2*(high+low))
	require.Greater(t, share, 0.1)
	want := make([]float64, s.h*s.w)
	for p, in := range s.omega {
		switch {
		case in && p%s.w >= s.w/2:
			want[p] = 1
		case in:
			want[p] = share
		}
	}
	compare.Require(t, "explained", s.explained, want, rounding)
	require.Equal(t, []bool{true, false}, []bool{s.islands[0].doubtful, s.islands[1].doubtful}, "without a fill there is no start")
}

// The optimisation is for islands in which a fill explains a part: where it explains all or nothing, the evidence is what the
// fill says, and the detector is asked for no gradient there.
func TestDoubtfulIslandsAreOptimised(t *testing.T) {
	const h, w = 48, 112
	for _, c := range []struct {
		left, right float32 // of v, which is 2, in the filled halves
		doubtful    [2]bool
	}{
		{1, 1, [2]bool{true, true}},        // 3/4 explained
		{0.5, 1, [2]bool{false, true}},     // 15/16
		{1, 1.9, [2]bool{true, false}},     // 1/10
		{3, 0.5, [2]bool{false, false}},    // nothing, nearly all
		{1.79, 1.78, [2]bool{false, true}}, // about .2
		{0.64, 0.63, [2]bool{true, false}}, // about .9
	} {
		r, err := New(DefaultOptions(4))
		require.NoError(t, err)
		s, _ := twoRegions(t, r)
		for i := range s.regions {
			s.regions[i].filled = true
		}
		left := make([]float32, h*w)
		for p := range left {
			if left[p] = c.left; p%w >= w/2 {
				left[p] = c.right
			}
		}
		r.conclude(s, left)
		require.Equal(t, c.doubtful, [2]bool{s.islands[0].doubtful, s.islands[1].doubtful}, "%+v", c)

		sc := &counted{differ: &differ{normal: [][]float32{s.y}, stride: 4, reach: 6, gain: 500}}
		e, err := optimised{}.measure(t.Context(), r, sc, []*scene{s})
		require.NoError(t, err)
		if !c.doubtful[0] && !c.doubtful[1] {
			require.Zero(t, sc.gradients)
			continue
		}
		require.Equal(t, r.opts.Optimiser.Iterations, sc.gradients)
		for v, on := range sc.where {
			half := 0
			if v%(w/4) >= w/8 {
				half = 1
			}
			require.True(t, !on || c.doubtful[half])
		}
		for i, is := range s.islands {
			if !c.doubtful[i] {
				b := is.state.Box
				for _, p := range is.state.Pixels {
					require.Equal(t, r.grade(is.residual[p]/is.state.C[p]), e[0][(b.Y0+int(p)/b.W())*w+b.X0+int(p)%b.W()])
				}
			}
		}
	}
}

// A finding that the fill takes away counts more than one that it shares.
func TestExplainedRanksHigher(t *testing.T) {
	r := newRefiner(t)
	s, v, e := joining(1)
	s.explained, s.y = make([]float32, len(v)), make([]float32, 3*len(v))
	for p := range e {
		e[p] = 0.5
		s.explained[p] = float32(p%3) / 2
	}
	rank, S := r.opts.Map.ranking(), make([]float64, len(v))
	for p := range S {
		S[p] = rank.of(float64(v[p]))
	}
	r.opts.Classifier.Trust.Most = 0
	for p, got := range r.join(s, v, e, true) {
		if s.omega[p] {
			require.InEpsilon(t, S[p]*(1+0.5*float64(p%3)/2), got, 1e-5)
		} else {
			require.Equal(t, float32(S[p]), got)
		}
	}
	r.opts.Map.Gain = 0
	for p := range e {
		e[p] = float32(p % 2)
	}
	for p, got := range r.join(s, v, e, true) {
		switch {
		case !s.omega[p]:
		case p%3 == 0:
			require.InEpsilon(t, S[p], got, 1e-5, "evidence is not trusted where nothing is explained")
		default:
			require.Greater(t, math.Abs(float64(got)/S[p]-1), 1e-3)
		}
	}
}

func TestFaultsOfAFill(t *testing.T) {
	r := newRefiner(t)
	s, _ := twoRegions(t, r)
	sc := on([]*scene{s}, blocks)
	sc.err = errBoom
	require.ErrorIs(t, r.explain(t.Context(), sc, []*scene{s}), errBoom)
	sc = on([]*scene{s}, func(_ int, x []float32, h, w int) []float32 {
		out := make([]float32, h*w)
		for p := range out {
			out[p] = float32(math.Inf(1))
		}
		return out
	})
	require.ErrorContains(t, r.explain(t.Context(), sc, []*scene{s}), "refine: image 0: the scorer's map is +Inf")
	require.NoError(t, r.explain(context.Background(), sc, []*scene{{h: s.h, w: s.w}}), "nobody is asked about an image without fills")
}
