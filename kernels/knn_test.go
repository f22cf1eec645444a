package kernels_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKNNRankErrors measures, on random and on clustered vectors, how often the row of least |b|^2 - 2 q.b is not the nearest
// when products are rounded as tensor cores round them, and how much farther it is. It is why knn measures again what it finds:
// one bfloat16 product is wrong too often to be the answer, and seldom enough to be the search.
func TestKNNRankErrors(t *testing.T) {
	const n, M, D = 64, 3000, 192
	schemes := []struct {
		name     string
		keep     int // mantissa bits
		products int
		centred  bool
	}{
		{"bf16", 7, 1, true}, {"bf16 uncentred", 7, 1, false}, {"bf16 x3", 7, 3, true},
		{"tf32", 10, 1, true}, {"tf32 uncentred", 10, 1, false},
	}
	for _, data := range []string{"random", "clustered"} {
		r := rand.New(rand.NewPCG(seed, 1))
		q, bank := vectors(r, data, n, D), vectors(rand.New(rand.NewPCG(seed, 2)), data, M, D)
		centre := make([]float32, D)
		for k := range centre {
			sum := 0.0
			for _, b := range bank {
				sum += float64(b[k])
			}
			centre[k] = float32(sum / M)
		}
		dist := make([][]float64, n)
		for i := range dist {
			dist[i] = make([]float64, M)
			for j, b := range bank {
				for k, x := range q[i] {
					d := float64(x) - float64(b[k])
					dist[i][j] += d * d
				}
			}
		}
		wrong := map[string]int{}
		for _, s := range schemes {
			from := make([]float32, D)
			if s.centred {
				from = centre
			}
			qHi, qLo, _ := split(q, from, s.keep)
			bHi, bLo, square := split(bank, from, s.keep)
			excess := 0.0
			for i := range n {
				least, won, nearest := math.Inf(1), 0, 0
				for j := range M {
					p := product(qHi[i], bHi[j])
					if s.products == 3 {
						p += product(qHi[i], bLo[j]) + product(qLo[i], bHi[j])
					}
					if v := square[j] - 2*float64(p); v < least {
						least, won = v, j
					}
					if dist[i][j] < dist[i][nearest] {
						nearest = j
					}
				}
				if won != nearest {
					wrong[s.name]++
					excess = max(excess, math.Sqrt(dist[i][won]/dist[i][nearest])-1)
				}
			}
			share := 100 * float64(wrong[s.name]) / n
			t.Logf("%-9s  %-14s  wrong winners %5.2f %%, at most %.4f %% farther", data, s.name, share, 100*excess)
			require.Less(t, excess, 0.02, s.name)
		}
		require.Equal(t, data == "clustered", wrong["bf16 uncentred"] > 0, "the data are to be hard, and not too hard")
		require.Zero(t, wrong["bf16 x3"])
		require.LessOrEqual(t, wrong["bf16"], n/8)
		require.LessOrEqual(t, wrong["tf32"], wrong["bf16"])
	}
}

// vectors are normal around 1, or 0 where negative around 50 centres in a space of 40 dimensions, as features after a ReLU.
func vectors(r *rand.Rand, data string, n, d int) [][]float32 {
	const inner, centres = 40, 50
	fixed := rand.New(rand.NewPCG(seed, 3))
	draw := func(r *rand.Rand, n int, scale float64) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = scale * r.NormFloat64()
		}
		return v
	}
	mean, axes, middles := draw(fixed, d, 1), draw(fixed, inner*d, 0.6/math.Sqrt(inner)), draw(fixed, centres*inner, 2)
	all := make([][]float32, n)
	for i := range all {
		v := make([]float32, d)
		at, middle := draw(r, inner, 0.5), r.IntN(centres)
		for k := range v {
			x := 1 + r.NormFloat64()
			if data == "clustered" {
				x = math.Abs(mean[k]) + 0.1*r.NormFloat64()
				for j, a := range at {
					x += (a + middles[middle*inner+j]) * axes[j*d+k]
				}
				x = max(x, 0)
			}
			v[k] = float32(x)
		}
		all[i] = v
	}
	return all
}

// split rounds vectors, seen from a point, to mantissas of so many bits, and what that leaves again; and their squared lengths.
func split(v [][]float32, from []float32, bits int) (hi, lo [][]float32, square []float64) {
	round := func(x float32) float32 {
		half := uint32(1) << (22 - bits)
		return math.Float32frombits((math.Float32bits(x) + half) &^ (2*half - 1))
	}
	for _, x := range v {
		h, l, sum := make([]float32, len(x)), make([]float32, len(x)), 0.0
		for k := range x {
			y := x[k] - from[k]
			h[k] = round(y)
			l[k] = round(y - h[k])
			sum += float64(y) * float64(y)
		}
		hi, lo, square = append(hi, h), append(lo, l), append(square, sum)
	}
	return hi, lo, square
}

func product(a, b []float32) float32 {
	var sum [4]float32
	for k := 0; k < len(a); k += 4 {
		for i := range sum {
			sum[i] += a[k+i] * b[k+i]
		}
	}
	return sum[0] + sum[1] + sum[2] + sum[3]
}
