// Package peak is for benchmarks: what the cores can do at most, and a clock that other processes do not disturb.
package peak

import "sync"

// rounds is how many of them Run does on each thread: a few milliseconds.
const rounds = 1 << 20

// Unit names the widest vectors that are used, "AVX-512" or "AVX2"; "" where there is no loop for this processor.
func Unit() string { return unit }

// Run keeps so many threads busy at once with fused multiply-adds in registers, and returns the floating-point operations that
// all of them did: two for each float32. Where Unit is "" it does nothing and returns 0.
func Run(threads int) float64 {
	var all sync.WaitGroup
	for range threads {
		all.Go(func() { loop(rounds) })
	}
	all.Wait()
	return float64(threads) * rounds * perRound
}

// GFlops is the most GFLOP/s that one core was seen to reach in Run.
func GFlops() (best float64) {
	for range 10 {
		start := Clock()
		ops := Run(1)
		best = max(best, ops/(Clock()-start)/1e9)
	}
	return best
}
