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
	acc := make([]float64, c)
	for i, p := range to {
		py, px := int(p)/w, int(p)%w
		clear(acc)
		total := 0.0
		for j, q := range at {
			qy, qx := int(q)/w, int(q)%w
			g := weight[abs(py-qy)] * weight[abs(px-qx)]
			total += g
			for k, s := range v[j*c : (j+1)*c] {
				acc[k] += g * float64(s)
			}
		}
		dst := out[i*c : (i+1)*c]
		if total == 0 {
			clear(dst)
			continue
		}
		for k, s := range acc {
			dst[k] = float32(s / total)
		}
	}
}

func abs(i int) int { return max(i, -i) }
