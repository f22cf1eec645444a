package gemm

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// A plane's sums begin with init, are in the order of the taps and clipped, and keep to their rows and columns.
func TestPlane(t *testing.T) {
	for _, s := range ISAs() {
		t.Run(s.Name, func(t *testing.T) {
			for _, taps := range []int{0, 1, 9, 25} {
				for _, bounds := range []Bounds{Unbounded(), {0, 0.7}} {
					for rows := 1; rows < 20; rows++ {
						for cols := 1; cols < 40; cols++ {
							s.checkPlane(t, taps, rows, cols, bounds)
						}
					}
				}
			}
		})
	}
}

func (s *ISA) checkPlane(t *testing.T, taps, rows, cols int, to Bounds) {
	t.Helper()
	w, at := wave(taps, 127), make([]int, taps)
	for l := range at {
		at[l] = l * l % 50
	}
	ldb, ldc := cols+1, cols+2
	b := wave(rows*ldb+50+PlaneCols, 131)
	if taps > 1 {
		b[len(b)/2] = float32(math.NaN())
	}
	c, guards := guarded(rows * ldc)
	const init = 0.25
	s.Plane(c, ldc, rows, cols, w, b, ldb, at, init, to)
	untouched(t, guards)
	for i, v := range c {
		r, j := i/ldc, i%ldc
		if j >= cols {
			require.True(t, v != v, "column %d is not of the plane", j)
			continue
		}
		want := float32(init)
		for l := range at {
			want = s.MulAdd(w[l], b[r*ldb+at[l]+j], want)
		}
		if want < to.Lo {
			want = to.Lo
		} else if want > to.Hi {
			want = to.Hi
		}
		if v != want && (v == v || want == want) {
			t.Fatalf("%d taps, %dx%d, (%d,%d): %g, want %g", taps, rows, cols, r, j, v, want)
		}
	}
}

// BenchmarkPlane is a depthwise convolution's plane.
func BenchmarkPlane(b *testing.B) {
	for _, s := range ISAs() {
		for _, c := range []struct {
			name         string
			size, kernel int
		}{{"3x3 at 64x64", 64, 3}, {"5x5 at 16x16", 16, 5}} {
			b.Run(c.name+"/"+s.Name, func(b *testing.B) {
				n, pitch := c.size, c.size+c.kernel-1
				var at []int
				for i := range c.kernel {
					for j := range c.kernel {
						at = append(at, i*pitch+j)
					}
				}
				x, y, w := ramp(pitch*pitch+PlaneCols), make([]float32, n*n), ramp(len(at))
				for b.Loop() {
					s.Plane(y, n, n, n, w, x, pitch, at, 0, Bounds{0, 6})
				}
				b.ReportMetric(2*float64(n*n*len(at))*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
