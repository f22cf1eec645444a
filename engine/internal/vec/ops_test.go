package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

const guard = 32 // floats on either side of a buffer

func guarded(n int) (buffer, whole []float32) {
	whole = make([]float32, n+2*guard)
	for i := range whole {
		whole[i] = -77
	}
	return whole[guard : guard+n : guard+n], whole
}

func untouched(t *testing.T, whole []float32) {
	t.Helper()
	for i, v := range whole {
		if (i < guard || i >= len(whole)-guard) && v != -77 {
			t.Fatalf("guard %d of %d was overwritten with %g", i, len(whole), v)
		}
	}
}

var special = []float32{0, float32(math.Copysign(0, -1)), 1, -1, 2, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-45}

// draw is numbers, some of which are special.
func draw(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
		if rng.IntN(3) == 0 {
			x[i] = special[rng.IntN(len(special))]
		}
	}
	return x
}

func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		if b[i] = math.Float32bits(v); v != v {
			b[i] = 1 // whichever NaN
		}
	}
	return b
}

// Every loop gives the bits of its definition, for one element, whatever their number and whether or not it works in
// place; and so does its Go twin.
func TestElementwise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	negative := func(a, _, _, _ float32) bool { return a < 0 }
	inside := func(v, lo, hi float32) float32 {
		if v > lo && v < hi {
			return 1
		}
		return 0
	}
	for _, c := range []struct {
		name    string
		f, twin func(y, a, b []float32, lo, hi float32)
		want    func(a, b, lo, hi float32) float32
	}{
		{"Relu", func(y, a, _ []float32, _, _ float32) { Relu(y, a) }, func(y, a, _ []float32, _, _ float32) { reluGo(y, a) },
			func(a, b, lo, hi float32) float32 {
				if negative(a, b, lo, hi) {
					return 0
				}
				return a
			}},
		{"LeakyRelu", func(y, a, _ []float32, lo, _ float32) { LeakyRelu(y, a, lo) },
			func(y, a, _ []float32, lo, _ float32) { leakyReluGo(y, a, lo) },
			func(a, b, lo, hi float32) float32 {
				if negative(a, b, lo, hi) {
					return a * lo
				}
				return a
			}},
		{"Clip", func(y, a, _ []float32, lo, hi float32) { Clip(y, a, lo, hi) },
			func(y, a, _ []float32, lo, hi float32) { clipGo(y, a, lo, hi) },
			func(a, _, lo, hi float32) float32 {
				switch {
				case a < lo:
					return lo
				case a > hi:
					return hi
				}
				return a
			}},
		{"Step", func(y, a, _ []float32, lo, hi float32) { Step(y, a, lo, hi) },
			func(y, a, _ []float32, lo, hi float32) { stepGo(y, a, lo, hi) },
			func(a, _, lo, hi float32) float32 { return inside(a, lo, hi) }},
		{"Gate", Gate, gateGo, func(a, b, lo, hi float32) float32 { return a * inside(b, lo, hi) }},
		{"Add", func(y, a, b []float32, _, _ float32) { Add(y, a, b) }, func(y, a, b []float32, _, _ float32) { addGo(y, a, b) },
			func(a, b, _, _ float32) float32 { return a + b }},
		{"Sub", func(y, a, b []float32, _, _ float32) { Sub(y, a, b) }, func(y, a, b []float32, _, _ float32) { subGo(y, a, b) },
			func(a, b, _, _ float32) float32 { return a - b }},
		{"Mul", func(y, a, b []float32, _, _ float32) { Mul(y, a, b) }, func(y, a, b []float32, _, _ float32) { mulGo(y, a, b) },
			func(a, b, _, _ float32) float32 { return a * b }},
		{"Larger", func(y, a, b []float32, _, _ float32) { Larger(y, a, b) },
			func(y, a, b []float32, _, _ float32) { largerGo(y, a, b) },
			func(a, b, _, _ float32) float32 {
				if a > b || a != a {
					return a
				}
				return b
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := range 60 {
				for _, bound := range [][2]float32{{-1, 1}, {0, float32(math.Inf(1))}, {0.3, 0.1}, {0, 0}} {
					a, b := draw(rng, n), draw(rng, n)
					want := make([]float32, n)
					for i := range want {
						want[i] = c.want(a[i], b[i], bound[0], bound[1])
					}
					for _, f := range []func(y, a, b []float32, lo, hi float32){c.f, c.twin} {
						y, guards := guarded(n)
						f(y, a, b, bound[0], bound[1])
						untouched(t, guards)
						require.Equal(t, bits(want), bits(y), "%d elements, bounds %v, of %v and %v", n, bound, a, b)
						copy(y, a)
						f(y, y, b, bound[0], bound[1])
						untouched(t, guards)
						require.Equal(t, bits(want), bits(y), "in place")
					}
				}
			}
		})
	}
}

func TestShiftRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	for rows := range 4 {
		for cols := range 50 {
			for _, lo := range []float32{float32(math.Inf(-1)), 0} {
				x, by := draw(rng, rows*cols), draw(rng, rows)
				want := make([]float32, len(x))
				for i, v := range x {
					sum := v + by[i/cols]
					want[i] = sum * 0.1
					if want[i] < lo {
						want[i] = lo
					}
				}
				for _, f := range []func(y, x []float32, cols int, by []float32, times, lo float32){ShiftRows, shiftRowsGo} {
					y, guards := guarded(len(x))
					f(y, x, cols, by, 0.1, lo)
					untouched(t, guards)
					require.Equal(t, bits(want), bits(y), "%d rows of %d", rows, cols)
					copy(y, x)
					f(y, y, cols, by, 0.1, lo)
					require.Equal(t, bits(want), bits(y), "in place")
				}
			}
		}
	}
}

func TestAccumulate(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	for n := range 60 {
		x, want := draw(rng, n), make([]float64, n)
		sums := [2][]float64{make([]float64, n+1), make([]float64, n+1)}
		for i, v := range x {
			start := rng.NormFloat64()
			sums[0][i], sums[1][i], want[i] = start, start, start+float64(v)
		}
		Accumulate(sums[0][:n], x)
		accumulateGo(sums[1][:n], x)
		for _, got := range sums {
			require.Zero(t, got[n], "the element behind")
			for i, v := range got[:n] {
				require.True(t, v == want[i] || v != v && want[i] != want[i], "element %d of %d is %g, want %g", i, n, v, want[i])
			}
		}
	}
}

func TestLeastAndFirstAtMost(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	nan := float32(math.NaN())
	for n := range 80 {
		for range 20 {
			x, guards := guarded(n) // a read outside finds something less than all
			for i := range x {
				if x[i] = 1 + rng.Float32(); rng.IntN(20) == 0 {
					x[i] = nan
				}
			}
			low, first := float32(math.Inf(1)), n
			limit := 1 + rng.Float32()/16
			for i, v := range x {
				if v < low {
					low = v
				}
				if !(v > limit) && first == n {
					first = i
				}
			}
			require.Equal(t, low, Least(x))
			require.Equal(t, low, leastGo(x, float32(math.Inf(1))))
			require.Equal(t, first, FirstAtMost(x, limit))
			require.Equal(t, first, firstAtMostGo(x, limit))
			if n > 0 {
				require.Zero(t, FirstAtMost(x, nan), "nothing is greater than NaN")
			}
			untouched(t, guards)
		}
	}
}
