// Package gemm multiplies float32 matrices: C[m,n] = A[m,k] * B[k,n]. Both sides are packed first: A into bands of rows,
// B into panels of columns, so that a micro-kernel reads either from one end to the other while its tile of C stays in
// registers.
//
// Every element of C is one sum over k in ascending order, in float32, and every step of it is one multiply-add: fused
// (rounded once) on processors with AVX2 and FMA, else rounded after the product and after the sum. So a result depends
// neither on where its row and column lie nor on how the work is cut up, and all instruction sets that fuse give the same
// bits; only between those that do and those that do not may the last bits differ. Nothing here starts goroutines: callers
// share out rows or panels.
package gemm

import "math"

// Bounds are where results are clipped: to Lo where they are less, to Hi where they are more. NaN stays.
type Bounds struct{ Lo, Hi float32 }

// Unbounded clips nothing.
func Unbounded() Bounds { return Bounds{float32(math.Inf(-1)), float32(math.Inf(1))} }

// clip is for the portable kernels.
func (b Bounds) clip(x []float32) {
	if b == Unbounded() {
		return
	}
	for i, v := range x {
		if v < b.Lo {
			x[i] = b.Lo
		} else if v > b.Hi {
			x[i] = b.Hi
		}
	}
}

// ISA is a set of micro-kernels for one instruction set. All its kernels round alike. It is immutable.
type ISA struct {
	Name  string
	Fused bool   // multiply-adds are rounded once
	Many  Kernel // for products
	Wide  Kernel // for products of many columns, where the last panel weighs little
	Few   Kernel // for products of a few rows, by wide rows of B that are not packed
	plane int    // lanes of Plane's widest vectors, 0 for none
}

// Fit is the kernel for products of so many columns: Many, or Wide where that goes over A once for all of them and Many twice.
func (s *ISA) Fit(cols int) *Kernel {
	if cols > s.Many.Cols && cols-fewBeyond(s.Wide.id, cols) <= s.Wide.Cols {
		return &s.Wide
	}
	return &s.Many
}

// Best is the fastest that the processor has.
func Best() *ISA { return available[0] }

// ISAs are all that the processor has, the fastest first, "go" last, which every one has.
func ISAs() []*ISA { return available }

// MulAdd is a*b+c, rounded as the kernels do.
func (s *ISA) MulAdd(a, b, c float32) float32 {
	if !s.Fused {
		return float32(a*b) + c
	}
	// The product is exact in float64. The sum is rounded to odd, whence rounding to float32 gives what one rounding gives.
	p, q := float64(a)*float64(b), float64(c)
	sum := p + q
	back := sum - p
	if err := (p - (sum - back)) + (q - back); err != 0 && math.Float64bits(sum)&1 == 0 { // false for NaN
		sum = math.Nextafter(sum, math.Inf(int(math.Copysign(1, err))))
	}
	return float32(sum)
}

// Kernel is a micro-kernel: what computes a tile of Rows x Cols. Its packed operands suit no other kernel, but that A suits all of an ISA's
// with as many Rows.
type Kernel struct {
	Rows, Cols int
	id         id
}

const (
	// Depth is how much of k a micro-kernel goes through at once, so that bands of A and panels of B stay in the caches
	// while they meet; tiles of C are read and written once for each. Longer sums go on from what is in C, which changes no
	// bit. Measured: 160 is 3 % slower than 256, and that than 400, for k from 384 to 2304.
	Depth = 400

	blockRows = 192 // of A, whose part of Depth (300 KiB) stays in the second-level cache
	blockCols = 512 // of C, likewise, while k goes up

	largest       = 8 * 64 // elements of a tile
	largestNarrow = 8 * 16 // of one that is narrower
)

// Depths cuts k into parts of at most Depth and of almost the same size: it returns the size.
func Depths(k int) int {
	parts := max(1, (k+Depth-1)/Depth)
	return max(1, (k+parts-1)/parts)
}

// SizeA is the number of float32 that a packed [m,k] matrix takes: its rows in bands of Rows, the last one padded with
// zeros; a band holds its k columns of Rows values one after another.
func (k *Kernel) SizeA(m, depth int) int { return (m + k.Rows - 1) / k.Rows * k.Rows * depth }

