package vec

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rows are moved, taken apart and put together, each into its place and nowhere else; and so do the Go twins.
func TestRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for rows := range 4 {
		for cols := range 70 {
			lds, ldd := cols+rng.IntN(3), cols+rng.IntN(3)
			src := draw(rng, rows*lds)
			check := func(name string, f func(dst []float32), want func(r, j int) (float32, bool)) {
				t.Helper()
				dst, whole := guarded(rows * ldd)
				f(dst)
				untouched(t, whole)
				for i, v := range dst {
					w, set := want(i/ldd, i%ldd)
					if !set {
						w = -77
					}
					require.Equal(t, bits([]float32{w}), bits([]float32{v}), "%s, %d x %d, element %d", name, rows, cols, i)
				}
			}
			at := func(r, j int) (float32, bool) {
				if j >= cols {
					return 0, false
				}
				return src[r*lds+j], true
			}
			for _, twin := range []bool{false, true} {
				name := fmt.Sprintf("twin %t", twin)
				check(name, func(dst []float32) {
					if twin {
						copyRowsGo(dst, ldd, src, lds, rows, cols)
						return
					}
					CopyRows(dst, ldd, src, lds, rows, cols)
				}, at)

				half := (cols + 1) / 2
				even, wholeEven := guarded(rows * (half + 1))
				odd, wholeOdd := guarded(rows * (half + 1))
				if twin {
					unzipRowsGo(even, odd, half+1, src, lds, rows, 0, cols)
				} else {
					UnzipRows(even, odd, half+1, src, lds, rows, cols)
				}
				untouched(t, wholeEven)
				untouched(t, wholeOdd)
				for r := range rows {
					for j := range half + 1 {
						for k, part := range [][]float32{even, odd} {
							want, set := at(r, 2*j+k)
							if !set {
								want = -77
							}
							require.Equal(t, bits([]float32{want}), bits(part[r*(half+1)+j:][:1]), "%s, unzip %d x %d", name, rows, cols)
						}
					}
				}
				check(name+" zip", func(dst []float32) {
					if twin {
						zipRowsGo(dst, ldd, even, half+1, odd, half+1, rows, 0, cols)
						return
					}
					ZipRows(dst, ldd, even, half+1, odd, half+1, rows, cols)
				}, at)
			}
		}
	}
}
