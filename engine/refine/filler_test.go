package refine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

func spreadOf(t *testing.T, fills [][]float32, n int, share float64) []float32 {
	t.Helper()
	s := Spread{Fills: fills, Share: share, Out: make([]float32, n)}
	require.NoError(t, Host{}.Spreads([]Spread{s}))
	return s.Out
}

func TestSpreadLeavesEachFillOut(t *testing.T) {
	const n = 37
	for _, K := range []int{2, 3, 6} {
		for _, share := range []float64{0, 0.5, 0.9, 1} {
			rng := rand.New(rand.NewPCG(uint64(K), 3))
			fills := make([][]float32, K)
			for k := range fills {
				fills[k] = make([]float32, 3*n)
				for i := range fills[k] {
					fills[k][i] = 0.5 + float32(i%n)/n*float32(rng.NormFloat64()) // the last pixels differ by more than counts
				}
			}
			if K > 2 {
				copy(fills[1], fills[0]) // equals: as alike as can be
			}
			want := make([]float64, n)
			capped := false
			for j := range want {
				var least []float64
				for a := range K {
					best := math.Inf(1)
					for b := range K {
						d := 0.0
						for c := range 3 {
							d += math.Pow(float64(fills[a][c*n+j])-float64(fills[b][c*n+j]), 2)
						}
						if a != b {
							best = min(best, d)
						}
					}
					capped = capped || best > 1
					least = append(least, min(best, 1))
				}
				slices.Sort(least)
				at := share * float64(K-1)
				low := int(at)
				high := least[min(low+1, K-1)]
				want[j] = math.Sqrt(least[low] + (high-least[low])*(at-float64(low)))
			}
			require.True(t, capped)
			compare.Require(t, "spread", spreadOf(t, fills, n, share), want, rounding)
		}
	}
	fill := make([]float32, 3*n)
	for _, few := range [][][]float32{nil, {fill}} {
		require.Equal(t, slices.Repeat([]float32{1}, n), spreadOf(t, few, n, 0.9), "one fill says nothing of how fills differ")
	}
	require.Equal(t, make([]float32, n), spreadOf(t, [][]float32{fill, fill}, n, 0.9))
}
