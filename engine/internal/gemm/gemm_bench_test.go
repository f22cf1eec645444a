package gemm

import (
	"fmt"
	"testing"

	"f2pad.example/engine/peak"
)

// The sizes are a 3x3 convolution of 64 channels at 112x112, one of 256 at 28x28, and a PatchCore query of 784 patches
// against 10000.
func BenchmarkMul(b *testing.B) {
	for _, size := range [][3]int{{64, 12544, 576}, {256, 784, 2304}, {784, 10000, 384}} {
		for _, s := range ISAs() {
			m, n, depth := size[0], size[1], size[2]
			b.Run(fmt.Sprintf("%dx%dx%d/%s", m, n, depth, s.Name), func(b *testing.B) {
				k := &s.Wide
				if m == 64 { // as convolutions do
					k = &s.Many
				}
				left, right := ramp(k.SizeA(m, depth)), ramp(k.SizeB(depth, n))
				dst := make([]float32, m*n)
				k.Mul(dst, n, m, n, depth, left, right)
				start := peak.Clock()
				for b.Loop() {
					k.Mul(dst, n, m, n, depth, left, right)
				}
				reached := 2 * float64(m) * float64(n) * float64(depth) * float64(b.N) / (peak.Clock() - start) / 1e9
				b.ReportMetric(reached, "GFLOP/s")
				if most := peak.GFlops(); most > 0 {
					b.ReportMetric(reached/most, "of-peak")
				}
			})
		}
	}
}

func ramp(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i%19)/19 - 0.4
	}
	return v
}
