package padim

import (
	"testing"

	"f2pad.example/engine/method"
	"f2pad.example/engine/method/methodtest"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// Vectors put together from what Gaussians says are those that Score measures: their distances are its scores.
func TestGaussiansAreWhatScoreMeasuresWith(t *testing.T) {
	some := profile(t, "paper")
	some.Channels = []int{0, 3, 4, 9, 11} // of the first layer and of the last
	native := profile(t, "f2pad")
	native.Native = true
	for name, o := range map[string]Options{"all channels": profile(t, "f2pad"), "some": some, "native": native} {
		m := fitted(t, o, threeLayers)
		g := m.Gaussians()
		f := methodtest.Batch(5, 1, threeLayers)
		h, w := threeLayers[0].H, threeLayers[0].W
		var x []float32
		var state []int32
		for i := range h * w {
			for l, kept := range g.Channels {
				s := threeLayers[l]
				for _, c := range kept {
					x = append(x, nd.Data(f[l])[(c*s.H+Cell(i/w, s.H, h))*s.W+Cell(i%w, s.W, w)])
				}
			}
			state = append(state, int32(g.Of(i/w, i%w)))
		}
		require.Len(t, x, h*w*g.K(), name)
		got, r := make([]float32, h*w), &method.Result{S: nd.New(1, h, w)}
		elsewhere := &Model{channels: make([]int, g.K()), mean: g.Mean, factor: g.Factor}
		require.NoError(t, elsewhere.distances(t.Context(), x, state, got, nil))
		require.NoError(t, m.Score(t.Context(), f, r))
		require.Equal(t, nd.Data(r.S), got, name)

		require.NoError(t, g.Cover(h-3, w-1, 3, 1))
		if err := g.Cover(h-3, w, 3, 1); name != "native" {
			require.EqualError(t, err, "padim: 13x20 locations at cell (3,1), but the model has 16x20: it was fitted for one image size")
		} else {
			require.NoError(t, err)
		}
	}
}
