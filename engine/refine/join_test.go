package refine

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// joining is a scene whose suspicious region has parts, one of them at the border, with scores and evidence.
func joining(seed uint64) (s *scene, v, e []float32) {
	const h, w = 44, 76
	rng := rand.New(rand.NewPCG(seed, 7))
	s = &scene{h: h, w: w, omega: make([]bool, h*w)}
	v, e = make([]float32, h*w), make([]float32, h*w)
	a, b := disc(h, w, 2, 20, 9), disc(h, w, 27, 60, 11)
	for p := range v {
		s.omega[p] = a[p] || b[p]
		v[p] = float32(0.8*rng.NormFloat64() + 0.5)
		if s.omega[p] {
			e[p] = min(max(0.4*v[p]+float32(0.4*rng.NormFloat64()), 0), 1)
		}
	}
	return s, v, e
}

// slowMean follows the definition of localMean at pixel p, at stride 4 with sigma 4 cells.
func slowMean(s *scene, e []float32) []float64 {
	h, w := s.h/4, s.w/4
	sum, count := make([]float64, h*w), make([]float64, h*w)
	for p, in := range s.omega {
		if in {
			sum[p/s.w/4*w+p%s.w/4] += float64(e[p])
			count[p/s.w/4*w+p%s.w/4]++
		}
	}
	mean := make([]float64, h*w)
	for v := range mean {
		mean[v] = slowBlur(func(y, x int) float64 { return sum[y*w+x] }, h, w, v, 4) /
			slowBlur(func(y, x int) float64 { return count[y*w+x] }, h, w, v, 4)
	}
	out := make([]float64, s.h*s.w)
	tent := func(p, cell, n int) float64 {
		at := min(max((float64(p)+0.5)/4-0.5, 0), float64(n-1))
		return max(0, 1-math.Abs(at-float64(cell)))
	}
	for p := range out {
		for v, m := range mean {
			out[p] += tent(p/s.w, v/w, h) * tent(p%s.w, v%w, w) * m
		}
	}
	return out
}

func TestJoinFollowsTheFormulas(t *testing.T) {
	r := newRefiner(t)
	free := 0
	for seed := range uint64(4) {
		s, v, e := joining(seed)
		near := slowMean(s, e)
		var got, want []float64
		for p, m := range r.localMean(s, e) {
			if s.omega[p] {
				got, want = append(got, float64(m)), append(want, near[p])
			}
		}
		compare.Require(t, "local mean", got, want, rounding)

		g := make([]float64, len(v))
		var ge, sumG, sumE, n float64
		for p, v := range v {
			g[p] = r.opts.Map.rank(float64(v))
			if s.omega[p] {
				ge, sumG, sumE, n = ge+g[p]*float64(e[p]), sumG+g[p], sumE+float64(e[p]), n+1
			}
		}
		trust := 0.75 * (ge/sumG/(sumE/n+0.02) - 0.5)
		if trust > 0.25 && trust < 3 {
			free++
		}
		trust = math.Min(math.Max(trust, 0.25), 3)
		require.InDelta(t, trust, r.opts.Map.Trust.of(agreement(s, e, g)), 1e-9)
		want = make([]float64, len(v))
		for p := range want {
			want[p] = g[p]
			if s.omega[p] {
				want[p] *= math.Pow((0.1+float64(e[p]))/(0.1+near[p]), trust)
			}
		}
		compare.Require(t, "map", r.join(s, v, e, false), want, rounding)
	}
	require.Positive(t, free, "the trust is at a bound everywhere")
}

// Evidence moves the score only where some pixels have more of it than their neighbours.
func TestEqualEvidenceLeavesTheRanking(t *testing.T) {
	r := newRefiner(t)
	s, v, e := joining(1)
	want := ranked(r, v)
	clear(e)
	require.Equal(t, want, r.join(s, v, e, false), "none")
	for p, in := range s.omega {
		if in {
			e[p] = 0.7
		}
	}
	got := r.join(s, v, e, false)
	for p := range got {
		require.InEpsilon(t, want[p], got[p], 1e-5)
		require.True(t, s.omega[p] || got[p] == want[p])
	}
	s.omega = nil
	require.Equal(t, want, r.join(s, v, nil, false), "nothing suspicious")
}

