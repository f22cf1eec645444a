package kerneltest

import (
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// summed is for sums of up to some 550 squares in float32, and a root and a mean of them.
var summed = compare.Tolerance{Abs: 1e-30, Rel: 1e-5}

// search runs a search to its end, and some steps beyond it, and returns the centres and the distances.
func (r *Rig) search(x []float32, c kernels.Coreset) (centres []int32, dist []float32) {
	points := In(r, x)
	d, tops, state := Out[float32](r, c.P), Out[uint32](r, kernels.CoresetTops), Out[int32](r, kernels.CoresetState)
	chosen := Out[int32](r, c.Want)
	c.X, c.Dist, c.Tops, c.State, c.Centres = points.Ptr, d.Ptr, tops.Ptr, state.Ptr, chosen.Ptr
	c.Steps = 3
	work := func(q kernels.Queue) error {
		err := c.Begin(q)
		for i := 0; i < c.Want+2 && err == nil; i += c.Steps {
			err = c.Enqueue(q)
		}
		return err
	}
	r.Run(work, []Array{points}, []Array{d, state, chosen})
	s := state.Read()
	require.EqualValues(r.T, 1, s[2], "the search has ended")
	all := chosen.Read()
	for _, p := range all[s[1]:] {
		require.EqualValues(r.T, -1, p, "written past the last centre")
	}
	require.LessOrEqual(r.T, int(s[1]), c.Want)
	return all[:s[1]], d.Read()
}

// kCentre is the twin of patchcore's, with every distance measured to its end.
func kCentre(x []float32, d, want int, starts []int) (centres []int32, dist []float32) {
	to := func(p, q int) (sum float32) {
		for e := range d {
			v := x[p*d+e] - x[q*d+e]
			sum += v * v
		}
		return sum
	}
	dist = make([]float32, len(x)/d)
	for p := range dist {
		dist[p] = float32(math.Inf(1))
		if len(starts) > 1 {
			mean := float32(0)
			for _, s := range starts {
				mean += float32(math.Sqrt(float64(to(p, s))))
			}
			mean /= float32(len(starts))
			dist[p] = mean * mean
		}
	}
	farthest := func() (at int) {
		for p, v := range dist {
			if v > dist[at] {
				at = p
			}
		}
		return at
	}
	next := starts[0]
	if len(starts) > 1 {
		next = farthest()
	}
	for len(centres) == 0 || len(centres) < want && dist[next] > 0 {
		centres = append(centres, int32(next))
		for p := range dist {
			dist[p] = min(dist[p], to(p, next))
		}
		next = farthest()
	}
	return centres, dist
}

// Coreset tests the kernels coreset_begin, coreset_start, coreset_measure and coreset_choose.
func Coreset(t *testing.T, m kernels.Machine, seed uint64) {
	// Of small integers every sum is exact, in any order: the same centres, whatever the ties.
	for _, c := range []struct {
		p, d, want int
		starts     []int
		blocks     int
	}{
		{1, 1, 1, []int{0}, 0}, {1, 5, 1, []int{0}, 0}, {7, 1, 7, []int{3}, 0}, {100, 3, 20, []int{5}, 0}, {700, 8, 12, []int{1}, 2},
		{301, 37, 8, []int{300}, 3}, {130, 128, 9, []int{0}, 1}, {65, 550, 6, []int{64}, 0}, {5000, 1, 9, []int{77}, 2},
		{1000, 2, 40, []int{9}, 0}, {2500, 4, 10, []int{9}, 0},
		{400, 1, 12, []int{3, 399, 17, 256}, 0}, {900, 1, 5, []int{0, 899}, 1}, // |x| needs no root: exact, too
	} {
		Case(t, m, seed, func(r *Rig) {
			x := make([]float32, c.p*c.d)
			for i := range x {
				x[i] = float32(r.Rand.IntN(9) - 4)
			}
			k := kernels.Coreset{P: c.p, D: c.d, Want: c.want, Starts: c.starts, Blocks: c.blocks}
			centres, dist := r.search(x, k)
			want, wantDist := kCentre(x, c.d, c.want, c.starts)
			require.Equal(r.T, want, centres)
			require.Equal(r.T, wantDist, dist)
		}, "exact %dx%d, %d of %d starts, %d blocks", c.p, c.d, c.want, len(c.starts), c.blocks)
	}
	Case(t, m, seed, func(r *Rig) {
		x := make([]float32, 0, 60*6)
		for i := range 60 {
			for range 6 {
				x = append(x, float32(i%5))
			}
		}
		centres, _ := r.search(x, kernels.Coreset{P: 60, D: 6, Want: 20, Starts: []int{7}})
		require.Equal(r.T, []int32{7, 0, 4, 1, 3}, centres, "five different points")
		centres, _ = r.search(make([]float32, 40), kernels.Coreset{P: 10, D: 4, Want: 3, Starts: []int{2, 5, 5}})
		require.Equal(r.T, []int32{0}, centres, "one point, ten times")
	}, "duplicates")
	// Every centre is a farthest point, within rounding, and the distances are those to the nearest centre.
	for _, c := range []struct{ p, d, starts int }{{800, 20, 1}, {333, 130, 1}, {333, 130, 10}, {1000, 3, 7}, {100, 551, 2}} {
		Case(t, m, seed, func(r *Rig) {
			x, starts := r.Normal(c.p*c.d), make([]int, c.starts)
			for i := range starts {
				starts[i] = r.Rand.IntN(c.p)
			}
			centres, dist := r.search(x, kernels.Coreset{P: c.p, D: c.d, Want: 15, Starts: starts})
			require.Len(r.T, centres, 15)
			for n := range centres {
				var before []float64 // the distances when centre n was chosen
				if n > 0 {
					before = follow(x, c.d, starts, centres[:n])
				} else if c.starts > 1 {
					before = follow(x, c.d, starts, nil)
				} else {
					require.EqualValues(r.T, starts[0], centres[0])
					continue
				}
				require.GreaterOrEqual(r.T, before[centres[n]], slices.Max(before)*(1-summed.Rel), "centre %d", n)
			}
			compare.Require(r.T, "dist", dist, follow(x, c.d, starts, centres), summed)
		}, "%dx%d, %d starts", c.p, c.d, c.starts)
	}
	Case(t, m, seed, func(r *Rig) {
		x := r.Normal(90 * 5)
		x[33*5+2] = float32(math.NaN())
		centres, dist := r.search(x, kernels.Coreset{P: 90, D: 5, Want: 90, Starts: []int{0}})
		require.Len(r.T, centres, 89)
		require.NotContains(r.T, centres, int32(33))
		require.True(r.T, math.IsNaN(float64(dist[33])))

		x[33*5+2] = float32(math.Inf(1))
		x[44*5+2] = float32(math.Inf(1)) // infinitely far, and NaN from 33
		centres, _ = r.search(x, kernels.Coreset{P: 90, D: 5, Want: 90, Starts: []int{0}})
		want, _ := kCentre(x, 5, 90, []int{0})
		require.Len(r.T, want, 89)
		require.Equal(r.T, want[:2], centres[:2])
		require.Len(r.T, centres, 89)
		require.NotContains(r.T, centres, int32(44))
	}, "points that are NaN and infinite")
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Coreset{P: 9, D: 3, Want: 2, Starts: []int{1}, Steps: 1,
			X: 256, Dist: 512, Tops: 1024, State: 2048, Centres: 4096}
		for what, change := range map[string]func(*kernels.Coreset){
			"points": func(c *kernels.Coreset) { c.D = 0 }, "centres of": func(c *kernels.Coreset) { c.Want = 10 },
			"blocks": func(c *kernels.Coreset) { c.Blocks = 5000 },
			"null":   func(c *kernels.Coreset) { c.State = 0 }, "aligned": func(c *kernels.Coreset) { c.X = 260 },
		} {
			c := good
			change(&c)
			require.ErrorContains(t, c.Enqueue(m), what)
			require.ErrorContains(t, c.Begin(m), what)
		}
		c := good
		c.Steps = 0
		require.ErrorContains(t, c.Enqueue(m), "steps")
		c.Starts = nil
		require.ErrorContains(t, c.Begin(m), "no start")
		c.Starts = []int{0, 9}
		require.ErrorContains(t, c.Begin(m), "start 9")
	})
}

