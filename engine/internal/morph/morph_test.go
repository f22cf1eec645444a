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

func TestDilateIsExact(t *testing.T) {
	for i, c := range []struct {
		h, w  int
		share float64
	}{{1, 1, 1}, {1, 20, 0.1}, {20, 1, 0.1}, {17, 23, 0.01}, {17, 23, 0.3}, {30, 9, 0.005}, {9, 30, 0.02}, {25, 25, 0.003}} {
		mask := scatter(c.h*c.w, c.share, uint64(i))
		mask[c.h*c.w/2] = true
		for _, r := range []float64{0, 1, 1.5, 2.5, 5, math.Sqrt(10), 12, 100, 1e12} {
			for p, got := range Dilate(mask, c.h, c.w, r) {
				require.Equal(t, float64(slowDistance(mask, c.w, p)) <= r*r, got, "%v, radius %g, at %d", c, r, p)
			}
		}
	}
	require.Equal(t, make([]bool, 30), Dilate(make([]bool, 30), 5, 6, 100), "nothing is near nothing")
	require.Empty(t, Dilate(nil, 0, 0, 1))
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

// On a line longer than int32 can square, no distance turns negative.
func TestDilateOnALongLine(t *testing.T) {
	const w, r = 70_000, 50_000
	mask := make([]bool, w)
	mask[0] = true
	near := Dilate(mask, 1, w, r)
	require.True(t, near[r])
	require.False(t, near[r+1])
	require.False(t, near[w-1])
}
