package gemm

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
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
func (s *ISA) product(m, n, k int, a, b []float32) []float32 {
	c := make([]float32, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				c[i*n+j] = s.MulAdd(a[i*k+l], b[l*n+j], c[i*n+j])
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

// each runs a test for every ISA and for each of its kernels.
func each(t *testing.T, test func(t *testing.T, s *ISA, k *Kernel)) {
	for _, s := range ISAs() {
		for name, k := range map[string]*Kernel{"many": &s.Many, "wide": &s.Wide, "few": &s.Few} {
			t.Run(fmt.Sprintf("%s %s %dx%d", s.Name, name, k.Rows, k.Cols), func(t *testing.T) { test(t, s, k) })
		}
	}
}

func TestMulAddRoundsOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	fused, plain := &ISA{Fused: true}, &ISA{}
	differ := 0
	for range 200_000 {
		a, b := float32(rng.NormFloat64()), float32(rng.NormFloat64())
		c := float32(rng.NormFloat64() * math.Exp2(float64(rng.IntN(120)-60)))
		if rng.IntN(4) == 0 { // where rounding twice would show: the exact sum lies just beside a tie
			a, b = 1+float32(rng.IntN(8))*0x1p-23, 1+float32(rng.IntN(8))*0x1p-23
			c = 0x1p24 * (1 + float32(rng.IntN(4))*0x1p-23) * float32(1-2*rng.IntN(2))
		}
		exact := new(big.Float).SetPrec(500).SetFloat64(float64(a) * float64(b))
		want, _ := exact.Add(exact, big.NewFloat(float64(c))).Float32()
		if got := fused.MulAdd(a, b, c); got != want {
			t.Fatalf("%g*%g+%g is %g, want %g", a, b, c, got, want)
		}
		if plain.MulAdd(a, b, c) != want {
			differ++
		}
	}
	require.NotZero(t, differ)
}

// The shapes hit every remainder of rows and columns, sums of none and of several parts, and several blocks.
func TestMulIsItsDefinition(t *testing.T) {
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		shapes := [][3]int{{1, 1, 1}, {3, 5, 0}, {2, 17, 31}, {9, k.Cols + 1, 3}, {3, 40, Depth}, {5, 33, Depth + 1}, {2, 9, 3*Depth - 1},
			{blockRows + 3, 5, 9}, {3, blockCols + k.Cols + 1, 6}}
		for m := range 2*k.Rows + 1 {
			for n := range 2*k.Cols + 1 {
				shapes = append(shapes, [3]int{m + 1, n + 1, 7})
			}
		}
		for _, shape := range shapes {
			m, n, depth := shape[0], shape[1], shape[2]
			a, b := wave(m*depth, 127), wave(depth*n, 131)
			want := s.product(m, n, depth, a, b)
			packedA, guardsA := guarded(k.SizeA(m, depth))
			k.PackA(packedA, m, depth, a)
			untouched(t, guardsA)
			for _, trans := range []bool{false, true} {
				right := b
				if trans {
					right = transposed(depth, n, b)
				}
				packedB, guardsB := guarded(k.SizeB(depth, n))
				k.PackB(packedB, depth, n, right, trans, 0, n)
				untouched(t, guardsB)
				ldd := n + 3
				dst, guards := guarded(m * ldd)
				k.Mul(dst, ldd, m, n, depth, packedA, packedB)
				untouched(t, guards)
				for i, v := range dst {
					if row, col := i/ldd, i%ldd; col >= n {
						require.True(t, v != v, "column %d is not of the product", col)
					} else if v != want[row*n+col] {
						t.Fatalf("%dx%dx%d trans=%t (%d,%d): %g, want %g", m, n, depth, trans, row, col, v, want[row*n+col])
					}
				}
			}
		}
	})
}

// Columns that are packed by themselves give what they give as part of the whole.
func TestPackBOfSomeColumns(t *testing.T) {
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		const depth = 7
		n := 3*k.Cols + 1
		b := wave(depth*n, 131)
		whole := make([]float32, k.SizeB(depth, n))
		k.PackB(whole, depth, n, b, false, 0, n)
		for lo := 0; lo < n; lo += k.Cols {
			part := make([]float32, k.SizeB(depth, n-lo))
			k.PackB(part, depth, n, b, false, lo, n)
			require.Equal(t, whole[lo*depth:], part)
		}
	})
}

// A part begins with init or with what is there, reads b where at says, and keeps to its rows and columns.
func TestPart(t *testing.T) {
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		for _, steps := range []int{0, 1, 2, 11, Depth} {
			a, b := wave(k.Rows*steps, 127), wave(steps*5+100+k.Cols, 131)
			init := wave(k.Rows, 31)
			at := make([]int, steps)
			for l := range at {
				at[l] = l * l % (len(b) - k.Cols + 1)
			}
			for rows := 1; rows <= k.Rows; rows++ {
				for cols := 1; cols <= k.Cols; cols++ {
					for _, more := range []bool{false, true} {
						to := Unbounded()
						if rows%2 == 0 {
							to = Bounds{-0.3, 0.4}
						}
						ldc := k.Cols + 2
						c, guards := guarded(rows * ldc)
						want := make([]float32, rows*ldc)
						for i := range want {
							r, j := i/ldc, i%ldc
							want[i] = init[r]
							if more && j < cols {
								c[i] = float32(r) + 0.3*float32(j)
								want[i] = c[i]
							}
							for l := 0; l < steps && j < cols; l++ {
								want[i] = s.MulAdd(a[l*k.Rows+r], b[at[l]+j], want[i])
							}
							want[i] = min(max(want[i], to.Lo), to.Hi)
						}
						k.Part(c[:(rows-1)*ldc+cols], ldc, rows, cols, steps, a, b, at, init, more, to)
						untouched(t, guards)
						for i, v := range c {
							if j := i % ldc; j >= cols {
								require.True(t, v != v, "column %d is not of the part", j)
							} else if v != want[i] {
								t.Fatalf("%d steps, %dx%d, more=%t, [%d]: %g, want %g", steps, rows, cols, more, i, v, want[i])
							}
						}
					}
				}
			}
		}
	})
}

