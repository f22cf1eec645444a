package vec

// SumRows sets y to the sums of w[k] times x[a[k]:] in the order of k; each product and each sum is rounded. y is apart from x.
func SumRows(y, x []float32, a []int, w []float32) {
	if n := whole(len(y)); n > 0 {
		reach(x, a, len(w), len(y))
		sumRowsAVX2(y[:n], x, a, w)
		if last := len(y) - 8; last > n-8 { // what is left over, and some once more
			sumRowsAVX2(y[last:], x[last:], a, w)
		}
		return
	}
	sumRowsGo(y, x, a, w)
}

func sumRowsGo(y, x []float32, a []int, w []float32) {
	clear(y)
	if len(y) == 0 {
		return
	}
	for k, t := range w {
		for i, v := range x[a[k]:][:len(y)] {
			y[i] += float32(t * v)
		}
	}
}

// SumPairs sets y to w[0] times x[a[0]:], then adds w[k] (x[a[k]:] + x[b[k]:]) in the order of k; each product and each sum is
// rounded. There is a w[0], and y is apart from x.
func SumPairs(y, x []float32, a, b []int, w []float32) {
	if n := whole(len(y)); n > 0 {
		reach(x, a, len(w), len(y))
		reach(x, b[1:], len(w)-1, len(y))
		sumPairsAVX2(y[:n], x, a, b, w)
		if last := len(y) - 8; last > n-8 {
			sumPairsAVX2(y[last:], x[last:], a, b, w)
		}
		return
	}
	sumPairsGo(y, x, a, b, w)
}

func sumPairsGo(y, x []float32, a, b []int, w []float32) {
	if len(y) == 0 {
		return
	}
	zero := float32(0) // which makes 0 of -0
	for i, v := range x[a[0]:][:len(y)] {
		y[i] = (v + zero) * w[0]
	}
	for k, t := range w[1:] {
		p, q := x[a[k+1]:][:len(y)], x[b[k+1]:][:len(y)]
		for i := range y {
			y[i] += float32(t * (p[i] + q[i]))
		}
	}
}

// reach panics where n elements from one of the first terms of at are not in x: the assembly would not notice.
func reach(x []float32, at []int, terms, n int) {
	for k := range terms {
		_ = x[at[k]:][:n]
	}
}

// Places is how many places Weigh works on at once, side by side, and Weighed how many sums each has.
const (
	Places  = 4
	Weighed = 6
)

// Weigh sets sum[0] to the sums of the weights g = down[j] near[at[j]+p] for the places p, and sum[1+k] to those of g v[j*ld+k], in
// the order of j; each product and each sum is rounded.
func Weigh(sum *[1 + Weighed][Places]float64, near []float64, at []int, down, v []float64, ld int) {
	if n := len(at); n > 0 {
		_, _ = down[n-1], v[(n-1)*ld:][:Weighed]
	}
	if fast {
		for _, i := range at {
			_ = near[i:][:Places]
		}
		weighAVX2(sum, near, at, down, v, ld)
		return
	}
	weighGo(sum, near, at, down, v, ld)
}

func weighGo(sum *[1 + Weighed][Places]float64, near []float64, at []int, down, v []float64, ld int) {
	for p := range Places {
		var total, a0, a1, a2, a3, a4, a5 float64 // do not wait for one another
		for j, i := range at {
			g, s := float64(down[j]*near[i+p]), v[j*ld:][:Weighed]
			total += g
			a0 += float64(g * s[0])
			a1 += float64(g * s[1])
			a2 += float64(g * s[2])
			a3 += float64(g * s[3])
			a4 += float64(g * s[4])
			a5 += float64(g * s[5])
		}
		for k, a := range [...]float64{total, a0, a1, a2, a3, a4, a5} {
			sum[k][p] = a
		}
	}
}
