package patchcore

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad/engine/internal/gemm"

	"github.com/stretchr/testify/require"
)

// brute is the definition: the first member with the least float64 distance.
func brute(rows, q []float32, d int) (int32, float64) {
	best, dist := 0, math.Inf(1)
	for j := range len(rows) / d {
		if x := distance(q, rows[j*d:(j+1)*d]); x < dist {
			best, dist = j, x
		}
	}
	return int32(best), dist
}

func requireNearest(t *testing.T, rows, q []float32, d int) {
	t.Helper()
	n := len(q) / d
	winner, dist := make([]int32, n), make([]float64, n)
	for _, isa := range gemm.ISAs() {
		newBankFor(isa, rows, d).nearest(q, winner, dist)
		for i := range n {
			w, x := brute(rows, q[i*d:(i+1)*d], d)
			require.Equal(t, w, winner[i], "query %d, %s", i, isa.Name)
			require.Equal(t, x, dist[i], "query %d, %s", i, isa.Name)
		}
	}
}

func TestNearestIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, c := range []struct{ d, members, queries int }{
		{1, 1, 3}, {3, 7, 5}, {17, blockRows, 64}, {48, blockRows + 1, 65}, {5, 3*blockRows - 1, 10},
	} {
		requireNearest(t, normal(rng, c.members*c.d), normal(rng, c.queries*c.d), c.d)
	}
}

// Far from the origin, |q|^2 + |b|^2 - 2 q.b in float32 has no digits left for the distance.
func TestNearestFarFromTheOrigin(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	const d, members = 24, 2*blockRows + 9
	rows := normal(rng, members*d)
	for i := range rows {
		rows[i] = 1000 + rows[i]/64
	}
	q := slices.Clone(rows[:20*d])
	for i := range q {
		q[i] += float32(rng.NormFloat64()) / 256
	}
	requireNearest(t, rows, q, d)
	requireNearest(t, rows, rows[300*d:340*d], d) // at distance zero
	for i := range rows {
		rows[i] = 1000 + (rows[i]-1000)/16
	}
	requireNearest(t, rows, normal(rng, 40*d), d) // all members almost equally far
}

func TestNearestTakesTheLowestOfEquals(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	const d = 8
	rows := normal(rng, (blockRows+50)*d)
	copy(rows[(blockRows+20)*d:], rows[7*d:8*d])
	copy(rows[30*d:], rows[7*d:8*d])
	winner, dist := make([]int32, 1), make([]float64, 1)
	newBank(rows, d).nearest(rows[30*d:31*d], winner, dist)
	require.EqualValues(t, 7, winner[0])
	require.Zero(t, dist[0])
}

func TestNearestOfExtremeQueries(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	const d = 8
	rows := normal(rng, 100*d)
	huge := make([]float32, d) // its square overflows float32
	huge[2] = -1e30
	requireNearest(t, rows, huge, d)
	for i := range rows {
		rows[i] *= 1e25
	}
	requireNearest(t, rows, normal(rng, 10*d), d)
	// The first product overflows, though the sum of both, which makes the second member the nearest, would not.
	requireNearest(t, []float32{0, 0, 0.9e19, 1.2e19}, []float32{-4e19, 4e19}, 2)
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		huge[2] = float32(v)
		winner, dist := make([]int32, 1), make([]float64, 1)
		newBank(rows, d).nearest(huge, winner, dist)
		require.Zero(t, winner[0])
		require.Equal(t, math.IsNaN(v), math.IsNaN(dist[0]))
		require.False(t, dist[0] <= math.MaxFloat64, "what is not a number has no finite score")
	}
}

func TestSupports(t *testing.T) {
	b := newBank([]float32{5, 1, 9, 1, 4, 2}, 1)
	require.Equal(t, []int32{1, 3, 5, 4}, b.supports([]float32{1}, 4))
	require.Equal(t, []int32{2, 0, 4, 5, 1, 3}, b.supports([]float32{9}, 99))
	require.Empty(t, b.supports([]float32{9}, 0))
}
