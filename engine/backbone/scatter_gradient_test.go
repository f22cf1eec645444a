package backbone

import (
	"math"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"

	"github.com/stretchr/testify/require"
)

// differenceTolerance is for central differences in float64 with steps of 1e-5, whose error is about 1e-10 times the third
// derivative: 1e4 and less for logarithms of values near 2e-3 and more, seen through filters.
var differenceTolerance = compare.Tolerance{Abs: 1e-6, Rel: 1e-6}

func TestScatterGradient(t *testing.T) {
	const h, w, delta = 24, 20, 1e-5
	for _, grey := range []bool{true, false} {
		s := fit(t, testImage(24, 28, grey))
		g, err := s.Graph(h, w)
		require.NoError(t, err)
		d, err := autodiff.Gradient(g)
		require.NoError(t, err)
		img := widen(s.Normalize(testImage(h, w, grey)).apply(testImage(h, w, grey)))
		run := func() map[string]*naive.Array {
			values, err := naive.Run(g, map[string]*naive.Array{"image": img})
			require.NoError(t, err)
			return values
		}
		values := run()
		out := g.Outputs[0]
		dy := naive.New(values[out].Shape...)
		for i := range dy.Data {
			dy.Data[i] = math.Sin(float64(i))
		}
		in := map[string]*naive.Array{"d:" + out: dy}
		for _, name := range d.Saved {
			in[name] = values[name]
		}
		gradient, err := naive.Run(d.Graph, in)
		require.NoError(t, err)
		dx := gradient[d.Graph.Outputs[0]]

		energy := func() float64 {
			sum := 0.0
			for i, v := range run()[out].Data {
				sum += v * dy.Data[i]
			}
			return sum
		}
		var got, want []float64
		for _, pixel := range []int{0, 7, w - 1, 9*w + 11, h*w - 1, h*w + 5*w + 3, 2*h*w + 14*w + 9, 3*h*w - w} {
			v := img.Data[pixel]
			img.Data[pixel] = v + delta
			up := energy()
			img.Data[pixel] = v - delta
			down := energy()
			img.Data[pixel] = v
			got, want = append(got, dx.Data[pixel]), append(want, (up-down)/(2*delta))
		}
		compare.Require(t, "gradient of the image", got, want, differenceTolerance)
	}
}
