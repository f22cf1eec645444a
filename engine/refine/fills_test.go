package refine

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/internal/morph"
	"f2pad.example/engine/pixel"

	"github.com/stretchr/testify/require"
)

// rounding is for float32 results of a few hundred operations on values around 1, against float64.
var rounding = compare.Tolerance{Abs: 1e-5, Rel: 1e-5}

// sceneOf is an image with its region.
func sceneOf(y []float32, h, w int, omega []bool, memory ...*Normal) *Scene {
	return &Scene{
		Y: y, H: h, W: w, Omega: omega, Regions: morph.Components(omega, h, w, true),
		Memory: memory, Seed: 5,
	}
}

func disc(h, w, cy, cx int, r float64) []bool {
	m := make([]bool, h*w)
	for p := range m {
		m[p] = math.Hypot(float64(p/w-cy), float64(p%w-cx)) <= r
	}
	return m
}

func shiftFills() ShiftFills { return ShiftFills{DefaultOptions(4).Fills, 4} }

// fillsOf is six fills of each region of a scene.
func fillsOf(t *testing.T, f Fills, s *Scene) [][][]float32 {
	t.Helper()
	fills, err := f.Fill(Host{}, []*Scene{s}, 6)
	require.NoError(t, err)
	return fills[0]
}

// slowCost follows the cost's definition over a whole ring; candidate and image are blurred planes.
func slowCost(ring []int, value, image func(c, p int) float64) float64 {
	total := 0.0
	for c := range 3 {
		mean := 0.0
		for _, p := range ring {
			mean += (value(c, p) - image(c, p)) / float64(len(ring))
		}
		for _, p := range ring {
			total += math.Pow(value(c, p)-image(c, p)-0.7*mean, 2)
		}
	}
	return total / float64(3*len(ring))
}

func blurred(y []float32, h, w int) []float32 {
	out := slices.Clone(y)
	g := pixel.NewGaussian(1)
	for c := 0; c < len(y); c += h * w {
		g.Blur(out[c:c+h*w], h, w, make([]float32, g.Scratch(h, w)))
	}
	return out
}

func TestCandidatesAndTheirCosts(t *testing.T) {
	const h, w = 44, 48
	for _, colour := range []bool{false, true} {
		y := texture(h, w, colour, 3)
		omega := disc(h, w, 18, 20, 4)
		omega[38*w+40] = true // another region, in the way
		omega[18*w+27] = true // and one that the ring must leave out
		small, err := NewNormal(make([]uint8, 25*60), 1, 25, 60)
		require.NoError(t, err)
		other := texture(h+5, w+9, colour, 8) // larger than the image
		large, err := Remember(wrap(other, h+5, w+9))
		require.NoError(t, err)
		s := sceneOf(y, h, w, omega, small, large)
		f := shiftFills()
		f.Shifts, f.RingPixels = 1e6, 1e6 // all, so that definitions can be compared
		src := f.sources(s)
		require.Len(t, s.Regions, 3)
		p := src.place(0)

		inside := make([]bool, h*w)
		for _, q := range s.Regions[0] {
			inside[q] = true
		}
		var ring []int
		for q := range h * w {
			if d := slowDistance(inside, w, q); d > 0 && d <= 25 && !omega[q] {
				ring = append(ring, q)
				require.Contains(t, p.ring, int32(q))
			}
		}
		require.Len(t, p.ring, len(ring))

		blocked := make([]bool, h*w)
		for q := range blocked {
			blocked[q] = slowDistance(omega, w, q) <= 1
		}
		var near []int
		for q := range h * w {
			if slowDistance(inside, w, q) <= 25 {
				near = append(near, q)
			}
		}
		smooth := blurred(y, h, w)
		image := func(c, q int) float64 { return float64(smooth[c*h*w+q]) }
		want := map[[2]int]float64{}
		for dy := -h; dy <= h; dy += 2 {
		next:
			for dx := -w; dx <= w; dx += 2 {
				for _, q := range near {
					ty, tx := q/w+dy, q%w+dx
					if ty < 0 || ty >= h || tx < 0 || tx >= w || inside[q] && blocked[ty*w+tx] {
						continue next
					}
				}
				want[[2]int{dy, dx}] = slowCost(ring, func(c, q int) float64 { return image(c, q+dy*w+dx) }, image)
			}
		}
		src.places[0] = p
		search := src.search()
		require.NoError(t, Host{}.Costs([]Search{search}))
		got := src.candidates(&p, search.Rings[0].Costs)
		require.True(t, slices.IsSortedFunc(got, func(a, b candidate) int { return cmp.Compare(a.cost, b.cost) }))
		require.Len(t, got, len(want)+1, "all shifts, and the image that covers the ring")
		require.Greater(t, len(want), 20)
		eight := make([]float32, len(other))
		for i, v := range other {
			eight[i] = float32(math.Round(float64(v)*255) / 255)
		}
		eight = blurred(eight, h+5, w+9)
		for _, c := range got {
			if c.normal != nil {
				require.Same(t, large, c.normal)
				cost := 1.1 * slowCost(ring, func(c, q int) float64 {
					return float64(eight[(c*(h+5)+q/w)*(w+9)+q%w])
				}, image)
				require.InEpsilon(t, cost, c.cost, 1e-4)
				continue
			}
			cost, ok := want[[2]int{c.dy, c.dx}]
			require.True(t, ok, "shift %d, %d is not valid", c.dy, c.dx)
			require.InEpsilon(t, cost, c.cost, 1e-4)
			delete(want, [2]int{c.dy, c.dx})
		}
		require.Empty(t, want)

		f.Shifts, f.RingPixels = 9, 31
		src = f.sources(s)
		p = src.place(0)
		require.Len(t, p.ring, 31)
		require.True(t, slices.IsSorted(p.ring))
		for _, q := range p.ring {
			require.Contains(t, ring, int(q))
		}
		require.Len(t, p.shifts, 9)
		for i, a := range p.shifts {
			require.NotContains(t, p.shifts[:i], a, "a shift was drawn twice")
		}
	}
}