func TestTrustIsHowFarEvidenceAndDetectorAgree(t *testing.T) {
	o := &newRefiner(t).opts.Map.Trust
	s := &scene{omega: []bool{true, true, true, true, false}}
	for _, c := range []struct {
		name string
		e    []float32
		g    []float64
		want float64
	}{
		{"none", []float32{0, 0, 0, 0, 1}, []float64{1, 2, 3, 4, 9}, 0.25},
		{"the same everywhere", []float32{0.5, 0.5, 0.5, 0.5, 0}, []float64{1, 2, 3, 4, 9}, 0.75 * (0.5/0.52 - 0.5)},
		{"of another part", []float32{1, 0, 0, 0, 1}, []float64{0, 1, 2, 4, 9}, 0.25},
		{"a detector that prefers nothing", []float32{1, 0, 0, 1, 1}, []float64{2, 2, 2, 2, 9}, 0.75 * (0.5/0.52 - 0.5)},
		{"agreement 1.5/1.04", []float32{1, 1, 0, 0, 1}, []float64{1, 2, 1, 0, 9}, 0.75 * (0.75/0.52 - 0.5)},
		{"of one part alone", []float32{0, 0, 0, 1, 0}, []float64{0, 0, 0, 1, 9}, 0.75 * (1/0.27 - 0.5)},
		{"scores beyond float32", []float32{0, 0, 0, 1, 0}, []float64{1e60, 0, 0, 1e60, 0}, 0.75 * (0.5/0.27 - 0.5)},
	} {
		require.InDelta(t, c.want, o.of(agreement(s, c.e, c.g)), 1e-6, c.name)
	}
}

// The map without evidence ranks as v does, from the least score to where float32 ends.
func TestRankGrows(t *testing.T) {
	r := newRefiner(t)
	o := &r.opts.Map
	for _, v := range []float64{0.25, 0.3, 1, 7, 1e6} {
		require.InEpsilon(t, v*v, o.rank(v), 1e-12)
	}
	for _, knee := range []float64{0, 0.25} { // no jump, and no corner
		const h = 1e-6
		require.InDelta(t, o.rank(knee-h), o.rank(knee+h), 1e-5)
		below, above := (o.rank(knee)-o.rank(knee-h))/h, (o.rank(knee+h)-o.rank(knee))/h
		require.InEpsilon(t, above, below, 1e-4)
	}
	var v []float32
	for x := 1e30; x > 1e-2; x /= 1.01 {
		v = append(v, float32(-x))
	}
	for x := -1e-2; x < 0.5; x += 1e-3 {
		v = append(v, float32(x))
	}
	for x := 0.5; x < 1.8e19; x *= 1.01 {
		v = append(v, float32(x))
	}
	s := &scene{h: 1, w: len(v)}
	got := r.join(s, v, nil, false)
	for p, g := range got {
		require.Positive(t, g)
		if p > 0 {
			require.Greater(t, g, got[p-1], "between %g and %g", v[p-1], v[p])
		}
	}
}

// Scores at the ends of what Run takes, with evidence for and against them.
func TestJoinIsFinite(t *testing.T) {
	r := newRefiner(t)
	for _, scores := range [][2]float32{{1e30, 1e30}, {-1e30, -1e30}, {1e30, -1e30}, {-1e30, 1e30}, {-13, -14}} {
		s, v, e := joining(2)
		for p := range v {
			v[p] = scores[p%2]
		}
		for p, got := range r.join(s, v, e, false) {
			require.True(t, got > 0 && got-got == 0, "%g at score %g, evidence %g", got, v[p], e[p])
		}
	}
}
