package patchcore

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/method"

	"github.com/stretchr/testify/require"
)

// greedyByDefinition is the search with a matrix of all distances, in float64.
func greedyByDefinition(x []float32, d, want int, starts []int) []int {
	n := len(x) / d
	dist := make([]float64, n)
	for p := range dist {
		dist[p] = math.Inf(1)
		if len(starts) > 1 {
			dist[p] = 0
			for _, s := range starts {
				dist[p] += math.Sqrt(distance(x[p*d:(p+1)*d], x[s*d:(s+1)*d])) / float64(len(starts))
			}
		}
	}
	var chosen []int
	for len(chosen) < want {
		top := 0
		for p := range dist {
			if dist[p] > dist[top] {
				top = p
			}
		}
		if len(chosen) == 0 && len(starts) == 1 {
			top = starts[0]
		}
		chosen = append(chosen, top)
		for p := range dist {
			dist[p] = min(dist[p], math.Sqrt(distance(x[p*d:(p+1)*d], x[top*d:(top+1)*d])))
		}
	}
	return chosen
}

func TestKCentre(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	const d, n = 19, 3*coverGrain + 5 // two blocks of 8 values and 3 more; several ranges of points
	x := normal(rng, n*d)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, starts := range [][]int{{4711}, {5, 17, 6000, 2}} {
		want := greedyByDefinition(x, d, 40, starts)
		for _, cores := range []int{1, 6} {
			runtime.GOMAXPROCS(cores)
			var seen []int
			got, err := KCentre(t.Context(), x, d, 40, starts, func(done, total int) {
				require.Equal(t, 40, total)
				seen = append(seen, done)
			})
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Len(t, seen, 40)
			require.Equal(t, 40, seen[39])
		}
	}
}

func TestKCentreTakesTheLowestOfEquals(t *testing.T) {
	line := make([]float32, 2*coverGrain+10)
	line[5], line[9], line[coverGrain+3] = -1, 1, 1
	got, err := KCentre(t.Context(), line, 1, 3, []int{0}, nil)
	require.NoError(t, err)
	require.Equal(t, []int{0, 5, 9}, got)
}

func TestKCentreStopsWhenAllPointsAreCovered(t *testing.T) {
	x := []float32{1, 2, 1, 2, 3, 1}
	got, err := KCentre(t.Context(), x, 1, 6, []int{2}, nil)
	require.NoError(t, err)
	require.Equal(t, []int{2, 4, 1}, got)
	same, err := KCentre(t.Context(), make([]float32, 50), 1, 5, []int{3, 4}, nil)
	require.NoError(t, err)
	require.Len(t, same, 1, "a bank is never empty")
}

func TestKCentreIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := KCentre(ctx, normal(rand.New(rand.NewPCG(1, 0)), 1000), 1, 1000, []int{0}, func(done, _ int) {
		require.LessOrEqual(t, done, 5)
		if done == 5 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
}

// A new centre brings distances down and none up.
func TestCoverKeepsTheLesserDistance(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	const points = 40
	for _, d := range []int{1, 7, 8, 9, 48, 100} {
		c := &cover{x: normal(rng, points*d), d: d, dist: make([]float32, points), seen: make([]int, points)}
		for p := range c.dist {
			c.dist[p] = float32(math.Inf(1))
		}
		want := make([]float64, points)
		for p := range want {
			want[p] = math.Inf(1)
		}
		for i, centre := range []int{3, 17, 0, 20} {
			c.add(centre)
			for p := range want {
				if i != 1 || p%2 == 0 { // the others see two at once later
					c.look(p, make([]float32, i+1))
				}
				want[p] = min(want[p], distance(c.point(p), c.point(centre)))
			}
			if i != 1 {
				compare.Require(t, "distance", c.dist, want, float32Sums)
			}
		}
	}
}

// Projections keep squared lengths on average: the mean over many vectors has a standard deviation of about
// sqrt(2/d)/sqrt(vectors) for each matrix, and of sqrt(2/d) over vectors for one.
func TestProjectionsKeepLengths(t *testing.T) {
	const d, dim, n = 200, 400, 200
	rng := rand.New(rand.NewPCG(6, 0))
	x := normal(rng, n*dim)
	for name, matrix := range map[string]func(*rand.Rand, int, int) []float32{"gaussian": gaussian, "sparse": sparse} {
		p := matrix(rng, d, dim)
		require.InDelta(t, 1, length2(project(x, dim, p, d))/length2(x), 0.05, name)
		require.InDelta(t, 0, mean(p), 0.002, name)
	}
	zeros := 0
	for _, v := range sparse(rng, d, dim) {
		if v == 0 {
			zeros++
		}
	}
	require.InDelta(t, 1-1/math.Sqrt(dim), float64(zeros)/(d*dim), 0.005)
	p := normal(rng, 3*dim) // the product itself
	got := project(x, dim, p, 3)
	require.InDelta(t, dot(x[:dim], p[dim:2*dim]), got[1], 1e-4)
	require.InDelta(t, dot(x[(n-1)*dim:], p[2*dim:]), got[n*3-1], 1e-4)
}

func length2(x []float32) float64 { return dot(x, x) }

func mean(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v)
	}
	return sum / float64(len(x))
}

func TestCoresetSizeAndProjection(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	const count, dim = 300, 20
	rows := normal(rng, count*dim)
	choose := func(change func(*Options)) []int {
		o := Options{Ratio: 0.1, Projection: NoProjection, ProjectDim: 4, Seed: 5}
		change(&o)
		got, err := o.coreset(t.Context(), rows, dim, method.Fitting{})
		require.NoError(t, err)
		sorted := slices.Clone(got)
		slices.Sort(sorted)
		require.Len(t, slices.Compact(sorted), len(got))
		return got
	}
	plain := choose(func(*Options) {})
	require.Len(t, plain, 30)
	require.Len(t, choose(func(o *Options) { o.MaxBank = 12 }), 12)
	require.Len(t, choose(func(o *Options) { o.Ratio = 1e-9 }), 1)
	require.Equal(t, plain, choose(func(o *Options) { o.Projection, o.ProjectDim = GaussProjection, dim }), "not shorter: skipped")
	small := choose(func(o *Options) { o.Projection = GaussProjection })
	sparse := choose(func(o *Options) { o.Projection = SparseProjection })
	require.NotEqual(t, plain[1:], small[1:])
	require.NotEqual(t, small[1:], sparse[1:])
	require.Equal(t, plain[0], small[0], "the start has a random stream of its own")
	require.NotEqual(t, plain[0], choose(func(o *Options) { o.Seed = 6 })[0])
	require.NotEqual(t, plain, choose(func(o *Options) { o.StartPoints = 10 }))
}

// To look at a point later is to look at it at once: the centres are those of the search that measures all points each time.
func TestKCentreIsThatOfAllDistances(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 0))
	for _, d := range []int{1, 3, 40} {
		x := normal(rng, 900*d)
		for i := range x[:300*d] {
			x[i] = float32(math.Round(float64(x[i]))) // many are equally far, or equal
		}
		dist := make([]float32, len(x)/d)
		for p := range dist {
			dist[p] = float32(math.Inf(1))
		}
		want := []int{17}
		for len(want) < 700 {
			z := want[len(want)-1]
			vec.Nearer(dist, x, x[z*d:(z+1)*d])
			far := 0
			for p := range dist {
				if dist[p] > dist[far] {
					far = p
				}
			}
			if dist[far] == 0 {
				break
			}
			want = append(want, far)
		}
		got, err := KCentre(t.Context(), x, d, 700, []int{17}, nil)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
