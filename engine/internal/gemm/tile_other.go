//go:build !amd64

package gemm

func native() []*ISA { return nil }

// tile computes a whole tile, as Part says; init is nil where it goes on from what is in c.
func tile(i id, steps int, a, b []float32, at []int, init []float32, to Bounds, c []float32, ldc, _ int) {
	tileGo(i, steps, a, b, at, init, to, c, ldc)
}

// tall is never called.
func tall(_ int, _ []float32, _ int, _ []float32, _ int, _ Bounds, _ *[2][tallRows]float32) {}

func gather(_ id, dst, src []float32, at []int, segments []Segment, stride int) {
	gatherGo(dst, src, at, segments, stride)
}

// planes is never called: Plane does without vectors here.
func planes(_ int, _ []float32, _, _, _ int, _, _ []float32, _ int, _ []int, _ float32, _ Bounds) {}
