package patchcore

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// What a location reads depends neither on which other locations are read with it nor on how the sums are shared: bit by bit.
func TestEmbeddingIsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 0))
	for _, dim := range []int{0, 21} {
		for _, h := range []int{1, 2, 5, 12} {
			g := method.Grid{N: 2, H: 2 * h, W: 2*h + 2}
			f := []*tensor.Dense{nd.New(2, 11, g.H, g.W), nd.New(2, 8, h, h+1), nd.New(2, 3, (h+1)/2, (h+2)/2)}
			for _, x := range f {
				copy(nd.Data(x), normal(rng, len(nd.Data(x))))
			}
			e := newEmbedding([]int{11, 8, 3}, dim)
			v := e.view(f, g)
			all := make([]int, g.N*g.Cells())
			for i := range all {
				all[i] = i
			}
			want := make([]float32, len(all)*v.raw)
			for i := range all {
				for l := range v.layers {
					v.layers[l].define(nd.Data(f[l]), v.place(i), want[i*v.raw:])
				}
			}
			for _, share := range []float64{1, .6, .2, .02} {
				var at []place
				var rows []int
				for i := range all {
					if rng.Float64() < share {
						at, rows = append(at, v.place(i)), append(rows, i)
					}
				}
				got := make([]float32, len(at)*v.raw)
				for l := range v.layers {
					v.layers[l].read(nd.Data(f[l]), at, got, v.raw)
				}
				for p, i := range rows {
					for k := range v.raw {
						require.Equal(t, math.Float32bits(want[i*v.raw+k]), math.Float32bits(got[p*v.raw+k]), "place %d, value %d", i, k)
					}
				}
			}
		}
	}
}

// Nor do the sums of the adjoint: every cell's is that of the places in order, bit by bit, on top of what is there.
func TestAdjointOfTheEmbeddingIsItsDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 0))
	for _, dim := range []int{0, 21} {
		for _, h := range []int{1, 2, 5, 12} {
			g := method.Grid{N: 2, H: 2 * h, W: 2*h + 2}
			f := []*tensor.Dense{nd.New(2, 11, g.H, g.W), nd.New(2, 8, h, h+1), nd.New(2, 3, (h+1)/2, (h+2)/2)}
			e := newEmbedding([]int{11, 8, 3}, dim)
			v := e.view(f, g)
			for _, share := range []float64{1, .6, .2, .02} {
				var at []place
				for i := range g.N * g.Cells() {
					if rng.Float64() < share {
						at = append(at, v.place(i))
					}
				}
				raw := normal(rng, len(at)*v.raw)
				for l := range v.layers {
					la := &v.layers[l]
					got := normal(rng, len(nd.Data(f[l])))
					want := slices.Clone(got)
					for p, to := range at {
						la.defineBack(want, to, raw[p*v.raw:])
					}
					for c := 0; c < la.c; c += together {
						la.spread(got, c, at, raw, v.raw)
					}
					for i := range want {
						require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "layer %d, value %d", l, i)
					}
				}
			}
		}
	}
}

// defineBack is the adjoint of define.
func (l *layer) defineBack(df []float32, from place, raw []float32) {
	k := l.first
	for c := range l.c {
		for _, rows := range l.rows {
			for _, cols := range l.cols {
				ty, tx := rows[from.i], cols[from.j]
				plane := df[(from.n*l.c+c)*l.h*l.w:]
				for a, wy := range ty.W {
					for b, wx := range tx.W {
						product := float32(raw[k] * wy)
						product = float32(product * wx)
						plane[(ty.Lo+a)*l.w+tx.Lo+b] += product
					}
				}
				k++
			}
		}
	}
}

// define is read for one place.
func (l *layer) define(f []float32, to place, raw []float32) {
	k := l.first
	for c := range l.c {
		for _, rows := range l.rows {
			for _, cols := range l.cols {
				ty, tx := rows[to.i], cols[to.j]
				plane := f[(to.n*l.c+c)*l.h*l.w:]
				var sum float32
				for a, wy := range ty.W {
					var line float32
					for b, x := range plane[(ty.Lo+a)*l.w+tx.Lo:][:len(tx.W)] {
						line += tx.W[b] * x
					}
					sum += wy * line
				}
				raw[k] = sum
				k++
			}
		}
	}
}
