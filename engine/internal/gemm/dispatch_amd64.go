package gemm

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// native are the ISAs that the processor has. GODEBUG=cpu.avx512f=off, or cpu.avx2=off, hides them.
func native() (s []*ISA) {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return nil
	}
	if cpu.X86.HasAVX512F {
		s = append(s, isa("avx512", true, avx512x8x32, avx512x8x48, avx512x4x32, 16))
	}
	return append(s, isa("avx2", true, avx2x4x24, avx2x4x24, avx2x4x24, 8))
}

// tile computes a whole tile, as Part says, but that at is nil for the portable kernels alone; init is nil where it goes on from what
// is in c. Columns from cols on, which the last step holds, are left alone. The calls are direct, so that nothing escapes.
func tile(i id, steps int, a, b []float32, at []int, init []float32, to Bounds, c []float32, ldc, cols int) {
	last := 1<<(cols-sizes[i][1]+step[i]) - 1
	switch i {
	case avx512x8x16:
		tile8x16AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc, last)
	case avx512x8x32:
		tile8x32AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc, last)
	case avx512x8x48:
		tile8x48AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc, last)
	case avx512x4x32:
		tile4x32AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc, last)
	case avx2x4x24:
		tile4x24AVX2(steps, a, b, at, init, to.Lo, to.Hi, c, ldc)
	default:
		tileGo(i, steps, a, b, at, init, to, c, ldc)
	}
}

// tall goes on from c, two columns of four bands of a, with the columns of which b's rows begin.
func tall(steps int, a []float32, band int, b []float32, ldb int, to Bounds, c *[2][tallRows]float32) {
	tile32x2AVX2(steps, a, band, b, ldb, to.Lo, to.Hi, c)
}

// planes is Plane for so many whole vectors of columns.
func planes(lanes int, c []float32, ldc, rows, blocks int, w, b []float32, ldb int, at []int, init float32, to Bounds) {
	for rows > 0 {
		n := 1
		switch {
		case rows >= 8 && lanes == 16:
			n = 8
			plane8AVX512(w, b, ldb, at, init, to.Lo, to.Hi, c, ldc, blocks)
		case rows >= 8:
			n = 8
			plane8AVX2(w, b, ldb, at, init, to.Lo, to.Hi, c, ldc, blocks)
		case rows >= 3 && lanes == 16:
			n = 3
			plane3AVX512(w, b, ldb, at, init, to.Lo, to.Hi, c, ldc, blocks)
		case rows >= 3:
			n = 3
			plane3AVX2(w, b, ldb, at, init, to.Lo, to.Hi, c, ldc, blocks)
		case lanes == 16:
			plane1AVX512(w, b, ldb, at, init, to.Lo, to.Hi, c, ldc, blocks)
		default:
			plane1AVX2(w, b, ldb, at, init, to.Lo, to.Hi, c, ldc, blocks)
		}
		if rows -= n; rows > 0 {
			c, b = c[n*ldc:], b[n*ldb:]
		}
	}
}

// gather is gatherGo.
func gather(i id, dst, src []float32, at []int, segments []Segment, stride int) {
	if i >= avx512x8x16 && gatherVectors(dst, src, at, segments, stride) {
		return
	}
	words := unsafe.Slice((*int)(unsafe.Pointer(unsafe.SliceData(segments))), 3*len(segments))
	gatherAVX2(dst, src, at, words, stride)
}

// pieces is from how many segments a vector of a panel's columns may come.
const pieces = 6

// piece is a segment's part of a vector: lane i of those that are set in lanes is src[at[l]+from+i].
type piece struct{ from, lanes int }

// gatherVectors is gather for 16 columns at a time, unless some of them come from too many places.
func gatherVectors(dst, src []float32, at []int, segments []Segment, stride int) bool {
	var all [largest / 8 / 16][pieces]piece
	var n [len(all)]int
	for _, s := range segments {
		for lo, end := s.To, s.To+s.Cols; lo < end; {
			v := lo / 16
			hi := min(16*(v+1), end)
			if n[v] == pieces {
				return false
			}
			all[v][n[v]] = piece{s.From - s.To + 16*v, 1<<(hi-16*v) - 1<<(lo-16*v)}
			n[v]++
			lo = hi
		}
	}
	for v, n := range n {
		if n == 0 {
			break
		}
		words := unsafe.Slice((*int)(unsafe.Pointer(&all[v])), 2*pieces)
		switch to := dst[16*v:]; n {
		case 1:
			column1AVX512(to, src, at, words, stride)
		case 2:
			column2AVX512(to, src, at, words, stride)
		case 3:
			column3AVX512(to, src, at, words, stride)
		case 4:
			column4AVX512(to, src, at, words, stride)
		case 5:
			column5AVX512(to, src, at, words, stride)
		case 6:
			column6AVX512(to, src, at, words, stride)
		}
	}
	return true
}
