package goexec

import (
	"math"
	"slices"
	"sync"
	"weak"
)

// weights are a node's, packed for a kernel.
type weights struct{ floats []float32 }

// store keeps equal weights once: networks are compiled for many sizes of images. What no net uses any more goes.
type store struct {
	mu  sync.Mutex
	all map[storeKey][]weak.Pointer[weights]
	due int // keys at which the next sweep is worth its time: it visits all
}

type storeKey struct {
	n   int
	sum uint64 // of the values
}

// keep returns w, or what is equal to it and was kept before.
func (s *store) keep(w []float32) *weights {
	k := storeKey{n: len(w), sum: 14695981039346656037} // FNV-1a, a value at a time
	for _, v := range w {
		k.sum = (k.sum ^ uint64(math.Float32bits(v))) * 1099511628211
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all[k] {
		if kept := p.Value(); kept != nil && slices.Equal(kept.floats, w) {
			return kept
		}
	}
	if s.all == nil {
		s.all = map[storeKey][]weak.Pointer[weights]{}
	}
	if len(s.all) >= s.due {
		s.sweep()
		s.due = 2*len(s.all) + leastSweep
	}
	kept := &weights{w}
	s.all[k] = append(s.all[k], weak.Make(kept))
	return kept
}

// leastSweep is the number of keys that are not worth a sweep.
const leastSweep = 64

// sweep forgets what no net uses any more. A network of depthwise convolutions keeps thousands of weights: sweeping for each of
// them would take the time of their square.
func (s *store) sweep() {
	for key, list := range s.all {
		list = slices.DeleteFunc(list, func(p weak.Pointer[weights]) bool { return p.Value() == nil })
		if s.all[key] = list; len(list) == 0 {
			delete(s.all, key)
		}
	}
}
