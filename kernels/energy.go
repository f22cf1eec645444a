package kernels

import (
	"fmt"
	"math"
)

// Energy is the data term of scores on the scale of held-out normal images, and its slope (loop.Hinge):
//
//	z = (s - Q50)/(Q995 - Q50),  E = sum of Weight log(1 + [z + Margin]_+) over a window,  DS = dE/ds
type Energy struct {
	Windows int
	Bounds  Ptr // int32 [Windows+1]: window k has scores Bounds[k] to Bounds[k+1]

	Q50, Q995, Weight, Margin float64

	S  Ptr // float32 [L]
	E  Ptr // float64 [Windows]
	DS Ptr // float32 [L]
}

// Enqueue launches the kernel.
func (e Energy) Enqueue(q Queue) error {
	if e.Windows < 1 || e.Windows > math.MaxInt32 {
		return fmt.Errorf("kernels: energy: %d windows", e.Windows)
	}
	for _, v := range []float64{e.Q50, e.Q995, e.Weight, e.Margin} {
		if v-v != 0 {
			return fmt.Errorf("kernels: energy: quantiles %g and %g, weight %g, margin %g are not finite", e.Q50, e.Q995, e.Weight, e.Margin)
		}
	}
	if e.Q995 == e.Q50 {
		return fmt.Errorf("kernels: energy: both quantiles are %g", e.Q50)
	}
	if err := aligned("energy", 4, named{"bounds", e.Bounds}, named{"s", e.S}, named{"ds", e.DS}); err != nil {
		return err
	}
	if err := aligned("energy", 8, named{"e", e.E}); err != nil {
		return err
	}
	double := func(v float64) Arg { return Uint64(math.Float64bits(v)) }
	return q.Launch(Launch{
		Module: "energy", Kernel: "energy", Grid: [3]int{e.Windows}, Block: 128, Shared: 128 * 8,
		Args: []Arg{e.Bounds.Arg(), e.S.Arg(), double(e.Q50), double(e.Q995 - e.Q50), double(e.Weight), double(e.Margin), e.E.Arg(), e.DS.Arg()},
		Cost: e.Cost(0),
	})
}

// Cost is that of one launch of so many scores.
func (e Energy) Cost(scores int) Cost {
	return Cost{Bytes: 8*int64(scores) + 12*int64(e.Windows), Flops: 60 * int64(scores)}
}
