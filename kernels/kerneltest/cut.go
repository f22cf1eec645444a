package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Cut tests the kernels of cut against loops in Go: windows of some images in any order, in them and beyond, and the sum of gradients of
// windows of several sizes that overlap.
func Cut(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ n, h, w, rows, columns, windows int }{{1, 1, 1, 1, 1, 1}, {3, 37, 71, 16, 24, 9}, {2, 40, 33, 40, 33, 2}} {
		Case(t, m, seed, func(r *Rig) {
			hw, size := s.h*s.w, s.rows*s.columns
			with := max(1, s.n-1) // images that have a region, in another order
			y, a, scale := r.Normal(3*s.n*hw), r.off(3*with*hw), r.off(with*hw)
			gain, shift := r.Normal(3*s.n), r.Normal(3*s.n)
			mask := make([]uint8, with*hw)
			for p := range mask {
				if n := p / hw; n%3 != 1 && r.Rand.IntN(3) == 0 { // image 1: nothing
					mask[p], scale[p] = uint8(1+r.Rand.IntN(255)), 0.2+r.Rand.Float32()
					for c := range 3 {
						a[(3*n+c)*hw+p%hw] = float32(r.Rand.NormFloat64())
					}
				}
			}
			var table []int32
			for range s.windows {
				table = append(table, int32(r.Rand.IntN(s.n)), int32(r.Rand.IntN(with)), int32(r.Rand.IntN(s.h-s.rows+1)), int32(r.Rand.IntN(s.w-s.columns+1)))
			}
			for i, beyond := range [][2]int{{-3, -5}, {s.h - s.rows + 2, s.w - s.columns + 4}, {-2 * s.h, 2 * s.w}} {
				if i < s.windows {
					table[4*i+2], table[4*i+3] = int32(beyond[0]), int32(beyond[1])
				}
			}
			mt, my, ma, ms, mm, mg, mb := In(r, table), In(r, y), In(r, a), In(r, scale), In(r, mask), In(r, gain), In(r, shift)
			inputs := []Array{mt, my, ma, ms, mm, mg, mb}
			for _, strides := range [][4]int{
				{3 * size, size, s.columns, 1}, {3 * size, 1, 3 * s.columns, 3}, {4*size + 8, 1, 4 * s.columns, 4},
			} {
				for _, omega := range []bool{false, true} {
					k := kernels.Cut{
						N: s.n, H: s.h, W: s.w, Windows: s.windows, Rows: s.rows, Columns: s.columns, Table: mt.Ptr, Y: my.Ptr, Gain: mg.Ptr,
						Shift: mb.Ptr, Strides: strides,
					}
					if omega {
						k.Mask, k.A, k.Scale = mm.Ptr, ma.Ptr, ms.Ptr
					}
					before := r.Normal(s.windows * strides[0])
					halves := make([]uint16, len(before))
					out, half := In(r, before), In(r, halves)
					k.Out = out.Ptr
					r.Run(k.Enqueue, inputs, []Array{out})
					got, want := out.Read(), before
					for i := range s.windows {
						n, m, top, left := int(table[4*i]), int(table[4*i+1]), int(table[4*i+2]), int(table[4*i+3])
						for p := range 3 * size {
							c, row, column := p/size, p%size/s.columns, p%s.columns
							at := min(max(top+row, 0), s.h-1)*s.w + min(max(left+column, 0), s.w-1)
							v := y[(3*n+c)*hw+at]
							if omega && mask[m*hw+at] != 0 {
								v -= scale[m*hw+at] * a[(3*m+c)*hw+at]
							}
							want[i*strides[0]+c*strides[1]+row*strides[2]+column*strides[3]] = gain[3*n+c]*v + shift[3*n+c]
						}
					}
					compare.Require(r.T, "windows", got, want, cutRounding)

					k.Out, k.Half = half.Ptr, true
					r.Run(k.Enqueue, inputs, []Array{half})
					for i, v := range half.Read() {
						if v != 0 {
							halves[i] = kernels.Float16(got[i])
						}
					}
					require.Equal(r.T, halves, half.Read(), "as float16")
				}
			}
		}, "%dx%d of %d of %dx%d", s.rows, s.columns, s.n, s.h, s.w)
	}
	t.Run("gather", func(t *testing.T) { cutGather(t, m, seed) })
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Cut{
			N: 1, H: 4, W: 4, Windows: 1, Rows: 2, Columns: 2, Table: 4, Y: 4, Gain: 4, Shift: 4, Strides: [4]int{12, 4, 2, 1}, Out: 4,
		}
		for what, change := range map[string]func(*kernels.Cut){
			"batch of 0 images": func(c *kernels.Cut) { c.N = 0 }, "windows of 5x2": func(c *kernels.Cut) { c.Rows = 5 },
			"batch of 70000": func(c *kernels.Cut) { c.Windows = 70000 }, "table is null": func(c *kernels.Cut) { c.Table = 0 },
			"scale is null": func(c *kernels.Cut) { c.Mask, c.A = 4, 4 }, "out is not aligned": func(c *kernels.Cut) { c.Out = 5 },
		} {
			c := good
			change(&c)
			require.ErrorContains(t, c.Enqueue(m), what)
		}
		gather := kernels.CutGather{N: 1, H: 4, W: 4, Bounds: 4, Windows: 4, DW: 4, Gain: 4, DX: 4}
		for what, change := range map[string]func(*kernels.CutGather){
			"extents": func(c *kernels.CutGather) { c.W = 0 }, "mask is null": func(c *kernels.CutGather) { c.Tiles, c.Blocks = 4, 1 },
			"0 blocks": func(c *kernels.CutGather) { c.Tiles, c.Mask = 4, 4 }, "dw is null": func(c *kernels.CutGather) { c.DW = 0 },
		} {
			c := gather
			change(&c)
			require.ErrorContains(t, c.Enqueue(m), what)
		}
	})
}

