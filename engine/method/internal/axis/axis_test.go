package axis

import (
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// apply multiplies m by x.
func apply(m Map, x []float32) []float32 {
	out := make([]float32, len(m))
	for i, t := range m {
		for k, w := range t.W {
			out[i] += w * x[t.Lo+k]
		}
	}
	return out
}

func TestBilinear(t *testing.T) {
	require.Equal(t, []float32{1, 1.5, 2.5, 3}, apply(Bilinear(2, 4), []float32{1, 3}))
	require.Equal(t, []float32{1, 2, 4}, apply(Bilinear(3, 3), []float32{1, 2, 4}))
	require.Equal(t, []float32{5, 5}, apply(Bilinear(1, 2), []float32{5}))
	require.Equal(t, []float32{1.5, 5}, apply(Bilinear(4, 2), []float32{1, 2, 4, 6}))
	for _, taps := range Bilinear(3, 3) {
		require.Len(t, taps.W, 1, "no weight where there is nothing to mix")
	}
}

// Weights of one ratio and phase are bitwise equal, wherever they are: windows must give what whole images give.
func TestBilinearWeightsDependOnThePhaseAlone(t *testing.T) {
	whole, window := Bilinear(70, 210), Bilinear(7, 21)
	for i := 3; i < 18; i++ {
		require.Equal(t, whole[i+60].W, window[i].W)
		require.Equal(t, whole[i+60].Lo, window[i].Lo+20)
	}
}

func TestNearest(t *testing.T) {
	require.Equal(t, []float32{1, 1, 2, 2, 3}, apply(Nearest(3, 5), []float32{1, 2, 3}))
}

func TestStencil(t *testing.T) {
	x := []float32{1, 2, 4}
	require.Equal(t, []float32{0, 1, 2}, apply(Stencil(3, 1, 0, 0), x))
	require.Equal(t, []float32{2, 4, 0}, apply(Stencil(3, 0, 0, 1), x))
	require.Equal(t, []float32{5, 13, 10}, apply(Stencil(3, 3, 1, 2), x))
	require.Empty(t, Stencil(3, 1, 0, 0)[0].W)
}

func TestGaussianIsNormalisedAndSymmetric(t *testing.T) {
	for _, reflect101 := range []bool{false, true} {
		m := Gaussian(9, 1.5, 6, reflect101)
		for _, taps := range m {
			var sum float32
			for _, w := range taps.W {
				sum += w
			}
			compare.Require(t, "sum", []float32{sum}, []float64{1}, rounding)
		}
		require.Len(t, m[4].W, 9)
		compare.Require(t, "mirrored", m[1].W, reversed(m[7].W), rounding)
	}
	require.Len(t, Gaussian(100, 4, 16, false)[50].W, 33)
}

// A handful of float32 operations.
var rounding = compare.Tolerance{Abs: 1e-6}

func reversed(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[len(x)-1-i] = v
	}
	return out
}

// Where rows repeat, the product is not made anew; its bits are those of all rows made one by one.
func TestAfterRepeatsItself(t *testing.T) {
	for _, c := range []struct {
		n, N, radius int
		nearest      bool
	}{{64, 256, 16, false}, {64, 256, 16, true}, {70, 210, 4, false}, {9, 72, 16, false}, {30, 75, 6, false}, {40, 40, 16, false}, {17, 13, 3, false},
		{5, 7, 1, true}, {100, 50, 4, false}, {1, 4, 16, false}, {1, 1, 0, false}} {
		up := Bilinear(c.n, c.N)
		if c.nearest {
			up = Nearest(c.n, c.N)
		}
		for _, reflect101 := range []bool{false, true} {
			blur := Gaussian(c.N, float64(c.radius)/4+0.1, c.radius, reflect101)
			got, anew := blur.After(up, c.n), 0
			for i, row := range blur {
				require.Equal(t, Map{row}.After(up, c.n)[0], got[i], "%+v, row %d", c, i)
				if p := period(c.n, c.N); i < p || !shared(got[i], got[i-p]) {
					anew++
				}
			}
			if c.N == 256 {
				require.LessOrEqual(t, anew, 48)
			}
		}
	}
	few, stencil := Nearest(80, 40), Stencil(80, 1, 2, 3) // one repeats itself every two cells, the other every cell
	for i, row := range few {
		require.Equal(t, Map{row}.After(stencil, 80)[0], few.After(stencil, 80)[i], "row %d", i)
	}
	require.Equal(t, []int{4, 1, 5, 1, 13}, []int{period(64, 256), period(7, 7), period(30, 75), period(8, 4), period(17, 13)})
}

func TestAfterIsTheProduct(t *testing.T) {
	x := []float32{3, -1, 4, 1, -5}
	up, blur := Bilinear(5, 13), Gaussian(13, 2, 8, true)
	compare.Require(t, "product", apply(blur.After(up, 5), x), apply(blur, apply(up, x)), compare.Tolerance{Abs: 2e-6})
	empty := Bilinear(3, 3).After(Stencil(3, 1, 0, 0), 3)
	require.Empty(t, empty[0].W)
}
