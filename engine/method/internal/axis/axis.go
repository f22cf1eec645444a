// Package axis holds linear maps along one axis of an image: resizing, zero-padded stencils, Gaussian blur, and their
// products. A separable map of a picture is one along its rows and one along its columns.
package axis

import (
	"math"
	"slices"

	"f2pad.example/engine/internal/index"
)

// Map is a matrix of few non-zeros in every row, one row per output.
type Map []Taps

// Taps is one row: output = sum_k W[k] * input[Lo+k]. W is empty where the output is zero whatever the input.
type Taps struct {
	Lo int
	W  []float32
}

// build makes a map from n inputs to outputs whose rows are sums of weights at input indices, in any order. Rows that repeat those so
// many before share their weights.
func build(n, outputs, period int, row func(i int, add func(at int, w float64))) Map {
	m := make(Map, outputs)
	s := newSum(n)
	add := s.add
	for i := range m {
		row(i, add)
		var before Taps
		if i >= period {
			before = m[i-period]
		}
		m[i] = s.take(before.W)
	}
	return m
}

// shared reports whether two rows share their weights.
func shared(a, b Taps) bool { return len(a.W) > 0 && len(a.W) == len(b.W) && &a.W[0] == &b.W[0] }

// sum adds up a row.
type sum struct {
	w      []float64 // by input
	lo, hi int       // beyond these all is 0
}

func newSum(n int) *sum { return &sum{w: make([]float64, n), lo: n} }

func (s *sum) add(at int, w float64) {
	if w != 0 {
		s.w[at] += w
		s.lo, s.hi = min(s.lo, at), max(s.hi, at+1)
	}
}

// take returns the row, and begins the next one. Its weights are those of another row if they are the same.
func (s *sum) take(other []float32) Taps {
	if s.lo >= s.hi {
		return Taps{}
	}
	t, some := Taps{Lo: s.lo, W: other}, s.w[s.lo:s.hi]
	if !slices.EqualFunc(some, other, func(v float64, w float32) bool { return float32(v) == w }) {
		t.W = make([]float32, len(some))
		for k, v := range some {
			t.W[k] = float32(v)
		}
	}
	clear(some)
	s.lo, s.hi = len(s.w), 0
	return t
}

// Bilinear resizes n cells to N with half-pixel centres: cell i lies at (i+0.5)n/N - 0.5, not below the first cell and not
// beyond the last. Its fractions are exactly rounded, so maps of one ratio n/N agree at the same phase.
func Bilinear(n, N int) Map {
	return build(n, N, period(n, N), func(i int, add func(int, float64)) {
		num := max((2*i+1)*n-N, 0) // position in units of 1/(2N)
		at, frac := num/(2*N), float64(num%(2*N))/float64(2*N)
		add(at, 1-frac)
		add(min(at+1, n-1), frac)
	})
}

// Nearest resizes n cells to N: output i is cell floor(i n/N).
func Nearest(n, N int) Map {
	return build(n, N, period(n, N), func(i int, add func(int, float64)) { add(i*n/N, 1) })
}

// period is after how many of N outputs n inputs come to lie in the same way again.
func period(n, N int) int {
	a, b := n, N
	for b != 0 {
		a, b = b, a%b
	}
	return N / a
}

// Stencil is the correlation with an odd number of weights on n cells with zeros around them.
func Stencil(n int, w ...float64) Map {
	return build(n, n, 1, func(i int, add func(int, float64)) {
		for k, v := range w {
			if at := i + k - len(w)/2; at >= 0 && at < n {
				add(at, v)
			}
		}
	})
}

// Gaussian blurs n cells with exp(-x^2/(2 sigma^2)) for |x| <= radius, normalised. Outside, the cells are mirrored:
// with the edge cell repeated (scipy's "reflect"), or not (PyTorch's "reflect") if reflect101.
func Gaussian(n int, sigma float64, radius int, reflect101 bool) Map {
	w := make([]float64, 2*radius+1)
	total := 0.0
	for k := range w {
		x := float64(k - radius)
		w[k] = math.Exp(-x * x / (2 * sigma * sigma))
		total += w[k]
	}
	fold := index.Mirror
	if reflect101 {
		fold = index.Reflect
	}
	m, s := make(Map, n), newSum(n)
	for i := range m {
		if i > radius && i < n-radius { // nothing is folded
			m[i] = Taps{m[i-1].Lo + 1, m[i-1].W}
			continue
		}
		for k, v := range w {
			s.add(fold(i+k-radius, n), v/total)
		}
		m[i] = s.take(nil)
	}
	return m
}

// After returns the product m b: b first, of n inputs, then m. Where both repeat themselves so does the product, and shares the weights.
func (m Map) After(b Map, n int) Map {
	out, s := make(Map, len(m)), newSum(n)
	p := period(n, len(b))
	by := p * n / len(b)        // inputs
	same := make([]int, len(b)) // how many rows of b, up to this one, repeat those a period before
	for j := p; j < len(b); j++ {
		if shared(b[j], b[j-p]) && b[j].Lo == b[j-p].Lo+by {
			same[j] = same[j-1] + 1
		}
	}
	for i, row := range m {
		if i >= p && shared(row, m[i-p]) && row.Lo == m[i-p].Lo+p && same[row.Lo+len(row.W)-1] >= len(row.W) && len(out[i-p].W) > 0 {
			out[i] = Taps{out[i-p].Lo + by, out[i-p].W}
			continue
		}
		for k, v := range row.W {
			t := b[row.Lo+k]
			for l, u := range t.W {
				s.add(t.Lo+l, float64(float64(v)*float64(u)))
			}
		}
		out[i] = s.take(nil)
	}
	return out
}
