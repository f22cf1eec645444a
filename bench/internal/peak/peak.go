// Package peak does fused multiply-adds in registers, as many as the cores can: the ceiling that products are measured by.
package peak

import "sync"

// loops is how many rounds Run does on each thread: a few milliseconds.
const loops = 1 << 20

// Unit names the widest vectors that are used, "AVX-512" or "AVX2"; "" where there is no loop for this machine.
func Unit() string { return unit }

// Run keeps so many threads busy at once and returns the floating-point operations that all of them did, an addition and a
// multiplication of a float32 each counting. Where Unit is "" it does nothing and returns 0.
func Run(threads int) float64 {
	var all sync.WaitGroup
	for range threads {
		all.Go(func() { spin(loops) })
	}
	all.Wait()
	return float64(threads) * loops * perLoop
}
