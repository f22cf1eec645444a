package patchcore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"f2pad/engine/internal/par"

	"github.com/stretchr/testify/require"
)

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// The search of one 64x64-cell image in banks of two sizes.
func BenchmarkNearest(b *testing.B) {
	const d, n = 48, 4096
	rng := rand.New(rand.NewPCG(1, 0))
	q := normal(rng, n*d)
	for _, size := range []int{4000, 10_000} {
		b.Run(fmt.Sprintf("4096x48/bank%d", size), func(b *testing.B) {
			bank := newBank(normal(rng, size*d), d)
			winner, dist := make([]int32, n), make([]float64, n)
			for b.Loop() {
				par.Range(n, queries, func(lo, hi int) { bank.nearest(q[lo*d:hi*d], winner[lo:hi], dist[lo:hi]) })
			}
			b.ReportMetric(2*float64(n*size*d)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

func BenchmarkCoreset(b *testing.B) {
	const d, n = 48, 100_000
	x := normal(rand.New(rand.NewPCG(1, 0)), n*d)
	for b.Loop() {
		_, err := KCentre(b.Context(), x, d, 1000, []int{0}, nil)
		require.NoError(b, err)
	}
}
