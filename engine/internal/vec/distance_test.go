package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDistance(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	for d := range 60 {
		a, b := make([]float32, d), make([]float32, d)
		for i := range a {
			a[i], b[i] = float32(rng.NormFloat64()), float32(1e3*rng.NormFloat64())
		}
		if d == 50 {
			a[3], a[48] = 3e38, -1e-45
		}
		var s [4]float64
		for i := range a {
			v, lane := float64(a[i])-float64(b[i]), i%4
			if i >= d&^3 {
				lane = 0
			}
			s[lane] += float64(v * v)
		}
		want := (s[0] + s[1]) + (s[2] + s[3])
		require.Equal(t, want, Distance(a, b), "%d values", d)
		var go4, fast4 [4]float64
		_, rest := distanceGo(&go4, a, b)
		require.Len(t, rest, d%4)
		if fast {
			distanceAVX2(&fast4, a, b)
			require.Equal(t, go4, fast4)
		}
	}
	nan := []float32{float32(math.NaN())}
	require.True(t, math.IsNaN(Distance(nan, []float32{0})))
	require.Panics(t, func() { Distance(make([]float32, 5), make([]float32, 4)) })
}
