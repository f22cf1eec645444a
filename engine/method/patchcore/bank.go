package patchcore

import (
	"context"
	"fmt"
)

// Bank searches the vectors it keeps.
type Bank interface {
	// Nearest fills winner [n] with the index of the member nearest to each of q [n,D], the lowest of equals, dist [n] with
	// the squared distances and, if it is not nil, diff [n,D] with q - member. A query that is not finite has distance NaN or
	// infinity.
	Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error
	// Supports returns, for each of q [n,D], the indices of the k nearest members, or of all if there are fewer, nearest
	// first, the lowest of equals first.
	Supports(ctx context.Context, q []float32, k int) ([][]int32, error)
}

// NewBank returns the bank that a Model searches, of the vectors rows [M,D], which it keeps. It takes up to as much memory again,
// packed for the search: a quarter where the processor multiplies bytes.
func NewBank(rows []float32, d int) (Bank, error) {
	if d < 1 || len(rows) == 0 || len(rows)%d != 0 {
		return nil, fmt.Errorf("patchcore: a bank of %d values for vectors of %d", len(rows), d)
	}
	return newBank(rows, d), nil
}

// Measured returns the share of the pairs of a query of q [n,D] and a member whose distance the search in a bank of NewBank's
// measures by itself: 1 where it is in the products of all with all.
func Measured(b Bank, q []float32) float64 {
	s, ok := b.(*bank)
	if !ok || s.sieve == nil || len(q) == 0 {
		return 1
	}
	n := len(q) / s.d
	return float64(s.nearestSieved(q, make([]int32, n), make([]float64, n))) / float64(n) / float64(s.members)
}
