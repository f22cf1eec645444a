package gemm

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

const guard = 64 // floats on either side of a buffer

// guarded returns n floats, all NaN, between guards.
func guarded(n int) (buffer, whole []float32) {
	whole = make([]float32, n+2*guard)
	for i := range whole {
		whole[i] = float32(math.NaN())
	}
	return whole[guard : guard+n : guard+n], whole
}

func untouched(t *testing.T, whole []float32) {
	t.Helper()
	for i, v := range whole {
		if (i < guard || i >= len(whole)-guard) && v == v {
			t.Fatalf("guard %d of %d was overwritten with %g", i, len(whole), v)
		}
	}
}

// wave is values of both signs, most of which do not add exactly.
func wave(n, prime int) []float32 {
	v, _ := guarded(n) // a read outside brings in a NaN, or panics
	for i := range v {
		v[i] = float32(i*i%prime)/float32(prime) - 0.43
	}
	return v
}

// product is the definition, in the order that the package promises.
func product(m, n, k int, a, b []float32) []float32 {
	c := make([]float32, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				c[i*n+j] += float32(a[i*k+l] * b[l*n+j])
			}
		}
	}
	return c
}

func transposed(k, n int, b []float32) []float32 {
	t := make([]float32, len(b))
	for l := range k {
		for j := range n {
			t[j*k+l] = b[l*n+j]
		}
	}
	return t
}

var shapes = [][3]int{ // m, n, k
	{1, 1, 1}, {1, 4, 4}, {2, 4, 4}, {2, 5, 3}, {3, 3, 5}, {3, 9, 4}, {4, 8, 16}, {5, 7, 9}, {7, 13, 6}, {2, 17, 31},
	{1, 300, 90}, {6, 523, 101}, {3, 12, blockFloats / NR}, {2, 19, blockFloats}, {3, 5, 0},
}

func TestMulIsItsDefinition(t *testing.T) {
	for _, s := range shapes {
		m, n, k := s[0], s[1], s[2]
		a, b := wave(m*k, 127), wave(k*n, 131)
		want := product(m, n, k, a, b)
		for _, trans := range []bool{false, true} {
			t.Run(fmt.Sprintf("%dx%dx%d trans=%t", m, n, k, trans), func(t *testing.T) {
				right := b
				if trans {
					right = transposed(k, n, b)
				}
				packed := PackB(k, n, right, trans)
				gotK, gotN := packed.Dims()
				require.Equal(t, [2]int{k, n}, [2]int{gotK, gotN})
				dst, whole := guarded(m * n)
				Mul(dst, m, a, packed)
				untouched(t, whole)
				require.Equal(t, want, append([]float32{}, dst...))
			})
		}
	}
}

// A block of columns, packed alone or taken from the whole, multiplies into a wider matrix and leaves the rest alone.
func TestMulPanelsOfSomeColumns(t *testing.T) {
	const m, n, k, ldd = 5, 22, 7, 26
	a, b := wave(m*k, 127), wave(k*n, 131)
	want := product(m, n, k, a, b)
	for _, trans := range []bool{false, true} {
		right := b
		if trans {
			right = transposed(k, n, b)
		}
		whole := PackB(k, n, right, trans)
		for _, c := range [][2]int{{0, 22}, {0, 3}, {4, 9}, {8, 16}, {20, 22}} {
			lo, hi := c[0], c[1]
			panels, guards := guarded(Panels(k, hi-lo))
			PackColumns(panels, k, n, right, trans, lo, hi)
			untouched(t, guards)
			for _, p := range [][]float32{panels, whole.Columns(lo, hi)} {
				dst, guards := guarded(m * ldd)
				MulPanels(dst[lo:], ldd, m, hi-lo, k, a, p)
				untouched(t, guards)
				for i, v := range dst {
					row, col := i/ldd, i%ldd
					if col < lo || col >= hi {
						require.True(t, v != v, "column %d is not of the block %v", col, c)
						continue
					}
					require.Equal(t, want[row*n+col], v, "(%d,%d) of block %v", row, col, c)
				}
			}
		}
	}
}

func TestPackBKeepsNoReference(t *testing.T) {
	b := wave(12, 131)
	p := PackB(3, 4, b, false)
	want := append([]float32{}, p.panels...)
	clear(b)
	require.Equal(t, want, p.panels)
}

// Tile adds to what is there, and with one row leaves the other alone.
func TestTile(t *testing.T) {
	for k := range 11 {
		a, panel := wave(MR*k, 127), wave(k*NR, 131)
		for rows := 1; rows <= MR; rows++ {
			var c, want [MR][NR]float32
			for r := range MR {
				for q := range NR {
					c[r][q] = float32(r) + 0.3*float32(q)
					want[r][q] = c[r][q]
					for l := range k {
						if r < rows {
							want[r][q] += float32(a[r*k+l] * panel[l*NR+q])
						}
					}
				}
			}
			Tile(&c, a[:rows*k], k, panel)
			require.Equal(t, want, c, "k %d, %d rows", k, rows)
		}
	}
}

func TestMulDoesNotAllocate(t *testing.T) {
	a, b, dst := wave(3*8, 127), PackB(8, 9, wave(8*9, 131), false), make([]float32, 27)
	require.Zero(t, testing.AllocsPerRun(10, func() { Mul(dst, 3, a, b) }))
}
