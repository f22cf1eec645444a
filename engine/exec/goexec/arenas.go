package goexec

import (
	"slices"
	"sync"
)

// arenas are an Executor's memory, lent to nets while they run, and from a Forward to its Backward. Nets that wait hold none: networks
// are compiled for many sizes of images, and few of them run at a time. There are never more than were lent at once.
type arenas struct {
	mu   sync.Mutex
	free [][]float32 // ascending by length
}

// take lends at least so many floats, which may hold anything: the smallest that there is, or new ones in the place of some too small.
func (a *arenas) take(floats int) []float32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.free, floats, func(f []float32, n int) int { return len(f) - n })
	if i < len(a.free) {
		f := a.free[i]
		a.free = slices.Delete(a.free, i, i+1)
		return f
	}
	if i > 0 {
		a.free = slices.Delete(a.free, i-1, i)
	}
	return make([]float32, floats)
}

// give takes back what was lent.
func (a *arenas) give(lent ...[]float32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range lent {
		i, _ := slices.BinarySearchFunc(a.free, len(f), func(f []float32, n int) int { return len(f) - n })
		a.free = slices.Insert(a.free, i, f)
	}
}