// follow returns the distances, in float64, after the given centres.
func follow(x []float32, d int, starts []int, centres []int32) []float64 {
	to := func(p, q int) (sum float64) {
		for e := range d {
			v := float64(x[p*d+e]) - float64(x[q*d+e])
			sum += v * v
		}
		return sum
	}
	dist := make([]float64, len(x)/d)
	for p := range dist {
		dist[p] = math.Inf(1)
		if len(starts) > 1 {
			mean := 0.0
			for _, s := range starts {
				mean += math.Sqrt(to(p, s)) / float64(len(starts))
			}
			dist[p] = mean * mean
		}
		for _, c := range centres {
			dist[p] = min(dist[p], to(p, int(c)))
		}
	}
	return dist
}

func init() {
	register("coreset", Coreset)
	registerBench(Bench{
		Kernel: "coreset", Size: "10^6 x 128, 16 centres", Peer: "coreset",
		Params: map[string]int{"p": 1e6, "d": 128, "centres": 16},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			// So many centres are wanted that no timing comes to the end.
			c := kernels.Coreset{P: 1e6, D: 128, Want: 1e6, Starts: []int{0}, Steps: 16}
			var err error
			if c.X, err = b.Normal(c.P*c.D, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			for _, a := range []struct {
				p *kernels.Ptr
				n int
			}{{&c.Dist, c.P}, {&c.Tops, kernels.CoresetTops}, {&c.State, kernels.CoresetState}, {&c.Centres, c.Want}} {
				if *a.p, err = b.Alloc(a.n); err != nil {
					return nil, kernels.Cost{}, err
				}
			}
			return c.Enqueue, c.Cost(), c.Begin(b.M)
		},
	})
}
