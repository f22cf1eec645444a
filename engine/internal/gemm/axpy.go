package gemm

// axpy adds w[k] times x[at[k]:] to y for each k in ascending order; each product and each sum is rounded to float32. It
// goes over y once for every eight terms: then loads and stores of y weigh little, and the chains of additions of several
// elements overlap in the processor.
func axpy(y, x []float32, at []int, w []float32) {
	for len(w) >= 8 && len(at) >= 8 {
		axpy8(y, x, (*[8]int)(at), (*[8]float32)(w))
		w, at = w[8:], at[8:]
	}
	if len(w) >= 4 && len(at) >= 4 {
		axpy4(y, x, (*[4]int)(at), (*[4]float32)(w))
		w, at = w[4:], at[4:]
	}
	for k, f := range w {
		x := x[at[k]:][:len(y)]
		for i, v := range x {
			y[i] += float32(f * v)
		}
	}
}

func axpy8(y, x []float32, at *[8]int, w *[8]float32) {
	n := len(y)
	x0, x1, x2, x3 := x[at[0]:][:n], x[at[1]:][:n], x[at[2]:][:n], x[at[3]:][:n]
	x4, x5, x6, x7 := x[at[4]:][:n], x[at[5]:][:n], x[at[6]:][:n], x[at[7]:][:n]
	w0, w1, w2, w3, w4, w5, w6, w7 := w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
	for i, s := range y {
		s += float32(w0 * x0[i])
		s += float32(w1 * x1[i])
		s += float32(w2 * x2[i])
		s += float32(w3 * x3[i])
		s += float32(w4 * x4[i])
		s += float32(w5 * x5[i])
		s += float32(w6 * x6[i])
		s += float32(w7 * x7[i])
		y[i] = s
	}
}

func axpy4(y, x []float32, at *[4]int, w *[4]float32) {
	n := len(y)
	x0, x1, x2, x3 := x[at[0]:][:n], x[at[1]:][:n], x[at[2]:][:n], x[at[3]:][:n]
	w0, w1, w2, w3 := w[0], w[1], w[2], w[3]
	for i, s := range y {
		s += float32(w0 * x0[i])
		s += float32(w1 * x1[i])
		s += float32(w2 * x2[i])
		s += float32(w3 * x3[i])
		y[i] = s
	}
}
