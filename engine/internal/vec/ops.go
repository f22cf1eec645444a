// Package vec holds loops over float32 vectors: in assembly where the processor has AVX2, else in Go, with the same bits
// but where a function says otherwise. Operands have the length of the result, which may be one of them.
package vec

import "math"

// whole is how many elements of n the assembly works on: whole vectors.
func whole(n int) int {
	if fast {
		return n &^ 7
	}
	return 0
}

// Relu sets y to x, but 0 where x < 0.
func Relu(y, x []float32) {
	if n := whole(len(y)); n > 0 {
		reluAVX2(y[:n], x)
		y, x = y[n:], x[n:]
	}
	reluGo(y, x)
}

func reluGo(y, x []float32) {
	for i, v := range x[:len(y)] {
		if v < 0 {
			v = 0
		}
		y[i] = v
	}
}

// LeakyRelu sets y to x, but alpha*x where x < 0.
func LeakyRelu(y, x []float32, alpha float32) {
	if n := whole(len(y)); n > 0 {
		leakyReluAVX2(y[:n], x, alpha)
		y, x = y[n:], x[n:]
	}
	leakyReluGo(y, x, alpha)
}

func leakyReluGo(y, x []float32, alpha float32) {
	for i, v := range x[:len(y)] {
		if v < 0 {
			v *= alpha
		}
		y[i] = v
	}
}

// Clip sets y to x, but lo where x < lo, else hi where x > hi.
func Clip(y, x []float32, lo, hi float32) {
	if n := whole(len(y)); n > 0 && lo <= hi {
		clipAVX2(y[:n], x, lo, hi)
		y, x = y[n:], x[n:]
	}
	clipGo(y, x, lo, hi)
}

func clipGo(y, x []float32, lo, hi float32) {
	for i, v := range x[:len(y)] {
		if v < lo {
			v = lo
		} else if v > hi {
			v = hi
		}
		y[i] = v
	}
}

// Step sets y to 1 where lo < x < hi, else to 0.
func Step(y, x []float32, lo, hi float32) {
	if n := whole(len(y)); n > 0 {
		stepAVX2(y[:n], x, lo, hi)
		y, x = y[n:], x[n:]
	}
	stepGo(y, x, lo, hi)
}

func stepGo(y, x []float32, lo, hi float32) {
	for i, v := range x[:len(y)] {
		y[i] = inside(v, lo, hi)
	}
}

func inside(v, lo, hi float32) float32 {
	if lo < v && v < hi {
		return 1
	}
	return 0
}

// Gate sets y to a times Step of b.
func Gate(y, a, b []float32, lo, hi float32) {
	if n := whole(len(y)); n > 0 {
		gateAVX2(y[:n], a, b, lo, hi)
		y, a, b = y[n:], a[n:], b[n:]
	}
	gateGo(y, a, b, lo, hi)
}

func gateGo(y, a, b []float32, lo, hi float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] * inside(b[i], lo, hi)
	}
}

// Add sets y to a + b.
func Add(y, a, b []float32) {
	if n := whole(len(y)); n > 0 {
		addAVX2(y[:n], a, b)
		y, a, b = y[n:], a[n:], b[n:]
	}
	addGo(y, a, b)
}

func addGo(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] + b[i]
	}
}

// Sub sets y to a - b.
func Sub(y, a, b []float32) {
	if n := whole(len(y)); n > 0 {
		subAVX2(y[:n], a, b)
		y, a, b = y[n:], a[n:], b[n:]
	}
	subGo(y, a, b)
}

func subGo(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] - b[i]
	}
}

// Mul sets y to a * b.
func Mul(y, a, b []float32) {
	if n := whole(len(y)); n > 0 {
		mulAVX2(y[:n], a, b)
		y, a, b = y[n:], a[n:], b[n:]
	}
	mulGo(y, a, b)
}

func mulGo(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] * b[i]
	}
}

// ShiftRows sets each row i of y [len(by),cols] to (x + by[i]) * times, but to lo where that is less.
func ShiftRows(y, x []float32, cols int, by []float32, times, lo float32) {
	n := len(by) * cols
	y, x = y[:n], x[:n]
	if fast && n > 0 && cols%8 == 0 {
		shiftRowsAVX2(y, x, cols, by, times, lo)
		return
	}
	shiftRowsGo(y, x, cols, by, times, lo)
}

func shiftRowsGo(y, x []float32, cols int, by []float32, times, lo float32) {
	for i, b := range by {
		to := y[i*cols:][:cols]
		for j, v := range x[i*cols:][:cols] {
			v = (v + b) * times
			if v < lo {
				v = lo
			}
			to[j] = v
		}
	}
}

// Accumulate adds x to sum.
func Accumulate(sum []float64, x []float32) {
	if n := whole(len(x)); n > 0 {
		accumulateAVX2(sum, x[:n])
		sum, x = sum[n:], x[n:]
	}
	accumulateGo(sum, x)
}

func accumulateGo(sum []float64, x []float32) {
	sum = sum[:len(x)]
	for i, v := range x {
		sum[i] += float64(v)
	}
}

// Larger sets y to the larger of a and b, NaN where either is.
func Larger(y, a, b []float32) {
	if n := whole(len(y)); n > 0 {
		largerAVX2(y[:n], a, b)
		y, a, b = y[n:], a[n:], b[n:]
	}
	largerGo(y, a, b)
}

func largerGo(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		v := b[i]
		if a[i] > v || a[i] != a[i] {
			v = a[i]
		}
		y[i] = v
	}
}

// Least is the least of x that is a number, +Inf if there is none.
func Least(x []float32) float32 {
	low := float32(math.Inf(1))
	if n := whole(len(x)); n > 0 {
		lows := [8]float32{low, low, low, low, low, low, low, low}
		leastAVX2(x[:n], &lows)
		low, x = leastGo(lows[:], low), x[n:]
	}
	return leastGo(x, low)
}

func leastGo(x []float32, low float32) float32 {
	for _, v := range x {
		if v < low {
			low = v
		}
	}
	return low
}

// FirstAtMost is the first i for which x[i] is not greater than limit (which NaN is not), len(x) if there is none.
func FirstAtMost(x []float32, limit float32) int {
	n := whole(len(x))
	if n > 0 {
		if i := firstAtMostAVX2(x[:n], limit); i < n {
			return i
		}
	}
	return n + firstAtMostGo(x[n:], limit)
}

func firstAtMostGo(x []float32, limit float32) int {
	for i, v := range x {
		if !(v > limit) {
			return i
		}
	}
	return len(x)
}
