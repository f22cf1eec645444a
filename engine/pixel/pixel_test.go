package pixel

import (
	"fmt"
	"math"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

func TestTo8Rounds(t *testing.T) {
	for v := range 256 {
		require.Equal(t, uint8(v), To8(float32(v)/255))
	}
	for in, want := range map[float32]uint8{
		-1: 0, 0: 0, 0.49 / 255: 0, 0.51 / 255: 1, 254.4 / 255: 254, 254.6 / 255: 255, 1: 255, 7: 255,
		float32(math.Inf(1)): 255, float32(math.Inf(-1)): 0,
	} {
		require.Equal(t, want, To8(in), "%g", in)
	}
	require.Equal(t, uint8(0), To8(float32(math.NaN())))
}

func TestBoundsAndCrop(t *testing.T) {
	const h, w = 6, 7
	require.Equal(t, Box{}, Bounds(nil, w))
	b := Bounds([]int32{2*w + 5, 3*w + 1, 4*w + 3}, w)
	require.Equal(t, Box{2, 1, 5, 6}, b)
	require.Equal(t, Box{0, 0, 6, 7}, b.Grow(9, h, w))
	require.Equal(t, Box{1, 0, 6, 7}, b.Grow(1, h, w))
	require.True(t, b.Within(5, 6))
	require.False(t, b.Within(4, 6))
	require.False(t, b.Within(5, 5))
	require.False(t, Box{-1, 0, 2, 2}.Within(9, 9))
	require.False(t, Box{0, -1, 2, 2}.Within(9, 9))
	x := random(2*h*w, 1)
	got := make([]float32, 2*b.H()*b.W())
	Crop(got, x, 2, h, w, b)
	for c := range 2 {
		for i := range b.H() {
			for j := range b.W() {
				require.Equal(t, x[(c*h+i+2)*w+j+1], got[(c*b.H()+i)*b.W()+j])
			}
		}
	}
}

func TestUpsampleIsBilinearBetweenCentres(t *testing.T) {
	for _, c := range [][3]int{{1, 1, 4}, {1, 5, 3}, {4, 3, 4}, {3, 4, 1}, {2, 2, 16}, {5, 1, 2}} {
		h, w, s := c[0], c[1], c[2]
		grid := random(h*w, uint64(s))
		out := random(h*w*s*s, 9)
		Upsample(grid, h, w, s, out)
		want := make([]float64, len(out))
		tent := func(i, cell, n int) float64 { // weight of a cell at output pixel i, beyond the edges constant
			at := min(max((float64(i)+0.5)/float64(s)-0.5, 0), float64(n-1))
			return max(0, 1-math.Abs(at-float64(cell)))
		}
		for i := range h * s {
			for j := range w * s {
				for a := range h {
					for b := range w {
						want[i*w*s+j] += tent(i, a, h) * tent(j, b, w) * float64(grid[a*w+b])
					}
				}
			}
		}
		compare.Require(t, fmt.Sprint(c), out, want, rounding)
	}
}

func TestNormConv(t *testing.T) {
	const w, sigma = 30, 2.5
	at, to := []int32{3*w + 4, 5*w + 20, 11*w + 9, 0}, []int32{2*w + 2, 2*w + 3, 7*w + 29, 8 * w, 3*w + 4, 3}
	for _, c := range []int{1, 2, 3, 5, 6, 18, 22} {
		v := random(len(at)*c, 3)
		out := random(len(to)*c, 4)
		NormConv(v, at, to, w, c, sigma, out)
		want := make([]float64, len(out))
		for i, p := range to {
			for k := range c {
				var num, den float64
				for j, q := range at {
					d := math.Hypot(float64(p/w-q/w), float64(p%w-q%w))
					g := math.Exp(-d * d / (2 * sigma * sigma))
					num += g * float64(v[j*c+k])
					den += g
				}
				want[i*c+k] = num / den
			}
		}
		compare.Require(t, fmt.Sprintf("%d channels", c), out, want, rounding)
	}
}

func TestNormConvKeepsConstantsAndKnowsItsReach(t *testing.T) {
	const w = 400
	out := []float32{9, 9}
	NormConv([]float32{0.25, 0.25}, []int32{0, 7}, []int32{100, 399}, w, 1, 3, out)
	require.Equal(t, []float32{0.25, 0}, out) // column 399 is 130 sigma away
	NormConv(nil, nil, []int32{5, 6}, w, 1, 3, out)
	require.Equal(t, []float32{0, 0}, out)
}

func TestFillMinAndLeast(t *testing.T) {
	const K, C, n = 4, 3, 57
	y, fills := random(C*n, 1), random(K*C*n, 2)
	copy(fills[2*C*n:3*C*n], fills[C*n:2*C*n]) // equals of fill 1
	sq, r, best := random(K*n, 3), random(n, 4), make([]int32, n)
	best[5] = 3
	FillMin(y, fills, K, C, n, sq, r)
	Least(sq, K, n, best)
	wantSq, wantR := make([]float64, K*n), make([]float64, n)
	for p := range n {
		wantR[p] = math.Inf(1)
		first := 0
		for k := range K {
			for c := range C {
				d := float64(y[c*n+p]) - float64(fills[(k*C+c)*n+p])
				wantSq[k*n+p] += d * d
			}
			if math.Sqrt(wantSq[k*n+p]) < wantR[p] {
				wantR[p], first = math.Sqrt(wantSq[k*n+p]), k
			}
		}
		require.Equal(t, int32(first), best[p], "pixel %d", p)
	}
	compare.Require(t, "squares", sq, wantSq, rounding)
	compare.Require(t, "least", r, wantR, rounding)
}

func TestQuantileIsLinear(t *testing.T) {
	require.Zero(t, Quantile(nil, 0.5))
	require.Equal(t, 3.0, Quantile([]float32{3}, 0.9))
	v := func() []float32 { return []float32{40, 10, 30, 20} }
	for share, want := range map[float64]float64{0: 10, 0.5: 25, 1: 40, 0.25: 17.5, 0.9: 37} {
		require.InDelta(t, want, Quantile(v(), share), 1e-12, "share %g", share)
	}
}

// The proximal step is the minimiser over x >= 0, found here by looking everywhere.
func TestProxMinimises(t *testing.T) {
	for _, eps := range []float64{0.05, 0.1, 1} {
		l := NewGroupLog(eps)
		require.Zero(t, l.Value(0))
		require.InDelta(t, 1, l.Value(1), 1e-12)
		require.InDelta(t, math.Log(1+0.3/eps)/math.Log(1+1/eps), l.Value(0.3), 1e-12)
		for _, step := range []float64{0, 0.003, 0.03, 0.1, 0.5, 3} {
			kept := 0
			for n := 0.0; n < 4.5; n += 0.05 {
				objective := func(x float64) float64 {
					return (x-n)*(x-n)/2 + step*math.Log(1+x/eps)/math.Log(1+1/eps)
				}
				best := objective(0)
				for x := 0.0; x <= n+2e-3; x += 2e-3 { // the minimiser is never above n
					best = min(best, objective(x))
				}
				got := l.Prox(n, step)
				require.True(t, got >= 0 && got <= n+1e-12, "prox %g of n %g", got, n)
				// The scan is at most half its step from the minimum, whose curvature is at most 1.
				require.InDelta(t, best, objective(got), 3e-6, "eps %g, t %g, n %g", eps, step, n)
				if got > 0 {
					kept++
				} else {
					require.Zero(t, got)
				}
			}
			require.NotZero(t, kept, "eps %g, t %g", eps, step)
		}
		require.Zero(t, l.Prox(0, 0.1))
	}
}

func TestMoved(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {3, 7}, {8, 2}} {
		h, w := size[0], size[1]
		src := make([]float32, h*w)
		for p := range src {
			src[p] = float32(p + 1)
		}
		for _, d := range [][2]int{{0, 0}, {-2, 1}, {2, -1}, {1, w}, {-h, -w - 3}, {100, 100}} {
			got := make([]float32, h*w)
			Moved(got, src, h, w, d[0], d[1])
			for p, v := range got {
				require.Equal(t, src[min(max(p/w+d[0], 0), h-1)*w+min(max(p%w+d[1], 0), w-1)], v, "%v by %v at %d", size, d, p)
			}
		}
	}
}