// PackA packs the first m rows of a [,depth], row-major, into dst[:SizeA(m, depth)].
func (k *Kernel) PackA(dst []float32, m, depth int, a []float32) {
	for i := 0; i < m; i += k.Rows {
		band := dst[:k.Rows*depth]
		dst = dst[k.Rows*depth:]
		rows := min(k.Rows, m-i)
		if rows == 8 && k.Rows == 8 {
			packEight(band, a[i*depth:], depth)
			continue
		}
		if rows < k.Rows {
			clear(band)
		}
		for r := range rows {
			for l, v := range a[(i+r)*depth:][:depth] {
				band[l*k.Rows+r] = v
			}
		}
	}
}

// PackTransposedA is PackA of the transposed matrix: of a [depth,m], row-major.
func (k *Kernel) PackTransposedA(dst []float32, m, depth int, a []float32) {
	for i := 0; i < m; i += k.Rows {
		band := dst[:k.Rows*depth]
		dst = dst[k.Rows*depth:]
		rows := min(k.Rows, m-i)
		if rows < k.Rows {
			clear(band)
		}
		for l := range depth {
			copy(band[l*k.Rows:][:rows], a[l*m+i:])
		}
	}
}

// packEight packs a band of eight whole rows, a column at a time: three times as fast as row by row.
func packEight(dst []float32, a []float32, depth int) {
	a0, a1, a2, a3 := a[:depth], a[depth:][:depth], a[2*depth:][:depth], a[3*depth:][:depth]
	a4, a5, a6, a7 := a[4*depth:][:depth], a[5*depth:][:depth], a[6*depth:][:depth], a[7*depth:][:depth]
	for l := range depth {
		to := dst[8*l:][:8]
		to[0], to[1], to[2], to[3] = a0[l], a1[l], a2[l], a3[l]
		to[4], to[5], to[6], to[7] = a4[l], a5[l], a6[l], a7[l]
	}
}

// SizeB is the number of float32 that a packed [depth,n] matrix takes: its columns in panels of Cols, the last one padded
// with zeros; a panel holds its rows of Cols values one after another.
func (k *Kernel) SizeB(depth, n int) int { return (n + k.Cols - 1) / k.Cols * k.Cols * depth }

// PackB packs the columns lo <= j < hi of b, row-major [depth,n] or with trans [n,depth] (n vectors, one per row), into
// dst[:SizeB(depth, hi-lo)].
func (k *Kernel) PackB(dst []float32, depth, n int, b []float32, trans bool, lo, hi int) {
	for j := lo; j < hi; j += k.Cols {
		panel := dst[:depth*k.Cols]
		dst = dst[depth*k.Cols:]
		cols := min(k.Cols, hi-j)
		if cols < k.Cols {
			clear(panel)
		}
		if trans {
			for c := range cols {
				for i, v := range b[(j+c)*depth:][:depth] {
					panel[i*k.Cols+c] = v
				}
			}
			continue
		}
		for i := range depth {
			copy(panel[i*k.Cols:][:k.Cols], b[i*n+j:][:cols])
		}
	}
}

// Mul overwrites the first n columns of the m rows of dst, which lie ldd apart, with a*b, both packed: [m,depth] and
// [depth,n]. It does not allocate. Cost: 2*m*n*depth operations.
func (k *Kernel) Mul(dst []float32, ldd, m, n, depth int, a, b []float32) {
	part := Depths(depth)
	rows, cols := blockRows/k.Rows*k.Rows, blockCols/k.Cols*k.Cols
	for j0 := 0; j0 < n; j0 += cols {
		for i0 := 0; i0 < m; i0 += rows {
			for l := 0; l == 0 || l < depth; l += part {
				steps := min(part, depth-l)
				for j := j0; j < min(j0+cols, n); j += k.Cols {
					panel := b[j*depth+l*k.Cols:][:steps*k.Cols]
					k.Panel(dst[i0*ldd+j:], ldd, min(rows, m-i0), min(k.Cols, n-j), steps, a[i0*depth+l*k.Rows:], k.Rows*depth, panel,
						zeros[:], l > 0, Unbounded())
				}
			}
		}
	}
}

var zeros [blockRows]float32

