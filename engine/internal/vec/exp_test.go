package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// ulps is how many units in the last place of want, a float32's, got is off.
func ulps(got float32, want float64) float64 {
	if math.IsInf(want, 0) || want > math.MaxFloat32 || math.IsNaN(want) {
		return map[bool]float64{false: math.Inf(1)}[got != got && want != want || math.IsInf(float64(got), 1)]
	}
	_, e := math.Frexp(want)
	unit := math.Ldexp(1, max(e-24, -149))
	return math.Abs(float64(got)-want) / unit
}

// Exp and Tanh are near the functions everywhere, and their twins give the same bits.
func TestExpAndTanh(t *testing.T) {
	for name, c := range map[string]struct {
		f, twin func(y, x []float32)
		of      func(float64) float64
		most    float64
	}{
		"Exp":  {Exp, expGo, math.Exp, 1},
		"Tanh": {Tanh, tanhGo, math.Tanh, 1.5},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(8, 0))
			x := append([]float32{88.72283, 88.7229, -87.3, -87.4, -103.9, -104.1, 1e30, -1e30, 0.62499994, 0.625, -0.625, 9, 10, 1e-30}, special...)
			for v := float32(-110); v < 95; v += 0.013 {
				x = append(x, v)
			}
			for range 20000 {
				x = append(x, float32(rng.NormFloat64()), float32(math.Exp(rng.NormFloat64()*20)))
			}
			worst := 0.0
			y, guards := guarded(len(x))
			c.f(y, x)
			untouched(t, guards)
			for i, v := range y {
				off := ulps(v, c.of(float64(x[i])))
				require.LessOrEqual(t, off, c.most, "%g gives %g", x[i], v)
				worst = max(worst, off)
			}
			t.Logf("%.2f ulp", worst)
			for n := range 60 {
				want := make([]float32, n)
				part := x[rng.IntN(len(x)-n):][:n]
				c.twin(want, part)
				y, guards := guarded(n)
				c.f(y, part)
				untouched(t, guards)
				require.Equal(t, bits(want), bits(y))
				copy(y, part)
				c.f(y, y)
				require.Equal(t, bits(want), bits(y), "in place")
			}
			all := make([]float32, len(x))
			c.twin(all, x)
			require.Equal(t, bits(all), bits(y[:len(x)]))
		})
	}
}

func BenchmarkExp(b *testing.B) {
	rng, x := rand.New(rand.NewPCG(1, 1)), make([]float32, 4096)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for name, f := range map[string]func(y, x []float32){"exp": Exp, "exp in Go": expGo, "tanh": Tanh, "tanh in Go": tanhGo} {
		b.Run(name, func(b *testing.B) {
			y := make([]float32, len(x))
			for b.Loop() {
				f(y, x)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(x)), "ns/element")
		})
	}
}
