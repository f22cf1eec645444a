package refine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// colours is a scene whose Omega is a disc: a bar in it is of another colour, and the score is highest on the bar's first
// part only.
func colours(h, w int, seed uint64) (s *scene, S []float64, bar func(p int) bool) {
	rng := rand.New(rand.NewPCG(seed, 8))
	s = &scene{h: h, w: w, y: make([]float32, 3*h*w), omega: make([]bool, h*w)}
	S = make([]float64, h*w)
	bar = func(p int) bool { return p/w >= h/2-2 && p/w < h/2+2 && p%w > w/5 && p%w < 4*w/5 }
	for p := range h * w {
		for c, v := range [3]float32{0.5, 0.4, 0.3} {
			if bar(p) && c == 1 {
				v += 0.2
			}
			s.y[c*h*w+p] = v + 0.02*float32(rng.NormFloat64())
		}
		y, x := float64(p/w-h/2), float64(p%w-w/2)
		s.omega[p] = math.Hypot(y, x) < float64(w)/2.2
		S[p] = 1 + 0.1*rng.Float64()
		if bar(p) && p%w < w/2 {
			S[p] += 9
		}
	}
	return s, S, bar
}

// The part of the bar that the score knows teaches what the rest of it looks like.
func TestClassifierFindsWhatLooksAlike(t *testing.T) {
	const h, w = 48, 60
	r := newRefiner(t)
	for _, grey := range []bool{false, true} {
		s, S, bar := colours(h, w, 1)
		if grey {
			for c := range 3 {
				copy(s.y[c*h*w:(c+1)*h*w], slices.Clone(s.y[h*w:2*h*w]))
			}
		}
		like := r.classify(s, S)
		var on, off, ons, offs float64
		for p, v := range like {
			require.True(t, v >= 0 && v <= 1)
			switch {
			case !s.omega[p]:
				require.Zero(t, v)
			case bar(p) && p%w > w/2:
				on, ons = on+float64(v), ons+1
			case !bar(p):
				off, offs = off+float64(v), offs+1
			}
		}
		require.Greater(t, on/ons, 0.7, "grey %t", grey)
		require.Less(t, off/offs, 0.35, "grey %t", grey)
	}
}

// The map moves to what looks alike, and ranks as before where nothing does.
func TestClassifierInTheMap(t *testing.T) {
	const h, w = 48, 60
	r := newRefiner(t)
	s, S, bar := colours(h, w, 2)
	v, e := make([]float32, h*w), make([]float32, h*w)
	for p := range v {
		v[p] = float32(math.Sqrt(S[p]))
		e[p] = 0.5
	}
	plain, moved := r.join(s, v, e, false), r.join(s, v, e, true)
	for p, in := range s.omega {
		if in {
			moved[p] /= float32(1 + r.opts.Map.Gain)
		}
	}
	var up, down int
	for p := range v {
		switch {
		case !s.omega[p]:
			require.Equal(t, plain[p], moved[p])
		case bar(p) && moved[p] > 1.01*plain[p]:
			up++
		case !bar(p) && moved[p] < 0.99*plain[p]:
			down++
		}
	}
	require.Greater(t, up, 100)
	require.Greater(t, down, 800)
}

func TestClassifierHasNoExamples(t *testing.T) {
	r := newRefiner(t)
	s, S, _ := colours(24, 32, 3)
	for p := range S {
		S[p] = 2
	}
	require.Nil(t, r.classify(s, S), "the same score everywhere")
	clear(s.omega)
	s.omega[40] = true
	require.Nil(t, r.classify(s, S), "one pixel")
}

// What no pixel differs in is no reason, and values stay finite.
func TestClassifierOfAFlatImage(t *testing.T) {
	r := newRefiner(t)
	s, S, _ := colours(24, 32, 4)
	for p := range s.y {
		s.y[p] = 0.25
	}
	for p, v := range r.classify(s, S) {
		require.Zero(t, v-v, "finite")
		if s.omega[p] {
			require.InDelta(t, 0.5, v, 1e-3, "as many reasons for as against")
		}
	}
}

// More examples than Pixels are thinned evenly, to a result that is much the same.
func TestClassifierThinsExamples(t *testing.T) {
	require.Equal(t, []int{3, 4, 5}, thinned([]int{3, 4, 5}, 3))
	require.Equal(t, []int{0, 2, 5, 7}, thinned([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 4))
	s, S, bar := colours(48, 60, 5)
	r := newRefiner(t)
	all := r.classify(s, S)
	r.opts.Classifier.Pixels = 200
	few := r.classify(s, S)
	require.NotEqual(t, all, few)
	var hits, n float64
	for p, in := range s.omega {
		if in {
			n++
			if (few[p] > 0.5) == bar(p) {
				hits++
			}
		}
	}
	require.Greater(t, hits/n, 0.8)
}
