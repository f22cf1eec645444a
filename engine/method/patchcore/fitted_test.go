package patchcore

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// onceMore is for float32 sums of up to some hundred values that are weighted one by one, or weighted as a whole.
var onceMore = compare.Tolerance{Abs: 2e-6, Rel: 2e-6}

// Vectors put together from what Fitted says are those of the embedding.
func TestFittedIsTheEmbedding(t *testing.T) {
	f := methodtest.Batch(6, 1, threeLayers)
	g := method.Grid{N: 1, H: threeLayers[0].H, W: threeLayers[0].W}
	for _, dim := range []int{0, 1, 2, 7, 35, 150} {
		o := profile(t, "paper")
		o.EmbedDim, o.MaxPatches = dim, 20
		fit := fitted(t, o, threeLayers).Fitted()
		require.Equal(t, dim > 0, fit.Unfolded)
		at := []int{0, 21, g.Cells() - 1, 170}
		want := fit.embed.view(f, g).vectors(f, at)
		var got []float32
		for _, i := range at {
			var layers [][]float32
			for l, s := range threeLayers {
				var raw []float32
				rows, cols := fit.Axis(s.H, g.H), fit.Axis(s.W, g.W)
				for c := range s.C {
					for _, r := range rows {
						for _, q := range cols {
							v := float32(0)
							for a, y := range r[i/g.W].W {
								for b, x := range q[i%g.W].W {
									v += y * x * nd.Data(f[l])[(c*s.H+r[i/g.W].Lo+a)*s.W+q[i%g.W].Lo+b]
								}
							}
							raw = append(raw, v)
						}
					}
				}
				layers = append(layers, raw)
			}
			if dim == 0 {
				for _, raw := range layers {
					got = append(got, raw...)
				}
				continue
			}
			q := make([]float32, dim)
			for l, taps := range fit.Pool() {
				for m, tap := range taps {
					for k, w := range tap.W {
						q[m] += w * layers[l][tap.Lo+k]
					}
				}
			}
			got = append(got, q...)
		}
		compare.Require(t, "vectors", got, want, onceMore)
	}
}

func TestFittedImages(t *testing.T) {
	o := profile(t, "f2pad")
	o.MaxPatches, o.Supports = 90, 3
	f := fitted(t, o, oneLayer).Fitted()
	require.Equal(t, 3, f.Supports)
	nan := float32(math.NaN())
	s := []float32{1, 5, 5, 9, 2, nan, 7, nan, 8}
	top, err := f.Greatest(s, 3, []bool{true, true, true, false, true, false, true, true, true})
	require.NoError(t, err)
	require.Equal(t, []int{1, 4, 7}, top, "the first of equals; inside; no number")
	_, err = f.Greatest(s, 3, []bool{true, true, true, false, false, false, true, true, true})
	require.EqualError(t, err, "patchcore: image 1 of the batch has no location inside")

	rng := rand.New(rand.NewPCG(4, 0))
	q := normal(rng, f.Dim)
	sum, d := 0.0, make([]float64, 3)
	for k := range d {
		d[k] = math.Sqrt(distance(q, f.Row(int32(k))))
		sum += math.Exp(d[k])
	}
	require.InEpsilon(t, (1-math.Exp(d[0])/sum)*2, f.Reweighed(2, q, []int32{0, 1, 2}), 1e-6)

	o.Supports = 1
	require.Zero(t, fitted(t, o, oneLayer).Fitted().Supports, "one does not re-weight")
}
