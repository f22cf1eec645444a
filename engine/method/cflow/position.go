package cflow

import "math"

// encoding is the position of a cell as C numbers: the first half says its column x, the second its row y, as
// sin(x w_k), cos(x w_k) with w_k = 10000^(-4k/C), k < C/4. Source: positionalencoding2d of cflow-ad.
type encoding struct {
	c          int
	rows, cols []float32 // [H,C/2], [W,C/2]
}

func newEncoding(h, w, c int) *encoding {
	e := &encoding{c: c}
	if c > 0 {
		e.rows, e.cols = axisEncoding(h, c/2), axisEncoding(w, c/2)
	}
	return e
}

func axisEncoding(n, c int) []float32 {
	e := make([]float32, n*c)
	for i := range n {
		for k := range c / 2 {
			at := float64(i) * math.Exp(-float64(2*k)*math.Log(1e4)/float64(c))
			e[i*c+2*k], e[i*c+2*k+1] = float32(math.Sin(at)), float32(math.Cos(at))
		}
	}
	return e
}

// put writes the encoding of row i, column j; its values come to lie stride apart.
func (e *encoding) put(to []float32, stride, i, j int) {
	half := e.c / 2
	for k := range half {
		to[k*stride] = e.cols[j*half+k]
		to[(half+k)*stride] = e.rows[i*half+k]
	}
}
