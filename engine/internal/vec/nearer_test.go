package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearer(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	for d := range 110 {
		if d == 0 {
			continue
		}
		const points = 9
		x, z := make([]float32, points*d), make([]float32, d)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		for i := range z {
			z[i] = float32(rng.NormFloat64())
		}
		start, want := make([]float32, points), make([]float32, points)
		for p := range want {
			var s [8]float32
			for i := range d / 8 * 8 {
				v := x[p*d+i] - z[i]
				s[i%8] += float32(v * v)
			}
			want[p] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
			for i := d / 8 * 8; i < d; i++ {
				v := x[p*d+i] - z[i]
				want[p] += float32(v * v)
			}
			switch p % 4 { // far, near, equal, anything
			case 0:
				start[p] = float32(math.Inf(1))
			case 1:
				start[p] = want[p] * rng.Float32()
			case 2:
				start[p] = want[p]
			default:
				start[p] = want[p] * 2 * rng.Float32()
			}
			want[p] = min(want[p], start[p])
		}
		for _, f := range []func(dist, x, z []float32){Nearer, nearerGo} {
			dist, guards := guarded(points)
			copy(dist, start)
			f(dist, x, z)
			untouched(t, guards)
			require.Equal(t, want, dist[:points:points], "%d elements", d)
		}
	}
}
