package refine

import (
	"testing"

	"f2pad.example/engine/pixel"

	"github.com/stretchr/testify/require"
)

func TestGrade(t *testing.T) {
	r := newRefiner(t) // what normal fills differ by, a third of c, is none
	for n, want := range map[float32]float64{0: 0, 0.2: 0, 1. / 3: 0, 0.5: 0.25, 2. / 3: 0.5, 1: 1, 1.5: 1, 1e30: 1} {
		require.InDelta(t, want, r.grade(n), 1e-6, "grade(%g)", n)
	}
	o := DefaultOptions(4)
	o.Residual.Low = 0
	r, err := New(o)
	require.NoError(t, err)
	require.InDelta(t, 0.2, r.grade(0.2), 1e-6)
}

// Windows may overlap though what is in them does not: nothing is lost where they do, and nothing taken from beside them.
func TestPlanesKeepOverlaps(t *testing.T) {
	const h, w = 6, 8
	s := &scene{h: h, w: w, omega: make([]bool, h*w)}
	want := make([]float32, h*w)
	for i, b := range []pixel.Box{{Y0: 0, X0: 0, Y1: 4, X1: 5}, {Y0: 2, X0: 3, Y1: 6, X1: 8}} {
		at := int32(1 + 6*i)
		v := make([]float32, b.H()*b.W())
		for p := range v {
			v[p] = 9
		}
		v[at] = float32(3 + i)
		s.islands = append(s.islands, &island{residual: v, state: &pixel.State{Box: b, Pixels: []int32{at}}})
		want[(b.Y0+int(at)/b.W())*w+b.X0+int(at)%b.W()] = float32(3 + i)
	}
	clean := &scene{h: h, w: w}
	got := planes([]*scene{clean, s}, func(is *island, p int32) float32 { return is.residual[p] })
	require.Equal(t, [][]float32{nil, want}, got)
}

// Evidence is the residual, and what the optimisation moved on average, in the unit of the place.
func TestEvidenceIsGraded(t *testing.T) {
	ex := newExample(96, 104, true, 1)
	r := newRefiner(t)
	s := prepared(t, r, ex.in)
	scenes := []*scene{s}
	got, err := residual{}.measure(t.Context(), r, nil, scenes)
	require.NoError(t, err)
	require.NoError(t, r.explain(t.Context(), scorerOf(ex), scenes))
	moved, err := optimised{}.measure(t.Context(), r, scorerOf(ex), scenes)
	require.NoError(t, err)
	var some [2]int
	for _, is := range s.islands {
		b := is.state.Box
		for _, p := range is.state.Pixels {
			q := (b.Y0+int(p)/b.W())*s.w + b.X0 + int(p)%b.W()
			require.InDelta(t, r.grade(is.residual[p]/is.state.C[p]), got[0][q], 1e-6)
			require.InDelta(t, r.grade(is.state.Sum[p]/2), moved[0][q], 1e-6)
			for k, e := range []float32{got[0][q], moved[0][q]} {
				if e > 0 && e < 1 {
					some[k]++
				}
			}
		}
	}
	require.Positive(t, some[0], "all evidence is none or full")
	require.Positive(t, some[1], "all evidence is none or full")
	for p, in := range s.omega {
		require.True(t, in || got[0][p] == 0 && moved[0][p] == 0)
	}
}
