package kernels

import (
	"fmt"
	"math"
)

// Softmax normalises along the middle axis of X [Outer,N,Inner] to Out.
type Softmax struct {
	Outer, N, Inner int
	X, Out          Ptr // may be the same
}

// Enqueue launches the kernel.
func (s Softmax) Enqueue(q Queue) error {
	if s.Outer < 1 || s.N < 1 || s.Inner < 1 || s.Outer*s.Inner > math.MaxInt32-3 || s.N > math.MaxInt32-32 {
		return fmt.Errorf("kernels: softmax: [%d,%d,%d]", s.Outer, s.N, s.Inner)
	}
	if err := aligned("softmax", 4, named{"x", s.X}, named{"out", s.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "softmax", Kernel: "softmax", Grid: [3]int{ceil(s.Outer*s.Inner, 4)}, Block: 128,
		Args: []Arg{s.X.Arg(), Int(s.Outer * s.Inner), Int(s.N), Int(s.Inner), s.Out.Arg()},
		Cost: s.Cost(),
	})
}

// Cost is that of one launch.
func (s Softmax) Cost() Cost {
	n := int64(s.Outer) * int64(s.N) * int64(s.Inner)
	return Cost{Bytes: 8 * n, Flops: 40 * n}
}
