// Package index is the arithmetic of indices: what lies beyond the ends of a line of n, and quotients that round one way for
// negative numbers, too.
package index

// Mirror folds i into [0,n) by reflection at both ends, whose elements are repeated: 2 1 0 0 1 2 2 1 for n = 3.
func Mirror(i, n int) int {
	i = wrap(i, 2*n)
	return min(i, 2*n-1-i)
}

// Reflect folds i into [0,n) by reflection about the first and the last element, which are not repeated: 2 1 0 1 2 1 0 for
// n = 3 (numpy's "reflect").
func Reflect(i, n int) int {
	period := max(2*n-2, 1)
	i = wrap(i, period)
	return min(i, 2*n-2-i)
}

// wrap is i modulo n, not negative.
func wrap(i, n int) int {
	if i %= n; i < 0 {
		i += n
	}
	return i
}

// FloorDiv is a/b rounded down; b > 0.
func FloorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// CeilDiv is a/b rounded up; b > 0.
func CeilDiv(a, b int) int { return -FloorDiv(-a, b) }

// RoundUp is the least multiple of k that is not less than n.
func RoundUp(n, k int) int { return CeilDiv(n, k) * k }
