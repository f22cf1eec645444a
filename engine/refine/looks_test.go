package refine

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// mapper is a Scorer of which only Map is asked.
type mapper struct {
	Host
	given  map[int]floats
	of     func(image int, x []float32, h, w int) []float32
	err    error
	images [][]int
}

func (m *mapper) Stride() int { return 4 }

func (m *mapper) Map(_ context.Context, x Variants, where []bool, v *tensor.Dense) error {
	h, w := v.Shape()[1], v.Shape()[2]
	m.images = append(m.images, x.Of)
	for k, i := range x.Of {
		copy(nd.Data(v)[k*h*w:], m.of(i, variant(x, k, m.given, h, w), h, w))
	}
	for p, on := range where {
		if !on {
			nd.Data(v)[p] = float32(math.NaN()) // not asked for
		}
	}
	return m.err
}

func (m *mapper) Optimise(context.Context, []loop.Problem, *loop.Options) ([][]loop.Iteration, error) {
	panic("not asked")
}

// on is a mapper of scenes.
func on(scenes []*scene, of func(image int, x []float32, h, w int) []float32) *mapper {
	m := &mapper{given: map[int]floats{}, of: of}
	for i, s := range scenes {
		m.given[i] = s.y
	}
	return m
}

// blocks is a map that depends on where the grid lies: each pixel's is the mean of its cell, and of the image's number.
func blocks(image int, x []float32, h, w int) []float32 {
	v := make([]float32, h*w)
	for p := range v {
		for i := range 16 {
			for c := range 3 {
				v[p] += float32(c+1) / 16 * x[(c*h+p/w/4*4+i/4)*w+p%w/4*4+i%4]
			}
		}
		v[p] += 10 * float32(image)
	}
	return v
}

func looking(h, w int) []*scene {
	rng := rand.New(rand.NewPCG(2, 2))
	scenes := make([]*scene, 3)
	for i := range scenes {
		s := &scene{h: h, w: w, y: make([]float32, 3*h*w), v: make([]float32, h*w)}
		for p := range s.y {
			s.y[p] = rng.Float32()
		}
		for p := range s.v {
			s.v[p] = float32(rng.NormFloat64())
		}
		if i != 1 {
			s.omega = make([]bool, h*w)
			for p := range s.omega {
				s.omega[p] = p == 9 || p/w > 1 && rng.IntN(3) > 0
			}
		}
		scenes[i] = s
	}
	return scenes
}

// On Omega, v is the mean over five places of the grid, each brought back to the pixels it is about.
func TestLooksMoveTheGrid(t *testing.T) {
	const h, w = 12, 20
	scenes := looking(h, w)
	m := on(scenes, blocks)
	require.NoError(t, newRefiner(t).look(t.Context(), m, scenes))
	require.Equal(t, [][]int{{0, 2}, {0, 2}, {0, 2}, {0, 2}}, m.images)
	require.Nil(t, scenes[1].looked)
	clamp := func(i, n int) int { return min(max(i, 0), n-1) }
	for _, i := range []int{0, 2} {
		s := scenes[i]
		want := make([]float64, h*w)
		for p := range want {
			want[p] = float64(s.v[p])
			if !s.omega[p] {
				continue
			}
			for _, d := range [][2]int{{-2, -2}, {-2, 2}, {2, -2}, {2, 2}} {
				// Pixel p of Y is at p - d of the image that was moved, within its border.
				py, px := clamp(p/w-d[0], h), clamp(p%w-d[1], w)
				for k := range 16 {
					qy, qx := py/4*4+k/4, px/4*4+k%4
					for c := range 3 {
						want[p] += float64(c+1) / 16 * float64(s.y[(c*h+clamp(qy+d[0], h))*w+clamp(qx+d[1], w)])
					}
				}
				want[p] += 10 * float64(i)
			}
			want[p] /= 5
		}
		compare.Require(t, "looked", s.looked, want, rounding)
	}
}

// A map that does not depend on the grid is the same from everywhere but at the border.
func TestLooksComeBackToTheirPixels(t *testing.T) {
	const h, w = 16, 24
	scenes := looking(h, w)
	m := on(scenes, func(_ int, x []float32, h, w int) []float32 { return x[:h*w] })
	require.NoError(t, newRefiner(t).look(t.Context(), m, scenes))
	for p, got := range scenes[2].looked {
		if y, x := p/w, p%w; scenes[2].omega[p] && y >= 2 && y < h-2 && x >= 2 && x < w-2 {
			require.InDelta(t, (scenes[2].v[p]+4*scenes[2].y[p])/5, got, 1e-6)
		}
	}
}

func TestNoLooksWhereNothingIsSuspicious(t *testing.T) {
	m := &mapper{of: blocks}
	scenes := looking(8, 8)[1:2]
	require.NoError(t, newRefiner(t).look(t.Context(), m, scenes))
	o := DefaultOptions(4)
	o.Looks.ShiftCells = 0
	r, err := New(o)
	require.NoError(t, err)
	scenes = append(scenes, looking(8, 8)...)
	require.NoError(t, r.look(t.Context(), m, scenes))
	require.Empty(t, m.images)
	for _, s := range scenes {
		require.Nil(t, s.looked)
	}
}

func TestFaultsOfALook(t *testing.T) {
	r := newRefiner(t)
	m := on(looking(8, 8), blocks)
	m.err = errBoom
	require.ErrorIs(t, r.look(t.Context(), m, looking(8, 8)), errBoom)
	for _, bad := range []float64{math.NaN(), math.Inf(-1), 2e30} {
		m := on(looking(8, 8), func(image int, x []float32, h, w int) []float32 {
			v := blocks(image, x, h, w)
			if image == 2 {
				v[9] = float32(bad)
			}
			return v
		})
		err := r.look(t.Context(), m, looking(8, 8))
		require.ErrorContains(t, err, "refine: image 2: the scorer's map is")
		require.ErrorContains(t, err, "pixel 9")
	}
}
