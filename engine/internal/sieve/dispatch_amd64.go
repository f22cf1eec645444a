package sieve

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/cpu"
)

var available = sync.OnceValue(func() (all []*Kernel) {
	if wide {
		if cpu.X86.HasAMXTile && cpu.X86.HasAMXInt8 && tilesAllowed() {
			all = append(all, &Kernel{"amx", amx})
		}
		all = append(all, &Kernel{"vnni", vnni})
	}
	return append(all, &Kernel{"go", portable})
})

// wide is false with GODEBUG=cpu.avx512f=off.
var wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VNNI

// tileConfig is what LDTILECFG reads: palette 1, eight tiles of 16 rows of 64 bytes.
var tileConfig = [64]uint8{
	0: 1, 16: 64, 18: 64, 20: 64, 22: 64, 24: 64, 26: 64, 28: 64, 30: 64,
	48: 16, 49: 16, 50: 16, 51: 16, 52: 16, 53: 16, 54: 16, 55: 16,
}

func keepFast(k id, q []int8, pitch, quads int, panels []uint8, half []int32, limits *[Rows]int32, w *working) int {
	kept := unsafe.Slice((*uint64)(unsafe.SliceData(w.kept)), len(w.kept))
	if k == amx {
		return keepAMX(&tileConfig, q, pitch, pitch/depth, panels, half, w.scratch, limits[:], kept)
	}
	return keepVNNI(q, pitch, quads, panels, half, limits[:], kept)
}

func mostFast(k id, q []int8, pitch, quads int, panels []uint8, half []int32, w *working) {
	if k == amx {
		mostAMX(&tileConfig, q, pitch, pitch/depth, panels, half, w.scratch, w.most[:])
		return
	}
	mostVNNI(q, pitch, quads, panels, half, w.most[:])
}

func quantize(y []int8, x, centre []float32, inverse, step float32, to *sums) {
	whole := 0
	if wide {
		whole = len(y) &^ (lanes - 1)
		quantizeAVX512(y[:whole], x, centre, inverse, step, (*[4][lanes]uint32)(unsafe.Pointer(to)))
	}
	quantizeGo(y[whole:], x[whole:], centre[whole:], inverse, step, to)
}

// Squares sets each of to to the squared distance of a pair of rows of q and of rows, both [,d], summed up in float32 in
// some order.
func Squares(to []float32, pairs []Pair, q, rows []float32, d int) {
	if !wide {
		squaresGo(to, pairs, q, rows, d)
		return
	}
	squaresAVX512(to[:len(pairs)], unsafe.Slice((*[2]int32)(unsafe.Pointer(unsafe.SliceData(pairs))), len(pairs)), q, rows, d)
}