func TestBestAreApart(t *testing.T) {
	s := &sources{ShiftFills: shiftFills()}
	m := &Normal{}
	at := func(dy, dx int) candidate { return candidate{shift: shift{dy, dx}} }
	got := s.best([]candidate{
		at(10, 10), at(12, 12), at(10, 14), {normal: m}, {normal: m}, at(8, 14), at(14, 10),
	}, 5)
	require.Equal(t, []candidate{at(10, 10), at(10, 14), {normal: m}, {normal: m}, at(14, 10)}, got)
	require.Len(t, s.best(got, 2), 2)
}

// An exactly periodic image continues itself: the best fill is what was there before the defect, brightness included.
func TestFillsRestoreATexture(t *testing.T) {
	const h, w = 64, 64
	y := make([]float32, 3*h*w)
	for i := range y {
		p := i % (h * w)
		y[i] = float32(0.5 + 0.2*math.Sin(2*math.Pi*float64(p/w)/8)*math.Cos(2*math.Pi*float64(p%w)/16) + 0.1*float64(i/(h*w)))
	}
	want := slices.Clone(y)
	omega := disc(h, w, 30, 33, 7)
	for p, on := range omega {
		for c := range 3 {
			if on {
				y[c*h*w+p] = 0
			}
		}
	}
	f := shiftFills()
	f.Shifts = 1e6
	fills := fillsOf(t, f, sceneOf(y, h, w, omega))
	require.Len(t, fills, 1)
	require.Len(t, fills[0], 6)
	region := morph.Components(omega, h, w, true)[0]
	for c := range 3 {
		for i, p := range region {
			require.InDelta(t, want[c*h*w+int(p)], fills[0][0][c*len(region)+i], 1e-5)
		}
	}
}

