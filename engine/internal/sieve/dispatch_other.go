//go:build !amd64

package sieve

var only = []*Kernel{{"go", portable}}

func available() []*Kernel { return only }

// What stands for the assembly is never called.

func keepFast(_ id, _ []int8, _, _ int, _ []uint8, _ []int32, _ *[Rows]int32, _ *working) int {
	return 0
}
func mostFast(_ id, _ []int8, _, _ int, _ []uint8, _ []int32, _ *working) {}

func quantize(y []int8, x, centre []float32, inverse, step float32, to *sums) {
	quantizeGo(y, x, centre, inverse, step, to)
}

// Squares sets each of to to the squared distance of a pair of rows of q and of rows, both [,d], summed up in float32 in
// some order.
func Squares(to []float32, pairs []Pair, q, rows []float32, d int) { squaresGo(to, pairs, q, rows, d) }
