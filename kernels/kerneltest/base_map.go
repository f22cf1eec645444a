package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// axes puts the tables of both axes on the machine.
func axes(t testing.TB, n, h, w, H, W int, o method.MapOptions) kernels.BaseMap {
	t.Helper()
	rows, err := kernels.NewAxis(h, H, o.Axis(h, H))
	require.NoError(t, err)
	columns, err := kernels.NewAxis(w, W, o.Axis(w, W))
	require.NoError(t, err)
	return kernels.BaseMap{N: n, Rows: rows, Columns: columns}
}

func (r *Rig) baseMap(b *kernels.BaseMap, grid []float32) (in []Array, out *Memory[float32]) {
	rows, columns, err := b.Tables()
	require.NoError(r.T, err)
	rt, ct, g := In(r, rows), In(r, columns), In(r, grid)
	out = Out[float32](r, b.N*b.Rows.Pixels*b.Columns.Pixels)
	b.RowTable, b.ColumnTable, b.Grid, b.Out = rt.Ptr, ct.Ptr, g.Ptr, out.Ptr
	return []Array{rt, ct, g}, out
}

// BaseMap tests the kernels base_map4 to base_map34.
func BaseMap(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct {
		n, h, w, H, W int
		sigma         float64
		radius        int
	}{
		{1, 1, 1, 1, 1, 0, 0}, {1, 1, 1, 4, 4, 4, 16}, {3, 5, 7, 20, 28, 4, 16}, {64, 3, 2, 15, 10, 1, 4}, {1, 9, 33, 72, 264, 4, 16},
		{1, 40, 50, 160, 200, 4, 16}, {1, 5, 7, 13, 17, 1, 4}, {1, 13, 17, 9, 12, 1, 3}, {2, 20, 35, 40, 70, 4, 16},
		{1, 70, 45, 70, 45, 4, 16}, {1, 17, 3, 68, 12, 1, 4}, {1, 2, 300, 8, 1200, 0, 0},
	} {
		Case(t, m, seed, func(r *Rig) {
			for i := range 8 {
				o := method.MapOptions{Nearest: i&1 != 0, Reflect101: i&2 != 0, Sigma: c.sigma, Radius: c.radius}
				grid := r.Normal(c.n * c.h * c.w)
				if i&4 != 0 {
					grid[r.Rand.IntN(len(grid))] = float32(math.NaN())
				}
				b := axes(r.T, c.n, c.h, c.w, c.H, c.W, o)
				in, out := r.baseMap(&b, grid)
				r.Run(b.Enqueue, in, []Array{out})
				want := make([]float32, c.n*c.H*c.W)
				for i := range c.n {
					method.BaseMap(grid[i*c.h*c.w:(i+1)*c.h*c.w], c.h, c.w, c.H, c.W, o, want[i*c.H*c.W:(i+1)*c.H*c.W])
				}
				requireBeside(r.T, "map", out.Read(), want, blurred)
			}
		}, "%dx%dx%d to %dx%d, sigma %g", c.n, c.h, c.w, c.H, c.W, c.sigma)
	}
	// The refiner's u is pixel's enlargement, then pixel's blur.
	Case(t, m, seed, func(r *Rig) {
		const h, w, s = 11, 19, 8
		g := pixel.NewGaussian(0.25 * s)
		grid := r.Normal(h * w)
		b := axes(r.T, 1, h, w, h*s, w*s, method.MapOptions{Sigma: 0.25 * s, Radius: g.Radius()})
		in, out := r.baseMap(&b, grid)
		r.Run(b.Enqueue, in, []Array{out})
		want := make([]float32, h*s*w*s)
		pixel.Upsample(grid, h, w, s, want)
		g.Blur(want, h*s, w*s, make([]float32, g.Scratch(h*s, w*s)))
		requireBeside(r.T, "u", out.Read(), want, blurred)
	}, "refiner")
	t.Run("refuses", func(t *testing.T) {
		good := axes(t, 1, 3, 3, 12, 12, method.MapOptions{Sigma: 1, Radius: 4})
		good.RowTable, good.ColumnTable, good.Grid, good.Out = 256, 512, 1024, 2048
		for what, change := range map[string]func(*kernels.BaseMap){
			"batch": func(b *kernels.BaseMap) { b.N = 0 }, "no pixels": func(b *kernels.BaseMap) { b.Rows = kernels.Axis{} },
			"null": func(b *kernels.BaseMap) { b.RowTable = 0 }, "aligned": func(b *kernels.BaseMap) { b.Out = 516 },
			"make a pixel": func(b *kernels.BaseMap) {
				b.Rows = axes(t, 1, 80, 80, 80, 80, method.MapOptions{Sigma: 8, Radius: 32}).Rows
			},
			"too much": func(b *kernels.BaseMap) { b.Rows = axes(t, 1, 999, 9, 99, 9, method.MapOptions{}).Rows },
		} {
			b := good
			change(&b)
			require.ErrorContains(t, b.Enqueue(m), what)
		}
		_, err := kernels.NewAxis(0, 4, nil)
		require.ErrorContains(t, err, "extents")
		for _, first := range []int{-1, 3} {
			_, err = kernels.NewAxis(4, 2, func(int) (int, []float32) { return first, []float32{1, 2} })
			require.ErrorContains(t, err, "pixel 0 is made of cells")
		}
	})
}

func init() {
	register("base_map", BaseMap)
	registerBench(Bench{
		Kernel: "base_map", Size: "32 x 128 x 128 to 512 x 512, sigma 4", Peer: "base_map",
		Params: map[string]int{"n": 32, "h": 128, "w": 128, "scale": 4, "sigma": 4, "radius": 16},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			axis, err := kernels.NewAxis(128, 512, method.MapOptions{Sigma: 4, Radius: 16}.Axis(128, 512))
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			k := kernels.BaseMap{N: 32, Rows: axis, Columns: axis}
			table, _, err := k.Tables()
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			if k.RowTable, err = Put(b, table); err != nil {
				return nil, kernels.Cost{}, err
			}
			k.ColumnTable = k.RowTable
			if k.Grid, err = b.Normal(32*128*128, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if k.Out, err = b.Alloc(32 * 512 * 512); err != nil {
				return nil, kernels.Cost{}, err
			}
			return k.Enqueue, k.Cost(), nil
		},
	})
}