// Panel computes the first cols columns of m rows of a product: c, its rows ldc apart, begins with init, a number for each row, or with
// more goes on from what it is; then b, a packed panel of at most Depth steps, is multiplied by bands of a, which lie band apart. The
// sums are clipped in the end.
func (k *Kernel) Panel(c []float32, ldc, m, cols, steps int, a []float32, band int, b, init []float32, more bool, to Bounds) {
	few, i := fewBeyond(k.id, cols), 0
	for whole := cols - few; few > 0 && i+tallRows <= m; i += tallRows {
		for r := i; r < i+tallRows && whole > 0; r += k.Rows {
			k.Part(c[r*ldc:], ldc, k.Rows, whole, steps, a[r/k.Rows*band:], b, nil, init[r:], more, to)
		}
		for j := whole; j < cols; j += 2 {
			k.tall(c[i*ldc+j:], ldc, min(2, cols-j), steps, a[i/k.Rows*band:], band, b[j:], init[i:], more, to)
		}
	}
	for ; i < m; i += k.Rows {
		k.Part(c[i*ldc:], ldc, min(k.Rows, m-i), cols, steps, a[i/k.Rows*band:], b, nil, init[i:], more, to)
	}
}

// tall is Part for one or two columns of tallRows rows.
func (k *Kernel) tall(c []float32, ldc, cols, steps int, a []float32, band int, b, init []float32, more bool, to Bounds) {
	var sums [2][tallRows]float32
	for j := range cols {
		copy(sums[j][:], init)
		for r := 0; more && r < tallRows; r++ {
			sums[j][r] = c[r*ldc+j]
		}
	}
	tall(steps, a, band, b, k.Cols, to, &sums)
	for j := range cols {
		for r, v := range sums[j] {
			c[r*ldc+j] = v
		}
	}
}

// Part computes the first rows and cols of a tile: c, its rows ldc apart, begins with init, one number for each of Rows, or
// with more goes on from what it is; then c[r][j] += a[l*Rows+r] * b[at[l]+j] for each l < steps in ascending order.
// b must reach to Cols after each of at, whatever cols is; what is there does not matter. With at nil, b is a packed panel,
// and steps at most Depth. The sums are clipped in the end.
func (k *Kernel) Part(c []float32, ldc, rows, cols, steps int, a, b []float32, at []int, init []float32, more bool, to Bounds) {
	if more {
		init = nil
	}
	if at == nil && k.id > go1x64 {
		at = along[k.id]
	}
	i := k.id
	for n := narrower[i]; cols <= sizes[n][1]; n = narrower[i] {
		i = n
	}
	if rows == k.Rows && cols > sizes[i][1]-step[i] {
		tile(i, steps, a, b, at, init, to, c, ldc, cols)
		return
	}
	if sizes[i][1] <= largestNarrow/k.Rows {
		var whole [largestNarrow]float32
		part(i, whole[:], rows, cols, steps, a, b, at, init, to, c, ldc)
		return
	}
	var whole [largest]float32
	part(i, whole[:], rows, cols, steps, a, b, at, init, to, c, ldc)
}

// part is Part for a tile that goes beyond c: in whole, which has room for it.
func part(i id, whole []float32, rows, cols, steps int, a, b []float32, at []int, init []float32, to Bounds, c []float32, ldc int) {
	width := sizes[i][1]
	if init == nil {
		for r := range rows {
			copy(whole[r*width:][:cols], c[r*ldc:])
		}
	}
	tile(i, steps, a, b, at, init, to, whole, width, width)
	for r := range rows {
		copy(c[r*ldc:][:cols], whole[r*width:])
	}
}

// Segment is a stretch of a panel's columns whose sources lie one after another.
type Segment struct {
	To, From int // column of the panel, and where its source begins
	Cols     int
}

// Slack is how many floats behind its segments Gather may read, and behind the panel write.
const Slack = 8

// Gather packs a panel of len(at) rows whose row l holds, for each segment, src[at[l]+From:][:Cols] from column To on.
// Segments come in order of To and leave no gap, but after the last. Both dst and src must have Slack to spare.
func (k *Kernel) Gather(dst, src []float32, at []int, segments []Segment) {
	if len(at) == 0 {
		return
	}
	if k.id <= go1x64 {
		gatherGo(dst, src, at, segments, k.Cols)
		return
	}
	gather(k.id, dst, src, at, segments, k.Cols)
}
