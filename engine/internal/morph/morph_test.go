package morph

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// scatter sets each of n cells with probability share.
func scatter(n int, share float64, seed uint64) []bool {
	rng := rand.New(rand.NewPCG(seed, 0))
	m := make([]bool, n)
	for i := range m {
		m[i] = rng.Float64() < share
	}
	return m
}

func square(i int) int { return i * i }

// slowDistance looks at every pixel of the set; -1 if it is empty.
func slowDistance(set []bool, w, p int) int {
	best := -1
	for q, on := range set {
		if d := square(p/w-q/w) + square(p%w-q%w); on && (best < 0 || d < best) {
			best = d
		}
	}
	return best
}

func TestDistancesAreExact(t *testing.T) {
	for i, c := range []struct {
		h, w  int
		share float64
	}{{1, 1, 1}, {1, 20, 0.1}, {20, 1, 0.1}, {17, 23, 0.01}, {17, 23, 0.3}, {30, 9, 0.005}, {9, 30, 0.02}, {25, 25, 0.003}} {
		set := scatter(c.h*c.w, c.share, uint64(i))
		set[c.h*c.w/2] = true
		for p, d := range Distances(set, c.h, c.w) {
			require.EqualValues(t, slowDistance(set, c.w, p), d, "%v at %d", c, p)
		}
	}
	for _, d := range Distances(make([]bool, 30), 5, 6) {
		require.GreaterOrEqual(t, d, int32(11*11))
	}
}

func TestWithinIsInclusive(t *testing.T) {
	require.Equal(t, []bool{true, true, true, false}, Within([]int32{0, 24, 25, 26}, 5))
	require.Equal(t, []bool{true, false}, Within([]int32{6, 7}, 2.5))
}

// slowComponents joins labels until nothing changes.
func slowComponents(mask []bool, h, w int, eight bool) []int {
	label := make([]int, h*w)
	for p := range label {
		label[p] = p
	}
	for changed := true; changed; {
		changed = false
		for p := range label {
			for q := range label {
				dy, dx := square(p/w-q/w), square(p%w-q%w)
				near := dy <= 1 && dx <= 1 && (eight || dy+dx <= 1)
				if mask[p] && mask[q] && near && label[q] < label[p] {
					label[p], changed = label[q], true
				}
			}
		}
	}
	return label
}

func TestComponents(t *testing.T) {
	const h, w = 13, 11
	for seed, share := range []float64{0, 0.2, 0.4, 0.5, 0.6, 1} {
		for _, eight := range []bool{true, false} {
			mask := scatter(h*w, share, uint64(seed))
			want := slowComponents(mask, h, w, eight)
			seen, last := 0, int32(-1)
			for _, c := range Components(mask, h, w, eight) {
				require.Greater(t, c[0], last, "not in the order of their first pixels")
				last = c[0]
				for k, p := range c {
					require.True(t, mask[p])
					require.EqualValues(t, c[0], want[p])
					require.True(t, k == 0 || c[k-1] < p, "not ascending")
				}
				seen += len(c)
			}
			count := 0
			for _, on := range mask {
				if on {
					count++
				}
			}
			require.Equal(t, count, seen)
		}
	}
}

// A line longer than int32 can square holds no distance that has turned negative.
func TestDistancesOnALongLine(t *testing.T) {
	const w = 70_000
	set := make([]bool, w)
	set[0] = true
	d := Distances(set, 1, w)
	require.EqualValues(t, 46_340*46_340, d[46_340])
	require.EqualValues(t, math.MaxInt32, d[46_341])
	require.EqualValues(t, math.MaxInt32, d[w-1])
	near := Within(d, 1e9)
	require.True(t, near[46_340])
	require.False(t, near[w-1], "no one knows how far it is")
}
