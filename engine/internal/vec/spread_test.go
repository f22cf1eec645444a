package vec

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Both add what the definition says to the cells of the rectangle, and nothing to others.
func TestSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	flat := func(x [][8]float32) (all []uint32) {
		for _, v := range x {
			all = append(all, bits(v[:])...)
		}
		return all
	}
	for rows := range 6 {
		for cols := range 6 {
			const w = 7
			g := [8]float32(draw(rng, 8))
			wy, wx := draw(rng, rows), draw(rng, cols)
			x := make([][8]float32, 6*w)
			for i := range x {
				x[i] = [8]float32(draw(rng, 8))
			}
			want := append([][8]float32(nil), x...)
			for a := range rows {
				for b := range cols {
					for k := range g {
						product := float32(g[k] * wy[a])
						product = float32(product * wx[b])
						want[a*w+b][k] += product
					}
				}
			}
			twin := append([][8]float32(nil), x...)
			Spread(x, w, wy, wx, &g)
			require.Equal(t, flat(want), flat(x), "%d x %d", rows, cols)
			spreadGo(twin, w, wy, wx, &g)
			require.Equal(t, flat(want), flat(twin), "%d x %d, twin", rows, cols)
		}
	}
	require.Panics(t, func() { Spread(make([][8]float32, 9), 5, make([]float32, 2), make([]float32, 5), new([8]float32)) })
}
