package cflow

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// density is log p / D by what PlainLayer says of itself.
func (l *PlainLayer) density(x []float64, i, j int) float64 {
	left, right := l.D-l.D/2, l.D/2
	times := func(y []float64, w []float32, n int) []float64 {
		z := make([]float64, n)
		for k := range w {
			z[k%n] += y[k/n] * float64(w[k])
		}
		return z
	}
	y := x
	if l.Whiten != nil {
		y = make([]float64, l.D)
		for k := range y {
			y[k] = x[k] - float64(l.Mean[k])
		}
		y = times(y, l.Whiten, l.D)
	}
	log := 0.0
	for _, b := range l.Blocks {
		h := times(y[:left], b.W1, l.Hidden)
		for n := range h {
			h[n] = max(0, h[n]+float64(b.Rows[i*l.Hidden+n])+float64(b.Cols[j*l.Hidden+n]))
		}
		a := times(h, b.W2, 2*right)
		for k := range right {
			s := l.Clamp * math.Tanh(a[k]+float64(b.B2[k]))
			y[left+k] = y[left+k]*math.Exp(s) + a[right+k] + float64(b.B2[right+k])
			log += s
		}
		y = times(y, b.Mix, l.D)
		for k := range y {
			y[k] += float64(b.Offset[k])
		}
	}
	for _, v := range y {
		log -= v * v / 2
	}
	return log/float64(l.D) + l.Constant
}

// What Plain says is what the definition says.
func TestPlain(t *testing.T) {
	for _, s := range append(subjects, size{"wide", 19, 8, 2, true, true}) {
		t.Run(s.name, func(t *testing.T) {
			f, theta := subject(s.d, s.c, s.blocks, s.whitened, s.soft)
			l := &layer{flow: *f, theta: theta, largest: 2, average: 1}
			if s.c > 0 {
				l.h, l.w = 4, 3
			}
			l.encoding = newEncoding(l.h, l.w, s.c)
			p := (&Model{opts: Options{Fuse: FuseMean}, layers: []*layer{l}, total: 0.5}).Plain()
			require.Equal(t, Plain{FuseMean, 0.5, p.Layers}, p)
			require.Equal(t, []float64{2, 1, 1.9}, []float64{p.Layers[0].Largest, p.Layers[0].Average, p.Layers[0].Clamp})
			require.Equal(t, [2]int{l.h, l.w}, [2]int{p.Layers[0].H, p.Layers[0].W})
			rng := rand.New(rand.NewPCG(3, 0))
			var x, c []float32
			var got []float64
			for i := range max(l.h, 1) {
				for j := range max(l.w, 1) {
					v, code := make([]float64, s.d), make([]float32, s.c)
					for k := range v {
						x = append(x, float32(rng.NormFloat64()))
						v[k] = float64(x[len(x)-1])
					}
					if s.c > 0 {
						l.encoding.put(code, 1, i, j)
					}
					c, got = append(c, code...), append(got, p.Layers[0].density(v, i, j))
				}
			}
			want := reference(t, f, theta, x, c, func(_, w []float64) { clear(w) })
			// Products that are joined are rounded to float32 once.
			compare.Require(t, fmt.Sprint("log p / D of ", s.name), got, want.q, compare.Tolerance{Abs: 1e-5, Rel: 1e-5})
		})
	}
}