func cutGather(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ n, h, w, windows int }{{1, 1, 1, 1}, {3, 67, 130, 5}, {4, 20, 9, 0}} {
		Case(t, m, seed, func(r *Rig) {
			hw := s.h * s.w
			bounds, values := []int32{0}, 3 // the gradients begin somewhere
			var all []kernels.CutWindow
			for n := range s.n {
				if n != 1 {
					for range s.windows {
						w := kernels.CutWindow{H: 1 + r.Rand.IntN(s.h), W: 1 + r.Rand.IntN(s.w), At: values}
						w.Top, w.Left = r.Rand.IntN(s.h-w.H+1), r.Rand.IntN(s.w-w.W+1)
						values += 3 * w.H * w.W
						all = append(all, w)
					}
				}
				bounds = append(bounds, int32(len(all)))
			}
			mask := make([]uint8, s.n*hw)
			for p := range mask {
				mask[p] = uint8(r.Rand.IntN(3) / 2 * 255)
			}
			dw, gain, want := r.Normal(values), r.Normal(3*s.n), make([]float32, 3*s.n*hw)
			for n := range s.n {
				for _, w := range all[bounds[n]:bounds[n+1]] {
					for p := range 3 * w.H * w.W {
						c, row, column := p%3, p/3/w.W, p/3%w.W
						want[(3*n+c)*hw+(w.Top+row)*s.w+w.Left+column] += float32(dw[w.At+p] * gain[3*n+c])
					}
				}
			}
			list := kernels.ActiveTiles(mask, s.n, s.h, s.w)
			mb, mw, md, mg := In(r, bounds), In(r, append(kernels.CutWindows(all), 0)), In(r, dw), In(r, gain)
			mm, mt := In(r, mask), In(r, list)
			out := Out[float32](r, len(want))
			k := kernels.CutGather{N: s.n, H: s.h, W: s.w, Bounds: mb.Ptr, Windows: mw.Ptr, DW: md.Ptr, Gain: mg.Ptr, DX: out.Ptr}
			r.Run(k.Enqueue, []Array{mb, mw, md, mg}, []Array{out})
			compare.Require(r.T, "dx", out.Read(), want, cutSums)

			before := r.off(len(want))
			some := In(r, before)
			k.Tiles, k.Mask, k.Blocks, k.DX = mt.Ptr, mm.Ptr, max(1, (len(list)-s.n-1)/2), some.Ptr
			r.Run(k.Enqueue, []Array{mb, mw, md, mg, mm, mt}, []Array{some})
			all32 := out.Read()
			for i, v := range some.Read() {
				expected := before[i]
				if mask[i/3/hw*hw+i%hw] != 0 {
					expected = all32[i]
				}
				require.Equal(r.T, math.Float32bits(expected), math.Float32bits(v), "value %d", i)
			}
		}, "%d images of %dx%d, %d windows", s.n, s.h, s.w, s.windows)
	}
}