// A panel begins with init or with what is there, for any number of rows and columns, and keeps to them.
func TestPanel(t *testing.T) {
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		const steps, more = 7, 3 // floats from one band's part to the next
		for _, m := range []int{1, k.Rows + 1, tallRows - 1, tallRows, 2*tallRows + k.Rows + 1} {
			band := k.Rows*steps + more
			bands := (m + k.Rows - 1) / k.Rows
			a, b := wave(bands*band, 127), wave(steps*k.Cols, 131)
			init := wave(bands*k.Rows, 31)
			for cols := 1; cols <= k.Cols; cols++ {
				for _, more := range []bool{false, true} {
					to := Unbounded()
					if cols%2 == 0 {
						to = Bounds{-0.3, 0.4}
					}
					ldc := k.Cols + 2
					c, guards := guarded(m * ldc)
					want := make([]float32, m*ldc)
					for i := range want {
						r, j := i/ldc, i%ldc
						want[i] = init[r]
						if more && j < cols {
							c[i] = 0.1*float32(r) + 0.3*float32(j)
							want[i] = c[i]
						}
						for l := 0; l < steps && j < cols; l++ {
							want[i] = s.MulAdd(a[r/k.Rows*band+l*k.Rows+r%k.Rows], b[l*k.Cols+j], want[i])
						}
						want[i] = min(max(want[i], to.Lo), to.Hi)
					}
					k.Panel(c[:(m-1)*ldc+cols], ldc, m, cols, steps, a, band, b, init, more, to)
					untouched(t, guards)
					for i, v := range c {
						if j := i % ldc; j >= cols {
							require.True(t, v != v, "column %d is not of the panel's", j)
						} else if v != want[i] {
							t.Fatalf("%d x %d, more=%t, [%d]: %g, want %g", m, cols, more, i, v, want[i])
						}
					}
				}
			}
		}
	})
}

// NaN stays NaN, whichever tile it is in.
func TestPanelKeepsNaN(t *testing.T) {
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		for cols := 1; cols <= k.Cols; cols++ {
			a, b := wave(k.SizeA(tallRows, 2), 127), wave(2*k.Cols, 131)
			b[k.Cols+cols-1] = float32(math.NaN())
			c := make([]float32, tallRows*cols)
			k.Panel(c, cols, tallRows, cols, 2, a, 2*k.Rows, b, make([]float32, tallRows), false, Bounds{0, 1})
			for i, v := range c {
				require.Equal(t, i%cols == cols-1, v != v, "%d columns, %d", cols, i)
			}
		}
	})
}

func TestFitTakesWideForOnePanel(t *testing.T) {
	for _, s := range ISAs() {
		for cols := range 200 {
			k := s.Fit(cols)
			if s.Many.Cols == s.Wide.Cols || cols <= s.Many.Cols || cols > s.Wide.Cols+tallMost {
				require.Same(t, &s.Many, k, "%s, %d", s.Name, cols)
			} else {
				require.Same(t, &s.Wide, k, "%s, %d", s.Name, cols)
			}
		}
		require.Equal(t, s.Many.Rows, s.Wide.Rows, "A is packed for one and read by the other")
	}
}

func TestGather(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		for range 300 {
			at := make([]int, rng.IntN(12))
			for l := range at {
				at[l] = rng.IntN(50)
			}
			var segments []Segment
			cols := 0
			widest := max(k.Cols>>rng.IntN(5), 1) // from many places, or from few
			for cols < k.Cols && rng.IntN(8*k.Cols/widest) > 0 {
				n := 1 + rng.IntN(min(widest, k.Cols-cols))
				segments = append(segments, Segment{cols, rng.IntN(200), n})
				cols += n
			}
			src := wave(250+k.Cols+Slack, 8191)
			dst, guards := guarded(len(at)*k.Cols + Slack)
			k.Gather(dst, src, at, segments)
			untouched(t, guards)
			for l, o := range at {
				for _, seg := range segments {
					require.Equal(t, src[o+seg.From:][:seg.Cols], dst[l*k.Cols+seg.To:][:seg.Cols:seg.Cols], "row %d of %d, %+v of %v",
						l, len(at), seg, segments)
				}
			}
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	each(t, func(t *testing.T, s *ISA, k *Kernel) {
		const m, n, depth = 9, 70, 300
		a, b := make([]float32, k.SizeA(m, depth)), make([]float32, k.SizeB(depth, n)+Slack)
		dst, segments := make([]float32, m*n), []Segment{{0, 0, 3}, {3, 50, 1}}
		require.Zero(t, testing.AllocsPerRun(10, func() {
			k.PackA(a, m, 8, dst)
			k.PackB(b, depth, 1, dst, true, 0, 1)
			k.Gather(b, dst, along[k.id][:2], segments)
			k.Mul(dst, n, m, n, depth, a, b)
		}))
	})
}

func TestISAsAreInOrder(t *testing.T) {
	all := ISAs()
	require.Same(t, all[0], Best())
	require.Equal(t, "go", all[len(all)-1].Name)
	for i, s := range all {
		require.Equal(t, i < len(all)-1, s.Fused, s.Name)
		for _, k := range []Kernel{s.Many, s.Wide, s.Few} {
			require.LessOrEqual(t, k.Rows*k.Cols, largest)
			require.LessOrEqual(t, k.Rows, len(zeros))
		}
	}
}
