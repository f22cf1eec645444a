package pixel

import (
	"bytes"
	"iter"
	"unsafe"
)

// Runs visits the pixels that are in, as runs of those that follow each other: from the first one to, but not including, the one after
// the last. Those that are not in cost next to nothing.
func Runs(in []bool) iter.Seq2[int, int] {
	of := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(in))), len(in)) // 1 is true: finding a byte is a matter of vectors
	return func(visit func(from, to int) bool) {
		for at := 0; at < len(of); {
			from := bytes.IndexByte(of[at:], 1)
			if from < 0 {
				return
			}
			from += at
			if at = bytes.IndexByte(of[from:], 0); at < 0 {
				at = len(of) - from
			}
			if at += from; !visit(from, at) {
				return
			}
		}
	}
}
