package vec

import (
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/internal/gemm"

	"github.com/stretchr/testify/require"
)

// Both products are their definitions, bit by bit, in every lane, for every remainder of rows.
func TestLower(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	plain := gemm.ISAs()[len(gemm.ISAs())-1]
	for k := range 40 {
		m, guards := guarded(k * (k + 1) / 2)
		for i := range m {
			m[i] = float32(rng.NormFloat64())
		}
		lanes := func() [][Lanes]float32 {
			x := make([][Lanes]float32, k+2) // the first and the last are guards
			for i := range x {
				for lane := range x[i] {
					x[i][lane] = float32(rng.NormFloat64())
				}
			}
			return x
		}
		for _, c := range []struct {
			isa        *gemm.ISA
			used       int
			product    func(z, x [][Lanes]float32, m []float32, used int)
			transposed func(x, z [][Lanes]float32, m []float32, used int)
		}{
			{gemm.Best(), Lanes, Lower, LowerTransposed},
			{plain, Lanes, lowerGo, lowerTransposedGo},
			{plain, half, lowerGo, lowerTransposedGo},
		} {
			z, x := lanes(), lanes()
			want := append([][Lanes]float32{}, z...)
			for i := range k {
				for lane := range c.used {
					sum := float32(0)
					for j := range i + 1 {
						sum = c.isa.MulAdd(m[i*(i+1)/2+j], x[1+j][lane], sum)
					}
					want[1+i][lane] = sum
				}
			}
			c.product(z[1:1+k:1+k], x[1:1+k:1+k], m, c.used)
			require.Equal(t, want, z, "%d rows", k)

			want = append([][Lanes]float32{}, x...)
			for j := range k {
				for lane := range c.used {
					for i := j; i < k; i++ {
						want[1+j][lane] = c.isa.MulAdd(m[i*(i+1)/2+j], z[1+i][lane], want[1+j][lane])
					}
				}
			}
			c.transposed(x[1:1+k:1+k], z[1:1+k:1+k], m, c.used)
			require.Equal(t, want, x, "%d rows, transposed", k)
		}
		untouched(t, guards)
	}
}
