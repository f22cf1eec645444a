package patchcore

import (
	"fmt"

	"f2pad.example/engine/method"
)

// NewBank returns the bank that a Model searches on the CPU, of the vectors rows [M,D], which it keeps: what
// method.Device's Bank is on a device. It takes up to as much memory again, packed for the search: a quarter where the
// processor multiplies bytes.
func NewBank(rows []float32, d int) (method.Bank, error) {
	if d < 1 || len(rows) == 0 || len(rows)%d != 0 {
		return nil, fmt.Errorf("patchcore: a bank of %d values for vectors of %d", len(rows), d)
	}
	return newBank(rows, d), nil
}

// Measured returns the share of the pairs of a query of q [n,D] and a member whose distance the search in a bank of NewBank's
// measures by itself: 1 where it is in the products of all with all.
func Measured(b method.Bank, q []float32) float64 {
	s, ok := b.(*bank)
	if !ok || s.sieve == nil || len(q) == 0 {
		return 1
	}
	n := len(q) / s.d
	return float64(s.nearestSieved(q, make([]int32, n), make([]float64, n))) / float64(n) / float64(s.members)
}
