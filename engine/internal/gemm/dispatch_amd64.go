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
// is in c. The calls are direct, so that nothing escapes.
func tile(i id, steps int, a, b []float32, at []int, init []float32, to Bounds, c []float32, ldc int) {
	switch i {
	case avx512x8x16:
		tile8x16AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc)
	case avx512x8x32:
		tile8x32AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc)
	case avx512x8x48:
		tile8x48AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc)
	case avx512x4x32:
		tile4x32AVX512(steps, a, b, at, init, to.Lo, to.Hi, c, ldc)
	case avx2x4x24:
		tile4x24AVX2(steps, a, b, at, init, to.Lo, to.Hi, c, ldc)
	default:
		tileGo(i, steps, a, b, at, init, to, c, ldc)
	}
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

func gather(dst, src []float32, at []int, segments []Segment, stride int) {
	words := unsafe.Slice((*int)(unsafe.Pointer(unsafe.SliceData(segments))), 3*len(segments))
	gatherAVX2(dst, src, at, words, stride)
}
