package pixel

import "math"

// NormConv interpolates scattered samples by normalised convolution: out[p][c] = sum_q G(p-q) v[q][c] / sum_q G(p-q), with a
// Gaussian of sigma pixels. The samples v [len(at),C] lie at the pixels at, the results out [len(to),C] at the pixels to;
// pixels are indices y*w+x. Where every weight underflows, 38 sigma away from all samples, the result is 0.
// len(at) len(to) C multiplications.
func NormConv(v []float32, at, to []int32, w, c int, sigma float64, out []float32) {
	a, b := Bounds(at, w), Bounds(to, w)
	far := max(a.Y1, b.Y1, a.X1, b.X1)
	weight := make([]float64, far) // by distance along one axis
	for d := range weight {
		weight[d] = math.Exp(-float64(d*d) / (2 * sigma * sigma))
	}
	n := len(at)
	wide := make([]float64, len(v)) // v in float64
	for i, s := range v {
		wide[i] = float64(s)
	}
	column, down := make([]int, n), make([]float64, n) // of the samples: x, and the weight of their distance from the row py
	for j, q := range at {
		column[j] = int(q) % w
	}
	g, acc := make([]float64, n), make([]float64, c)
	py, x0 := -1, 0
	for i, p := range to {
		if i == 0 || int(p) < x0 || int(p) >= x0+w {
			py = int(p) / w
			x0 = py * w
			for j, q := range at {
				down[j] = weight[abs(py-int(q)/w)]
			}
		}
		px := int(p) - x0
		total := 0.0
		for j, x := range column {
			g[j] = down[j] * weight[abs(px-x)]
			total += g[j]
		}
		dst := out[i*c : (i+1)*c]
		if total == 0 {
			clear(dst)
			continue
		}
		weighted(acc, g, wide)
		for k, s := range acc {
			dst[k] = float32(s / total)
		}
	}
}

// weighted sets acc [C] to the sums of g[j] v[j][k] over j, in their order; v is [len(g),C]. Several sums at a time hide the time that
// an addition takes: six fills, grey or in colour, are six or three times six.
func weighted(acc, g, v []float64) {
	c, k := len(acc), 0
	for ; k+6 <= c; k += 6 {
		var a0, a1, a2, a3, a4, a5 float64
		for j, g := range g {
			s := v[j*c+k:][:6]
			a0 += float64(g * s[0])
			a1 += float64(g * s[1])
			a2 += float64(g * s[2])
			a3 += float64(g * s[3])
			a4 += float64(g * s[4])
			a5 += float64(g * s[5])
		}
		acc[k], acc[k+1], acc[k+2], acc[k+3], acc[k+4], acc[k+5] = a0, a1, a2, a3, a4, a5
	}
	for ; k+3 <= c; k += 3 {
		var a0, a1, a2 float64
		for j, g := range g {
			s := v[j*c+k:][:3]
			a0 += float64(g * s[0])
			a1 += float64(g * s[1])
			a2 += float64(g * s[2])
		}
		acc[k], acc[k+1], acc[k+2] = a0, a1, a2
	}
	for ; k < c; k++ {
		a := 0.0
		for j, g := range g {
			a += float64(g * v[j*c+k])
		}
		acc[k] = a
	}
}

func abs(i int) int { return max(i, -i) }
