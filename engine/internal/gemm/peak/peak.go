// Package peak is for benchmarks: what a core can do at most, and a clock that other processes do not disturb.
package peak

// GFlops returns the float32 GFLOP/s of a loop of nothing but fused multiply-adds on one core, 0 where there is no such
// loop for the processor.
func GFlops() float64 {
	best := 0.0
	for range 10 {
		const n = 100_000
		start := Clock()
		ops := run(n)
		best = max(best, float64(ops)/(Clock()-start)/1e9)
	}
	return best
}
