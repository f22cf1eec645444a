package pixel

import (
	"math"

	"f2pad.example/engine/internal/vec"
)

// NormConv interpolates scattered samples by normalised convolution: out[p][c] = sum_q G(p-q) v[q][c] / sum_q G(p-q), with a
// Gaussian of sigma pixels. The samples v [len(at),C] lie at the pixels at, the results out [len(to),C] at the pixels to;
// pixels are indices y*w+x. Where every weight underflows, 38 sigma away from all samples, the result is 0.
// len(at) len(to) C multiplications.
func NormConv(v []float32, at, to []int32, w, c int, sigma float64, out []float32) {
	a, b := Bounds(at, w), Bounds(to, w)
	weight := func(d int) float64 { return math.Exp(-float64(d*d) / (2 * sigma * sigma)) }
	below := make([]float64, max(a.Y1, b.Y1)) // by distance in rows
	for d := range below {
		below[d] = weight(d)
	}
	first := b.X0 - (a.X1 - 1) // column of a result less that of a sample, at least
	near := make([]float64, b.X1-a.X0-first+vec.Places-1)
	for i := range near[:b.X1-a.X0-first] {
		near[i] = weight(first + i)
	}
	n, ld := len(at), (c+vec.Weighed-1)/vec.Weighed*vec.Weighed
	wide := make([]float64, n*ld) // v in float64, as many as are worked on at once
	for j := range n {
		for k, s := range v[j*c:][:c] {
			wide[j*ld+k] = float64(s)
		}
	}
	place, down := make([]int, n), make([]float64, n) // of the samples: in near, for column b.X0, and the weight of their distance from the row py
	for j, q := range at {
		place[j] = b.X0 - int(q)%w - first
	}
	var sum [1 + vec.Weighed][vec.Places]float64
	py := -1
	for i := 0; i < len(to); {
		px, some := int(to[i])%w, 1 // results side by side
		for some < vec.Places && i+some < len(to) && int(to[i+some]) == int(to[i])+some && px+some < w {
			some++
		}
		if y := int(to[i]) / w; y != py {
			py = y
			for j, q := range at {
				down[j] = below[abs(py-int(q)/w)]
			}
		}
		for k := 0; k < c && n > 0; k += vec.Weighed {
			vec.Weigh(&sum, near[px-b.X0:], place, down, wide[k:], ld)
			for p := range some {
				for l := range min(vec.Weighed, c-k) {
					out[(i+p)*c+k+l] = float32(sum[1+l][p] / sum[0][p])
				}
			}
		}
		for p := range some {
			if sum[0][p] == 0 {
				clear(out[(i+p)*c:][:c])
			}
		}
		i += some
	}
}

func abs(i int) int { return max(i, -i) }
