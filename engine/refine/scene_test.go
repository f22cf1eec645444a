package refine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/pixel"

	"github.com/stretchr/testify/require"
)

// slowBlur is G_sigma * x of the plane [h,w] at pixel p, edges reflected, truncated at 4 sigma.
func slowBlur(x func(y, x int) float64, h, w, p int, sigma float64) float64 {
	r := int(4*sigma + 0.5)
	fold := func(i, n int) int {
		i = ((i % (2 * n)) + 2*n) % (2 * n)
		return min(i, 2*n-1-i)
	}
	sum, weight := 0.0, 0.0
	for dy := -r; dy <= r; dy++ {
		for dx := -r; dx <= r; dx++ {
			g := 1.0
			if dy != 0 || dx != 0 {
				g = math.Exp(-float64(dy*dy+dx*dx) / (2 * sigma * sigma))
			}
			sum += g * x(fold(p/w+dy, h), fold(p%w+dx, w))
			weight += g
		}
	}
	return sum / weight
}

// The unit is that of the whole image, whatever windows the region falls into: two islands, one of two parts.
func TestUnitIsTheSpreadOfTheRegionNearBy(t *testing.T) {
	const h, w = 68, 76
	omega := disc(h, w, 3, 8, 5)
	for p := range omega {
		omega[p] = omega[p] || disc(h, w, 10, 20, 4)[p] || disc(h, w, 60, 58, 6)[p]
	}
	rng := rand.New(rand.NewPCG(4, 4))
	spread := make([]float64, h*w)
	for p, in := range omega {
		if in {
			spread[p] = rng.Float64()
		}
	}
	r := newRefiner(t)
	s := &scene{h: h, w: w, omega: omega}
	s.find()
	s.split(r.reach)
	require.Len(t, s.islands, 2)
	for _, is := range s.islands {
		b := is.state.Box
		is.state = pixel.NewState(b, is.state.Pixels, r.step())
		at := func(p int32) int { return (b.Y0+int(p)/b.W())*w + b.X0 + int(p)%b.W() }
		for _, p := range is.state.Pixels {
			is.state.C[p] = float32(spread[at(p)])
		}
		is.unit(&r.opts)
		for _, p := range is.state.Pixels {
			num := slowBlur(func(y, x int) float64 { return spread[y*w+x] }, h, w, at(p), 3)
			den := slowBlur(func(y, x int) float64 {
				if omega[y*w+x] {
					return 1
				}
				return 0
			}, h, w, at(p), 3)
			require.InEpsilon(t, 3*(num/den+0.01), is.state.C[p], 1e-5)
		}
	}
}

// prepared is an image after steps 1 to 3.
func prepared(t *testing.T, r *Refiner, in Input) *scene {
	t.Helper()
	scenes, err := r.prepare(t.Context(), &mapper{}, []Input{in})
	require.NoError(t, err)
	return scenes[0]
}

// Each region has the spread of its own fills, and starts from the image less its own best fill.
func TestRegionsAreMeasuredByTheirFills(t *testing.T) {
	const h, w = 64, 96
	y := texture(h, w, true, 1)
	omega := make([]bool, h*w)
	centres := []int{14, 48, 82} // columns; too far apart for blurs
	for _, c := range centres {
		for p, in := range disc(h, w, 30, c, 4) {
			omega[p] = omega[p] || in
		}
	}
	r := newRefiner(t)
	s := &scene{y: y, h: h, w: w, omega: omega}
	s.find()
	regions := s.pixels()
	s.split(r.reach)
	require.Len(t, s.islands, 3)
	level := func(i int, values ...float32) (fills [][]float32) {
		for _, v := range values {
			fills = append(fills, slices.Repeat([]float32{v}, 3*len(regions[i])))
		}
		return fills
	}
	fills := [][][]float32{level(0, 0.5), level(1, 0.25, 0.75), nil}
	for i := range s.regions {
		g := &s.regions[i]
		g.fills, g.spread = fills[i], make([]float32, len(g.pixels))
		require.NoError(t, Host{}.Spreads([]Spread{{Fills: g.fills, Share: 0.9, Out: g.spread}}))
	}
	require.NoError(t, r.compare([]*scene{s}))
	for _, is := range s.islands {
		i := is.regions[0]
		c := 3 * ([]float64{1, 0.5 * math.Sqrt(3), 1}[i] + 0.01)
		b := is.state.Box
		n := b.H() * b.W()
		closest := map[float64]bool{}
		for _, p := range is.state.Pixels {
			require.InEpsilon(t, c, is.state.C[p], 1e-5)
			if i == 2 {
				require.Zero(t, is.residual[p], "a region without fills is its own")
			}
			q := (b.Y0+int(p)/b.W())*w + b.X0 + int(p)%b.W()
			for ch := range 3 {
				fill := float64(y[ch*h*w+q]) - c*float64(is.state.A[ch*n+int(p)])
				closest[math.Round(fill*1e4)/1e4] = true
				if i == 2 {
					require.Zero(t, is.state.A[ch*n+int(p)])
				}
			}
		}
		for _, f := range [][]float64{{0.5}, {0.25, 0.75}, {}}[i] {
			require.True(t, closest[f], "fill %g of region %d is nowhere the closest", f, i)
			delete(closest, f)
		}
		require.True(t, i == 2 || len(closest) == 0, "region %d starts from elsewhere", i)
	}
}

// Regions of one island, whose pixels alternate in its window, keep each to its fills: one that has fewer than the other repeats them.
func TestRegionsOfAnIslandKeepTheirFills(t *testing.T) {
	const h, w = 48, 64
	omega := disc(h, w, 24, 24, 4)
	for p, in := range disc(h, w, 25, 36, 5) {
		omega[p] = omega[p] || in
	}
	r := newRefiner(t)
	s := &scene{y: texture(h, w, true, 1), h: h, w: w, omega: omega}
	s.find()
	s.split(r.reach)
	require.Len(t, s.regions, 2)
	require.Len(t, s.islands, 1)
	for i, levels := range [][]float32{{0.125}, {0.25, 0.5, 0.75}} {
		g := &s.regions[i]
		for _, v := range levels {
			g.fills = append(g.fills, slices.Repeat([]float32{v}, 3*len(g.pixels)))
		}
		g.spread = slices.Repeat([]float32{float32(i + 1)}, len(g.pixels))
	}
	is := s.islands[0]
	c := r.beside(s, is)
	require.Equal(t, 3, c.K)
	n := len(c.Pixels)
	for j, p := range c.Pixels {
		q := is.pixel(p, w)
		region := 0
		if slices.Contains(s.regions[1].pixels, int32(q)) {
			region = 1
		}
		for ch := range 3 {
			require.Equal(t, s.y[ch*h*w+q], c.Y[ch*n+j])
			for k := range c.K {
				require.Equal(t, [][]float32{{0.125, 0.125, 0.125}, {0.25, 0.5, 0.75}}[region][k], c.Fills[(k*3+ch)*n+j], "region %d, fill %d", region, k)
			}
		}
	}
	require.Nil(t, s.regions[1].fills, "they are not kept twice")
}
