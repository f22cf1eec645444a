//go:build cuda && cgo

package cuda

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

func rngOf(t *testing.T, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed(t), stream)) }

func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func nans(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	return v
}

// plainGaussians are Gaussians by definition, in float64.
type plainGaussians struct {
	mean, factor []float32
	k            int
}

func (g *plainGaussians) Distances(ctx context.Context, x []float32, state []int32, s, unit []float32) error {
	k, t := g.k, g.k*(g.k+1)/2
	z := make([]float64, k)
	for l, v := range state {
		mean, factor, xl := g.mean[int(v)*k:], g.factor[int(v)*t:], x[l*k:(l+1)*k]
		sum := 0.0
		for i := range z {
			z[i] = 0
			for j := range i + 1 {
				z[i] += float64(factor[i*(i+1)/2+j]) * (float64(xl[j]) - float64(mean[j]))
			}
			sum += z[i] * z[i]
		}
		norm := math.Sqrt(sum)
		s[l] = float32(norm)
		if unit == nil {
			continue
		}
		for j := range k {
			u := 0.0
			for i := j; i < k; i++ {
				u += float64(factor[i*(i+1)/2+j]) * z[i]
			}
			if norm > 0 {
				u /= norm
			}
			unit[l*k+j] = float32(u)
		}
	}
	return ctx.Err()
}

// plainBank is a bank by definition, in float64.
type plainBank struct {
	rows []float32
	w    int
}

func (b *plainBank) distance(q []float32, j int) float64 {
	sum := 0.0
	for k, x := range q {
		e := float64(x) - float64(b.rows[j*b.w+k])
		sum += e * e
	}
	return sum
}

func (b *plainBank) Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error {
	for i := range winner {
		qi := q[i*b.w : (i+1)*b.w]
		winner[i], dist[i] = 0, b.distance(qi, 0)
		for j := range len(b.rows) / b.w {
			if e := b.distance(qi, j); e < dist[i] {
				winner[i], dist[i] = int32(j), e
			}
		}
		if diff != nil {
			for k, x := range qi {
				diff[i*b.w+k] = x - b.rows[int(winner[i])*b.w+k]
			}
		}
	}
	return ctx.Err()
}

func (b *plainBank) Supports(ctx context.Context, q []float32, k int) ([][]int32, error) {
	out := make([][]int32, len(q)/b.w)
	for i := range out {
		all := make([]int32, len(b.rows)/b.w)
		for j := range all {
			all[j] = int32(j)
		}
		qi := q[i*b.w : (i+1)*b.w]
		slices.SortStableFunc(all, func(x, y int32) int { return cmp.Compare(b.distance(qi, int(x)), b.distance(qi, int(y))) })
		out[i] = all[:min(k, len(all))]
	}
	return out, ctx.Err()
}

// float32Sums is for sums of up to some thousand products in float32, in any order, against float64; Abs is for gradients'
// components, which are at most the diagonal of a factor (here 2).
var float32Sums = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

// factors makes packed lower triangles with a positive diagonal.
func factors(rng *rand.Rand, states, k int) []float32 {
	var all []float32
	for range states {
		for i := range k {
			for range i {
				all = append(all, float32(rng.NormFloat64()/math.Sqrt(float64(k))))
			}
			all = append(all, 1+rng.Float32())
		}
	}
	return all
}

func TestGaussians(t *testing.T) {
	d := opened(t, gpu.Options{Debug: true})
	for _, c := range []struct{ k, states, items int }{{1, 1, 1}, {3, 5, 40}, {48, 7, 100}, {100, 4, 33}, {7, 1, 70}} {
		rng := rngOf(t, uint64(c.k))
		mean, factor := normal(rng, c.states*c.k), factors(rng, c.states, c.k)
		x, state := normal(rng, c.items*c.k), make([]int32, c.items)
		for i := range state {
			state[i] = int32(rng.IntN(c.states))
		}
		slices.Sort(state)
		copy(x[:c.k], mean[int(state[0])*c.k:]) // at the mean: distance and gradient are 0
		g, err := d.Gaussians(mean, factor, c.k)
		require.NoError(t, err)
		defer func() { require.NoError(t, g.Close()) }()
		want := &plainGaussians{mean, factor, c.k}
		name := fmt.Sprintf("%d of %d values, %d vectors", c.states, c.k, c.items)

		dist, unit := nans(c.items), nans(c.items*c.k)
		wantDist, wantUnit := make([]float32, c.items), make([]float32, c.items*c.k)
		require.NoError(t, want.Distances(t.Context(), x, state, wantDist, wantUnit))
		require.NoError(t, g.Distances(t.Context(), x, state, dist, unit))
		compare.Require(t, name+": distances", dist, wantDist, float32Sums)
		compare.Require(t, name+": gradients", unit, wantUnit, float32Sums)
		require.Equal(t, make([]float32, c.k), unit[:c.k])

		// Neither the wish for a gradient nor the company changes a vector's distance.
		alone := nans(c.items)
		require.NoError(t, g.Distances(t.Context(), x, state, alone, nil))
		require.Equal(t, dist, alone)
		last := c.items - 1
		require.NoError(t, g.Distances(t.Context(), x[last*c.k:], state[last:], alone[:1], nil))
		require.Equal(t, dist[last], alone[0])
		require.NoError(t, g.Distances(t.Context(), nil, nil, nil, nil))
	}
}

