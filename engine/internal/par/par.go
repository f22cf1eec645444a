// Package par runs loops on all cores. What a loop computes never depends on how many there are: bodies write disjoint
// results, and sums are taken in index order by the caller.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// For calls body(i) for every i in [0,n), on up to GOMAXPROCS goroutines. It returns when all have returned.
func For(n int, body func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			body(i)
		}
		return
	}
	var next atomic.Int64
	run := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			body(i)
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(run)
	}
	run()
	wg.Wait()
}

// Range calls body(lo, hi) for consecutive ranges of at most grain indices that cover [0,n).
func Range(n, grain int, body func(lo, hi int)) {
	grain = max(grain, 1)
	For((n+grain-1)/grain, func(i int) { body(i*grain, min((i+1)*grain, n)) })
}

// Err is For with bodies that may fail; it returns the error of the lowest index, so that the message does not depend
// on timing.
func Err(n int, body func(i int) error) error {
	errs := make([]error, n)
	For(n, func(i int) { errs[i] = body(i) })
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
