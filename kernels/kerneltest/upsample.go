package kerneltest

import (
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// rounding is for a few float32 operations on values around 1, in another order or with fused multiply-adds.
var rounding = compare.Tolerance{Abs: 2e-6, Rel: 2e-6}

// Upsample tests the kernel upsample.
func Upsample(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct{ n, h, w, s int }{{1, 1, 1, 1}, {1, 1, 1, 4}, {3, 5, 7, 4}, {2, 9, 33, 8}, {64, 3, 2, 5}, {1, 2, 300, 4}} {
		Case(t, m, seed, func(r *Rig) {
			H, W := c.h*c.s, c.w*c.s
			grid := In(r, r.Normal(c.n*c.h*c.w))
			out := Out[float32](r, c.n*H*W)
			u := kernels.Upsample{N: c.n, GridH: c.h, GridW: c.w, H: H, W: W, Grid: grid.Ptr, Out: out.Ptr}
			r.Run(u.Enqueue, []Array{grid}, []Array{out})
			want := make([]float32, c.n*H*W)
			for i := range c.n {
				pixel.Upsample(grid.Read()[i*c.h*c.w:], c.h, c.w, c.s, want[i*H*W:(i+1)*H*W])
			}
			compare.Require(r.T, "bilinear", out.Read(), want, rounding)

			u.Nearest = true
			r.Run(u.Enqueue, []Array{grid}, []Array{out})
			g := grid.Read()
			for i := range want {
				y, x := i/W%H, i%W
				want[i] = g[(i/(H*W)*c.h+y/c.s)*c.w+x/c.s]
			}
			require.Equal(r.T, want, out.Read(), "nearest")
		}, "%dx%dx%d times %d", c.n, c.h, c.w, c.s)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Upsample{N: 1, GridH: 2, GridW: 2, H: 4, W: 4, Grid: 256, Out: 512}
		for what, change := range map[string]func(*kernels.Upsample){
			"batch": func(u *kernels.Upsample) { u.N = 0 }, "extents": func(u *kernels.Upsample) { u.W = 1 << 20 },
			"null": func(u *kernels.Upsample) { u.Grid = 0 }, "aligned": func(u *kernels.Upsample) { u.Out = 516 },
		} {
			u := good
			change(&u)
			require.ErrorContains(t, u.Enqueue(m), what)
		}
	})
}

func init() {
	register("upsample", Upsample)
	registerBench(Bench{
		Kernel: "upsample", Size: "32 x 128 x 128 times 4", Peer: "upsample",
		Params: map[string]int{"n": 32, "h": 128, "w": 128, "scale": 4},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			u := kernels.Upsample{N: 32, GridH: 128, GridW: 128, H: 512, W: 512}
			var err error
			if u.Grid, err = b.Normal(32*128*128, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if u.Out, err = b.Alloc(32 * 512 * 512); err != nil {
				return nil, kernels.Cost{}, err
			}
			return u.Enqueue, u.Cost(), nil
		},
	})
}