// cutSums is for five products of values up to some 10, with fused multiply-adds or without.
var cutSums = compare.Tolerance{Abs: 1e-5, Rel: 2e-6}

func init() {
	register("cut", Cut)
	const n, side, rows, windows = 32, 512, 128, 64
	params := map[string]int{"n": n, "side": side, "rows": rows, "windows": windows}
	normal := func(b *Bed, values int) func() (kernels.Ptr, error) {
		return func() (kernels.Ptr, error) { return b.Normal(values, 1, 0.1) }
	}
	registerBench(Bench{
		Kernel: "cut", Size: "64 windows of 128 x 128 of 32 x 3 x 512 x 512, channels last", Params: params,
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			table := make([]int32, 4*windows)
			for i := range windows {
				table[4*i], table[4*i+1], table[4*i+2], table[4*i+3] = int32(i%n), int32(i%n), int32(i*5), int32(i*3)
			}
			c := kernels.Cut{N: n, H: side, W: side, Windows: windows, Rows: rows, Columns: rows, Strides: [4]int{3 * rows * rows, 1, 3 * rows, 3}}
			return setUp(b, c.Cost(windows*rows*rows), func() func(kernels.Queue) error { return c.Enqueue },
				memory{&c.Table, func() (kernels.Ptr, error) { return Put(b, table) }},
				memory{&c.Y, normal(b, 3*n*side*side)}, memory{&c.A, normal(b, 3*n*side*side)}, memory{&c.Scale, normal(b, n*side*side)},
				memory{&c.Mask, func() (kernels.Ptr, error) { return stepMask(b, stepSquares(n, side, side, side)) }},
				memory{&c.Gain, normal(b, 3*n)}, memory{&c.Shift, normal(b, 3*n)},
				memory{&c.Out, func() (kernels.Ptr, error) { return b.Alloc(3 * windows * rows * rows) }})
		},
	}, Bench{
		Kernel: "cut", Size: "gather of 64 windows of 128 x 128 into 32 x 3 x 512 x 512", Params: params,
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			var all []kernels.CutWindow
			bounds := []int32{0}
			for i := range windows {
				all = append(all, kernels.CutWindow{Top: i * 5, Left: i * 3, H: rows, W: rows, At: 3 * rows * rows * i})
				if i%(windows/n) == windows/n-1 {
					bounds = append(bounds, int32(len(all)))
				}
			}
			c := kernels.CutGather{N: n, H: side, W: side}
			return setUp(b, c.Cost(n*side*side, windows*rows*rows), func() func(kernels.Queue) error { return c.Enqueue },
				memory{&c.Bounds, func() (kernels.Ptr, error) { return Put(b, bounds) }},
				memory{&c.Windows, func() (kernels.Ptr, error) { return Put(b, kernels.CutWindows(all)) }},
				memory{&c.DW, normal(b, 3*windows*rows*rows)}, memory{&c.Gain, normal(b, 3*n)},
				memory{&c.DX, func() (kernels.Ptr, error) { return b.Alloc(3 * n * side * side) }})
		},
	})
}

// cutRounding is for four float32 operations on values up to some 10, with fused multiply-adds or without.
var cutRounding = compare.Tolerance{Abs: 4e-6, Rel: 2e-6}
