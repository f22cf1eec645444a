// Package cholesky inverts the factors of covariances.
package cholesky

import "math"

// Packed is the length of a packed lower triangle of k rows; row i starts at Packed(i).
func Packed(k int) int { return k * (k + 1) / 2 }

// Invert replaces the packed lower triangle of a symmetric k x k matrix A by L^-1, where A = L L' (L lower
// triangular with a positive diagonal), in k^3/3 multiplications. It reports whether A is positive definite.
func Invert(a []float64, k int) bool {
	row := func(i int) []float64 { return a[Packed(i):Packed(i+1)] }
	for i := range k {
		ri := row(i)
		for j := range i + 1 {
			rj := row(j)
			sum := ri[j]
			for t := range j {
				sum -= ri[t] * rj[t]
			}
			if j < i {
				ri[j] = sum / rj[j]
				continue
			}
			if !(sum > 0) || math.IsInf(sum, 0) {
				return false
			}
			ri[i] = math.Sqrt(sum)
		}
	}
	// Row i of the inverse is (e_i - sum_t L_it (row t of the inverse)) / L_ii.
	l := make([]float64, k)
	for i := range k {
		ri := row(i)
		copy(l, ri)
		clear(ri)
		for t := range i {
			for j, v := range row(t) {
				ri[j] -= l[t] * v
			}
		}
		ri[i] = 1
		for j := range ri {
			ri[j] /= l[i]
		}
	}
	return true
}
