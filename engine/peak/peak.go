// Package peak is for benchmarks: what the cores and the memory can do at most, and a clock that other processes do not disturb.
package peak

import (
	"sync"
	"time"
)

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

// CopyBytes is what Copy reads, and writes as much: more than the caches of most processors hold.
const CopyBytes = 1 << 28

// Rates are a machine's ceilings: the most that was seen of several tries, by the clock on the wall.
type Rates struct {
	Threads int     `json:"threads"`
	Unit    string  `json:"unit"`        // of the multiply-adds; "": there is no loop for this processor
	Flops   float64 `json:"flops_per_s"` // of multiply-adds in registers, float32, two for each; 0: not known
	Copy    float64 `json:"bytes_per_s"` // read and written while memory is copied
}

// Ceilings measures what so many threads at once can do at most. It takes half a GiB of memory for the time being, and some
// tenths of a second.
func Ceilings(threads int) Rates {
	const tries = 5
	r := Rates{Threads: threads, Unit: unit}
	for range tries {
		start := time.Now()
		if ops := Run(threads); ops > 0 {
			r.Flops = max(r.Flops, ops/time.Since(start).Seconds())
		}
	}
	src, dst := make([]byte, CopyBytes), make([]byte, CopyBytes)
	copyAll(threads, dst, src) // the system gives pages when they are first written
	clear(src)
	for range tries {
		start := time.Now()
		copyAll(threads, dst, src)
		r.Copy = max(r.Copy, 2*CopyBytes/time.Since(start).Seconds())
	}
	return r
}

// copyAll copies src to dst, each thread its part.
func copyAll(threads int, dst, src []byte) {
	var all sync.WaitGroup
	for i := range threads {
		from, to := len(src)*i/threads, len(src)*(i+1)/threads
		all.Go(func() { copy(dst[from:to], src[from:to]) })
	}
	all.Wait()
}