// Every fill is a candidate plus the ring's residual, interpolated: checked against the formula with the candidate known.
func TestOffsetContinuesTheRing(t *testing.T) {
	const h, w = 48, 48
	y := texture(h, w, true, 2)
	for i := range y {
		y[i] += 0.002 * float32(i%(h*w)/w) // shading
	}
	other := texture(h, w, true, 4)
	m, err := Remember(wrap(other, h, w))
	require.NoError(t, err)
	for _, radius := range []float64{2, 9} {
		f := shiftFills()
		f.Shifts, f.RingPixels = 0, 1e6
		omega := disc(h, w, 24, 24, radius)
		s := sceneOf(y, h, w, omega, m)
		got := fillsOf(t, f, s)[0]
		require.Len(t, got, 1)
		region := s.Regions[0]
		sigma := math.Max(3, math.Sqrt(float64(len(region)))/2.5)
		require.Equal(t, radius < 5, sigma == 3)
		var ring []int
		for q := range h * w {
			if d := slowDistance(omega, w, q); d > 0 && d <= 25 {
				ring = append(ring, q)
			}
		}
		for c := range 3 {
			at := func(p int) float64 { return math.Round(float64(other[c*h*w+p])*255) / 255 }
			for i, p := range region {
				var num, den float64
				for _, q := range ring {
					g := math.Exp(-float64(square(q/w-int(p)/w)+square(q%w-int(p)%w)) / (2 * sigma * sigma))
					num += g * (float64(y[c*h*w+q]) - at(q))
					den += g
				}
				require.InDelta(t, at(int(p))+num/den, got[0][c*len(region)+i], 1e-5)
			}
		}
	}
}

func TestFallbacks(t *testing.T) {
	const h, w = 32, 32
	y := make([]float32, 3*h*w)
	for i := range y {
		y[i] = 0.25
	}
	omega := disc(h, w, 16, 16, 13) // no room for a shift
	s := sceneOf(y, h, w, omega)
	got := fillsOf(t, shiftFills(), s)[0]
	require.Len(t, got, 1, "the smooth continuation of the ring")
	for _, v := range got[0] {
		require.InDelta(t, 0.25, v, 1e-6)
	}

	everything := make([]bool, h*w)
	for p := range everything {
		everything[p] = true
	}
	require.Equal(t, [][][]float32{nil}, fillsOf(t, shiftFills(), sceneOf(y, h, w, everything)))

	var memory []*Normal
	for k := range 8 {
		m, err := NewNormal(slices.Repeat([]uint8{uint8(k)}, h*w), 1, h, w)
		require.NoError(t, err)
		memory = append(memory, m)
	}
	got = fillsOf(t, shiftFills(), sceneOf(y, h, w, everything, memory...))[0]
	require.Len(t, got, 6, "no ring to compare on: remembered images in their order")
	for k, f := range got {
		require.Len(t, f, 3*h*w)
		require.Equal(t, slices.Repeat([]float32{float32(k) / 255}, 3*h*w), f)
	}
}

func TestGreyAndColourFillsAgree(t *testing.T) {
	const h, w = 48, 48
	y := texture(h, w, false, 2)
	grey, err := Remember(wrap(texture(h, w, false, 7), h, w))
	require.NoError(t, err)
	planes, shape := grey.Planes()
	require.Equal(t, []int{1, h, w}, shape)
	colour, err := NewNormal(slices.Concat(planes, planes, planes), 3, h, w)
	require.NoError(t, err)
	omega := disc(h, w, 20, 24, 6)
	a := fillsOf(t, shiftFills(), sceneOf(y, h, w, omega, grey))
	b := fillsOf(t, shiftFills(), sceneOf(y, h, w, omega, colour))
	for k := range a[0] {
		compare.Require(t, "fill", a[0][k], b[0][k], rounding)
	}
}

func TestNormal(t *testing.T) {
	for _, c := range []struct{ n, c, h, w int }{
		{12, 2, 2, 3}, {6, 1, 0, 6}, {6, 1, 6, 0}, {7, 1, 2, 3}, {5, 1, 2, 3}, {6, 3, 2, 3}, {18, 3, -2, -3},
	} {
		_, err := NewNormal(make([]uint8, c.n), c.c, c.h, c.w)
		require.Error(t, err, "%v", c)
	}
	_, err := Remember(wrap(make([]float32, 6), 1, 2))
	require.NoError(t, err)
	_, err = Remember(nil)
	require.Error(t, err)
	y := texture(9, 10, true, 1)
	n, err := Remember(wrap(y, 9, 10))
	require.NoError(t, err)
	data, shape := n.Planes()
	require.Equal(t, []int{3, 9, 10}, shape)
	for i, v := range y {
		require.Equal(t, pixel.To8(v), data[i])
		require.InDelta(t, v, n.at(i/90, i%90/10, i%10), 0.5/255+1e-6)
	}
}
