// Package peak measures what a core can do at most.
package peak

// GFlops returns the float32 GFLOP/s of a loop of nothing but fused multiply-adds on this core, by the given clock in
// seconds, 0 where there is no such loop for the processor.
func GFlops(clock func() float64) float64 {
	best := 0.0
	for range 10 {
		const n = 100_000
		start := clock()
		ops := run(n)
		best = max(best, float64(ops)/(clock()-start)/1e9)
	}
	return best
}
