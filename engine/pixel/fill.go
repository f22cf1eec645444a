package pixel

import (
	"math"

	"f2pad.example/engine/internal/vec"
)

// FillMin compares an image with K fills: sq[k][p] = ||y_p - fill_k,p||^2 over the channels and r[p] = min_k sqrt(sq[k][p]).
// y is [C,n], fills [K,C,n], sq [K,n], r [n] with n pixels. A pixel is normal if any fill explains it.
func FillMin(y, fills []float32, k, c, n int, sq, r []float32) {
	for p := range r[:n] {
		r[p] = float32(math.Inf(1))
	}
	d := make([]float32, n)
	for f := range k {
		d2 := sq[f*n : (f+1)*n]
		clear(d2)
		for ch := range c {
			vec.Sub(d, y[ch*n:], fills[(f*c+ch)*n:])
			vec.Mul(d, d, d)
			vec.Add(d2, d2, d)
		}
		for p, v := range d2 {
			r[p] = min(r[p], v)
		}
	}
	for p, v := range r[:n] {
		r[p] = float32(math.Sqrt(float64(v)))
	}
}

// Least is, per pixel of n, the index of the smallest of the K values cost [K,n]; the first of equals.
func Least(cost []float32, k, n int, best []int32) {
	clear(best[:n])
	for f := 1; f < k; f++ {
		c := cost[f*n : (f+1)*n]
		for p, v := range c {
			if v < cost[int(best[p])*n+p] {
				best[p] = int32(f)
			}
		}
	}
}
