package patchcore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/peak"

	"github.com/stretchr/testify/require"
)

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// The search of one image, flat and as it is chosen: 64x64 cells of two networks, and 28x28 of two sets of larger features.
func BenchmarkNearest(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, c := range []struct{ n, d, size int }{
		{4096, 48, 4000}, {4096, 48, 10_000}, {4096, 176, 4000}, {4096, 176, 20_000}, {784, 384, 10_000}, {784, 384, 20_000}, {784, 1536, 10_000}, {784, 1536, 20_000},
	} {
		n, d, size := c.n, c.d, c.size
		rows, q := normal(rng, size*d), normal(rng, n*d)
		for name, bank := range map[string]*bank{"flat": newFlat(gemm.Best(), rows, d), "chosen": newBank(rows, d)} {
			b.Run(fmt.Sprintf("%dx%d/bank%d/%s", n, d, size, name), func(b *testing.B) {
				winner, dist := make([]int32, n), make([]float64, n)
				start := peak.Clock()
				for b.Loop() {
					require.NoError(b, bank.Nearest(b.Context(), q, winner, dist, nil))
				}
				b.ReportMetric(2*float64(n*size*d)*float64(b.N)/(peak.Clock()-start)/1e9, "GFLOP/s-core")
			})
		}
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
