package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Sums have the bits of their definition, for any number of columns and of terms, which may lie anywhere.
func TestSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	for n := range 90 {
		for _, terms := range []int{0, 1, 2, 7} {
			x, w := draw(rng, n+20), draw(rng, terms)
			a, b := make([]int, terms), make([]int, terms)
			for k := range a {
				a[k], b[k] = rng.IntN(21), rng.IntN(21)
			}
			want := make([]float32, n)
			for i := range want {
				for k, t := range w {
					product := t * x[a[k]+i]
					want[i] += product
				}
			}
			for _, f := range []func(y, x []float32, a []int, w []float32){SumRows, sumRowsGo} {
				y, guards := guarded(n)
				f(y, x, a, w)
				untouched(t, guards)
				require.Equal(t, bits(want), bits(y), "%d columns, %d terms", n, terms)
			}
			if terms == 0 {
				continue
			}
			for i := range want {
				first := x[a[0]+i]
				if first == 0 {
					first = 0 // not -0
				}
				want[i] = first * w[0]
				for k := 1; k < terms; k++ {
					sum := x[a[k]+i] + x[b[k]+i]
					product := w[k] * sum
					want[i] += product
				}
			}
			for _, f := range []func(y, x []float32, a, b []int, w []float32){SumPairs, sumPairsGo} {
				y, guards := guarded(n)
				f(y, x, a, b, w)
				untouched(t, guards)
				require.Equal(t, bits(want), bits(y), "%d columns, %d terms", n, terms)
			}
		}
	}
	x, y := make([]float32, 40), make([]float32, 16)
	one := []float32{1}
	require.NotPanics(t, func() { SumRows(y, x, []int{24}, one) })
	require.Panics(t, func() { SumRows(y, x, []int{25}, one) })
	require.Panics(t, func() { SumRows(y, x, []int{-1}, one) })
	require.Panics(t, func() { SumRows(y, x, nil, one) })
	require.Panics(t, func() { SumPairs(y, x, []int{25}, []int{0}, one) })
	require.Panics(t, func() { SumPairs(y, x, []int{0, 0}, []int{0, 25}, []float32{1, 1}) })
	require.Panics(t, func() { SumPairs(y, x, nil, nil, nil) })
}

func TestWeigh(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 0))
	random := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = rng.NormFloat64()
		}
		return v
	}
	for n := range 40 {
		for _, ld := range []int{Weighed, Weighed + 5, 3 * Weighed} {
			near, down, v, at := random(30), random(n), random(n*ld), make([]int, n)
			for j := range at {
				at[j] = rng.IntN(30 - Places + 1)
			}
			var want [1 + Weighed][Places]float64
			for p := range Places {
				for j, i := range at {
					g := float64(down[j] * near[i+p])
					want[0][p] += g
					for k := range Weighed {
						product := g * v[j*ld+k]
						want[1+k][p] += product
					}
				}
			}
			for _, f := range []func(*[1 + Weighed][Places]float64, []float64, []int, []float64, []float64, int){Weigh, weighGo} {
				sum := [1 + Weighed][Places]float64{{math.NaN()}}
				f(&sum, near, at, down, v, ld)
				require.Equal(t, want, sum, "%d samples", n)
			}
		}
	}
	var sum [1 + Weighed][Places]float64
	near, v := make([]float64, 10), make([]float64, 2*Weighed)
	down := []float64{1, 1}
	require.NotPanics(t, func() { Weigh(&sum, near, []int{0, 6}, down, v, Weighed) })
	require.Panics(t, func() { Weigh(&sum, near, []int{0, 7}, down, v, Weighed) })
	require.Panics(t, func() { Weigh(&sum, near, []int{-1, 0}, down, v, Weighed) })
	require.Panics(t, func() { Weigh(&sum, near, []int{0, 0}, down[:1], v, Weighed) })
	require.Panics(t, func() { Weigh(&sum, near, []int{0, 0}, down, v[1:], Weighed) })
}
