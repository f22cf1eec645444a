package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// blurred is for weighted means, some 65 x 65 of values around 1, whose float32 sums differ in order and in contraction.
var blurred = compare.Tolerance{Abs: 1e-6, Rel: 1e-6}

// requireBeside compares where want is a number, and requires NaN where want is NaN and nowhere else.
func requireBeside(t testing.TB, name string, got, want []float32, tol compare.Tolerance) {
	t.Helper()
	require.Len(t, got, len(want), name)
	g, w := make([]float32, 0, len(got)), make([]float32, 0, len(want))
	for i := range want {
		gotNaN, wantNaN := math.IsNaN(float64(got[i])), math.IsNaN(float64(want[i]))
		require.Equal(t, wantNaN, gotNaN, "%s: NaN at %d", name, i)
		if !wantNaN {
			g, w = append(g, got[i]), append(w, want[i])
		}
	}
	compare.Require(t, name, g, w, tol)
}

// blurPlane is the twin: pixel's for repeated edges, method's otherwise.
func blurPlane(plane []float32, h, w, radius int, reflect101 bool) {
	sigma := float64(radius) / 4
	if !reflect101 {
		g := pixel.NewGaussian(sigma)
		g.Blur(plane, h, w, make([]float32, g.Scratch(h, w)))
		return
	}
	o := method.MapOptions{Sigma: sigma, Radius: radius, Reflect101: true}
	method.BaseMap(append([]float32(nil), plane...), h, w, h, w, o, plane)
}

// Blur tests the kernels blur4 to blur32.
func Blur(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct{ n, h, w, radius int }{
		{1, 1, 1, 0}, {1, 1, 1, 32}, {64, 1, 7, 1}, {1, 1, 7, 16}, {1, 9, 1, 32}, {64, 9, 1, 6}, {1, 13, 17, 0}, {3, 13, 17, 6},
		{1, 13, 17, 32}, {1, 40, 50, 1}, {2, 40, 52, 16}, {1, 65, 129, 4}, {1, 65, 129, 16}, {1, 130, 136, 5}, {1, 140, 132, 16},
		{1, 129, 64, 32}, {1, 40, 128, 8}, {1, 20, 136, 31},
	} {
		Case(t, m, seed, func(r *Rig) {
			for i := range 4 {
				reflect101, plane := i&1 != 0, c.h*c.w
				v := r.Normal(c.n * plane)
				if i&2 != 0 {
					v[r.Rand.IntN(len(v))] = float32(math.NaN()) // reaches as far as the radius and no further
				}
				in, out := In(r, v), Out[float32](r, len(v))
				b := kernels.Blur{
					N: c.n, H: c.h, W: c.w, Taps: pixel.NewGaussian(float64(c.radius) / 4).Taps(), Reflect101: reflect101,
					In: in.Ptr, Out: out.Ptr,
				}
				require.Len(r.T, b.Taps, c.radius+1)
				r.Run(b.Enqueue, []Array{in}, []Array{out})
				for i := range c.n {
					blurPlane(v[i*plane:(i+1)*plane], c.h, c.w, c.radius, reflect101)
				}
				requireBeside(r.T, fmt.Sprintf("reflect101 %v", reflect101), out.Read(), v, blurred)
			}
		}, "%dx%dx%d radius %d", c.n, c.h, c.w, c.radius)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Blur{N: 1, H: 2, W: 2, Taps: []float32{1}, In: 256, Out: 512}
		for what, change := range map[string]func(*kernels.Blur){
			"batch": func(b *kernels.Blur) { b.N = 1 << 16 }, "extents": func(b *kernels.Blur) { b.H = 0 },
			"0 taps": func(b *kernels.Blur) { b.Taps = nil }, "34 taps": func(b *kernels.Blur) { b.Taps = make([]float32, 34) },
			"null": func(b *kernels.Blur) { b.Out = 0 }, "aligned": func(b *kernels.Blur) { b.In = 260 },
			"overlap": func(b *kernels.Blur) { b.Out = b.In },
		} {
			b := good
			change(&b)
			require.ErrorContains(t, b.Enqueue(m), what)
		}
	})
}

func init() {
	register("blur", Blur)
	for _, sigma := range []int{1, 4} {
		registerBench(Bench{
			Kernel: "blur", Size: fmt.Sprintf("32 x 512 x 512, sigma %d", sigma), Peer: "blur",
			Params: map[string]int{"n": 32, "h": 512, "w": 512, "radius": 4 * sigma, "sigma": sigma},
			Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
				k := kernels.Blur{N: 32, H: 512, W: 512, Taps: pixel.NewGaussian(float64(sigma)).Taps()}
				var err error
				if k.In, err = b.Normal(32*512*512, 0, 1); err != nil {
					return nil, kernels.Cost{}, err
				}
				if k.Out, err = b.Alloc(32 * 512 * 512); err != nil {
					return nil, kernels.Cost{}, err
				}
				return k.Enqueue, k.Cost(), nil
			},
		})
	}
}
