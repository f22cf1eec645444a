package patchcore

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/sieve"

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

// banks are all kinds of the members that the processor has a search for.
func banks(rows []float32, d int) map[string]*bank {
	all := map[string]*bank{}
	for _, isa := range gemm.ISAs() {
		all["flat, "+isa.Name] = newFlat(isa, rows, d)
	}
	for _, k := range sieve.Kernels() {
		if b := newSieved(k, rows, d); b != nil {
			all["sieve, "+k.Name] = b
		}
	}
	return all
}

func requireNearest(t *testing.T, rows, q []float32, d int) {
	t.Helper()
	n := len(q) / d
	winner, dist := make([]int32, n), make([]float64, n)
	for name, b := range banks(rows, d) {
		b.nearest(q, winner, dist)
		for i := range n {
			w, x := brute(rows, q[i*d:(i+1)*d], d)
			require.Equal(t, w, winner[i], "query %d, %s", i, name)
			require.Equal(t, x, dist[i], "query %d, %s", i, name)
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
	for name, b := range banks(rows, d) {
		b.nearest(rows[30*d:31*d], winner, dist)
		require.EqualValues(t, 7, winner[0], name)
		require.Zero(t, dist[0], name)
	}
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
		for _, rows := range [][]float32{rows, normal(rng, 100*d)} { // the first are beyond a sieve
			winner, dist := make([]int32, 1), make([]float64, 1)
			for name, b := range banks(rows, d) {
				b.nearest(huge, winner, dist)
				require.Zero(t, winner[0], name)
				require.Equal(t, math.IsNaN(v), math.IsNaN(dist[0]), name)
				require.False(t, dist[0] <= math.MaxFloat64, "what is not a number has no finite score")
			}
		}
	}
}

// Banks and queries that bytes and float32 tell apart badly.
func TestNearestOfAdversaries(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	for _, d := range []int{1, 16, 65, 150} {
		for _, members := range []int{2, 33, sieveRows - 1, 2*sieveRows + 40} {
			rows, q := normal(rng, members*d), normal(rng, 37*d)
			requireNearest(t, rows, rows[:min(37, members)*d], d)

			twice := slices.Clone(rows) // all members there are twice, some of their copies off by as little as there is
			half := members / 2 * d
			copy(twice[len(twice)-half:], twice[:half])
			for i := len(twice) - half; i < len(twice); i += 3 * d {
				twice[i] = math.Nextafter32(twice[i], float32(rng.IntN(3)))
			}
			requireNearest(t, twice, q, d)
			requireNearest(t, twice, twice[:min(37, members)*d], d)

			tied := slices.Clone(rows) // on few places, most pairs as far from one another as others
			for i, v := range tied {
				tied[i] = float32(math.Round(float64(v)))
			}
			between := slices.Clone(q)
			for i, v := range between {
				between[i] = float32(math.Round(2*float64(v)) / 2)
			}
			requireNearest(t, tied, between, d)

			outlier := slices.Clone(rows) // one member makes the bytes of all others coarse
			outlier[members/2*d] = 1e6
			requireNearest(t, outlier, q, d)

			constant := slices.Clone(rows)
			for i := range constant {
				if i%d%3 != 0 {
					constant[i] = -1234.5
				}
			}
			requireNearest(t, constant, q, d)

			outside := slices.Clone(q)
			for i := range outside {
				outside[i] *= float32(math.Pow(10, float64(i/d%8-2)))
			}
			requireNearest(t, rows, outside, d)
			huge := slices.Clone(q[:5*d])
			for i := range huge {
				huge[i] *= float32(math.Pow(10, float64(5*(i/d)+10)))
			}
			requireNearest(t, rows, huge, d)
			for i := range rows {
				rows[i] *= 1e-25
			}
			requireNearest(t, rows, q, d)
			requireNearest(t, rows, rows[:min(37, members)*d], d)
		}
	}
	requireNearest(t, slices.Repeat([]float32{3, 4}, 50), []float32{3, 4, 5, 6}, 2)
}

// The sieve is taken where it pays, as the flat search is where that does.
func TestSievePays(t *testing.T) {
	for _, k := range sieve.Kernels() { // what pays is counted, so that a kernel in Go can say it, too
		rng := rand.New(rand.NewPCG(6, 0))
		require.True(t, newSieved(k, normal(rng, 4000*176), 176).pays())
		require.False(t, newSieved(k, normal(rng, 50*48), 48).pays(), "few members")
		outlier := normal(rng, 4000*176)
		outlier[0] = 1e6
		require.False(t, newSieved(k, outlier, 176).pays(), "bytes that are too coarse")
	}
}

func TestSupports(t *testing.T) {
	b := newBank([]float32{5, 1, 9, 1, 4, 2}, 1)
	require.Equal(t, []int32{1, 3, 5, 4}, b.supports([]float32{1}, 4))
	require.Equal(t, []int32{2, 0, 4, 5, 1, 3}, b.supports([]float32{9}, 99))
	require.Empty(t, b.supports([]float32{9}, 0))
}

// With a sieve they are the same, ties included.
func TestSupportsWithSieve(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	for _, d := range []int{1, 20, 65} {
		const members, n = 2*sieveRows + 70, 35
		rows := normal(rng, members*d)
		copy(rows[members/2*d:], rows[:members/4*d])
		for i := range rows[:members/8*d] {
			rows[i] = float32(math.Round(float64(rows[i])))
		}
		q := append(slices.Clone(rows[:(n-3)*d]), normal(rng, 3*d)...)
		q[d] = float32(math.NaN())
		q[2*d] = 1e20
		for _, k := range sieve.Kernels() {
			b := newSieved(k, rows, d)
			require.NotNil(t, b)
			for _, want := range []int{0, 1, 2, 9, 600, members + 5} {
				got, err := b.Supports(t.Context(), q, want)
				require.NoError(t, err)
				for i := range n {
					require.Equal(t, b.supports(q[i*d:(i+1)*d], want), append([]int32{}, got[i]...), "%s, %d of query %d", k.Name, want, i)
				}
			}
		}
	}
}