// nearlyTied members may be told apart wrongly: squared distances of float32 sums.
var nearlyTied = compare.Tolerance{Rel: 1e-5, Abs: 1e-30}

func TestBank(t *testing.T) {
	dev := opened(t, gpu.Options{Debug: true})
	for _, c := range []struct{ d, members, queries int }{{1, 1, 3}, {3, 7, 5}, {48, 300, 70}, {100, 131, 1}, {5, 1000, 9}} {
		rng := rngOf(t, uint64(1000+c.d))
		rows, q := normal(rng, c.members*c.d), normal(rng, c.queries*c.d)
		for i := range rows {
			rows[i] += 3 // features have means
		}
		for i := range q {
			q[i] += 3
		}
		copy(q, rows[(c.members-1)*c.d:]) // a member
		if c.members > 100 {
			copy(rows[90*c.d:91*c.d], rows[(c.members-1)*c.d:]) // and its double, which counts
		}
		b, err := dev.Bank(rows, c.d)
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		brute := &plainBank{rows, c.d}
		name := fmt.Sprintf("%d of %d, %d queries", c.members, c.d, c.queries)

		winner, dist, diff := make([]int32, c.queries), make([]float64, c.queries), nans(c.queries*c.d)
		require.NoError(t, b.Nearest(t.Context(), q, winner, dist, diff))
		wantWinner, wantDist := make([]int32, c.queries), make([]float64, c.queries)
		require.NoError(t, brute.Nearest(t.Context(), q, wantWinner, wantDist, nil))
		compare.Require(t, name+": distances", dist, wantDist, nearlyTied)
		require.Equal(t, wantWinner[0], winner[0])
		require.Zero(t, dist[0])
		for i, w := range winner {
			require.True(t, w >= 0 && int(w) < c.members)
			_, err := compare.Close([]float64{brute.distance(q[i*c.d:(i+1)*c.d], int(w))}, wantDist[i:i+1], nearlyTied)
			require.NoError(t, err, "%s: query %d", name, i)
			for k := range c.d {
				require.Equal(t, q[i*c.d+k]-rows[int(w)*c.d+k], diff[i*c.d+k])
			}
		}
		alone, aloneDist := make([]int32, 1), make([]float64, 1)
		last := c.queries - 1
		require.NoError(t, b.Nearest(t.Context(), q[last*c.d:], alone, aloneDist, nil))
		require.Equal(t, dist[last], aloneDist[0])
		require.Equal(t, winner[last], alone[0])

		for _, k := range []int{1, 9} {
			near, err := b.Supports(t.Context(), q[:c.d], k)
			require.NoError(t, err)
			require.Len(t, near, 1)
			want, err := brute.Supports(t.Context(), q[:c.d], k)
			require.NoError(t, err)
			var got, wanted []float64
			for i := range near[0] {
				got = append(got, brute.distance(q[:c.d], int(near[0][i])))
			}
			for _, j := range want[0] {
				wanted = append(wanted, brute.distance(q[:c.d], int(j)))
			}
			compare.Require(t, fmt.Sprintf("%s: %d supports", name, k), got, wanted, nearlyTied)
			require.Equal(t, want[0][0], near[0][0], "the member itself, the lowest of equals")
		}
	}
	b, err := dev.Bank([]float32{1, 2, 3, 4}, 2)
	require.NoError(t, err)
	defer b.Close()
	winner, dist := make([]int32, 2), make([]float64, 2)
	require.NoError(t, b.Nearest(t.Context(), []float32{float32(math.NaN()), 1, 3, 4}, winner, dist, nil))
	require.True(t, math.IsNaN(dist[0]))
	require.Zero(t, winner[0])
	require.Zero(t, dist[1])
	require.NoError(t, b.Nearest(t.Context(), nil, nil, nil, nil))
}
