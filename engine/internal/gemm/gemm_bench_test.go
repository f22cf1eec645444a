package gemm

import (
	"fmt"
	"testing"
)

// The sizes are a 3x3 convolution of 64 channels at 112x112 and a PatchCore query of 784 patches against 10000.
func BenchmarkMul(b *testing.B) {
	for _, s := range []struct{ m, n, k int }{{64, 12544, 576}, {784, 10000, 384}} {
		b.Run(fmt.Sprintf("%dx%dx%d", s.m, s.n, s.k), func(b *testing.B) {
			a, packed := ramp(s.m*s.k), PackB(s.k, s.n, ramp(s.k*s.n), false)
			dst := make([]float32, s.m*s.n)
			for b.Loop() {
				Mul(dst, s.m, a, packed)
			}
			flop := 2 * float64(s.m) * float64(s.n) * float64(s.k) * float64(b.N)
			b.ReportMetric(flop/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

func ramp(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i%19)/19 - 0.4
	}
	return v
}
