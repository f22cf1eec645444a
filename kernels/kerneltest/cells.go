package kerneltest

import (
	"slices"
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Cells tests the kernel cells against loops in Go, to the bit: there is one operation per value.
func Cells(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ n, rows, columns, d int }{{1, 1, 1, 1}, {5, 3, 4, 7}, {3, 6, 5, 12}, {2, 17, 16, 64}} {
		Case(t, m, seed, func(r *Rig) {
			// Three arrays of maps of different sizes; rectangles of the first do not overlap.
			type plane struct{ count, h, w int }
			arrays := []plane{{s.n, s.rows + 2, s.columns + 1}, {4, s.rows + 5, s.columns + 3}, {s.n + 1, s.rows, s.columns}}
			var table []int32
			for k := range s.n {
				for i, a := range arrays {
					number := k
					if i > 0 {
						number = r.Rand.IntN(a.count)
					}
					table = append(table, int32((number*a.h+r.Rand.IntN(a.h-s.rows+1))*a.w+r.Rand.IntN(a.w-s.columns+1)))
				}
			}
			size := func(i int) int { return arrays[i].count * arrays[i].h * arrays[i].w * s.d }
			before, a, b := r.Normal(size(0)), r.Normal(size(1)), r.Normal(size(2))
			mt, ma, mb, out := In(r, table), In(r, a), In(r, b), In(r, before)
			for op := range 3 {
				k := kernels.Cells{
					Rectangles: s.n, Rows: s.rows, Columns: s.columns, D: s.d, Table: mt.Ptr, OutPitch: arrays[0].w, APitch: arrays[1].w,
					BPitch: arrays[2].w, A: ma.Ptr, Out: out.Ptr, Subtract: op == 2,
				}
				if op > 0 {
					k.B = mb.Ptr
				}
				r.Run(k.Enqueue, []Array{mt, ma, mb}, []Array{out})
				want := slices.Clone(before)
				for i := range s.n {
					for c := range s.rows * s.columns * s.d {
						row, column, e := c/s.d/s.columns, c/s.d%s.columns, c%s.d
						at := func(which int) int { return (int(table[3*i+which])+row*arrays[which].w+column)*s.d + e }
						v := a[at(1)]
						switch op {
						case 1:
							v += b[at(2)]
						case 2:
							v -= b[at(2)]
						}
						want[at(0)] = v
					}
				}
				require.Equal(r.T, want, out.Read(), "operation %d", op)
			}
		}, "%d of %dx%dx%d", s.n, s.rows, s.columns, s.d)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Cells{Rectangles: 1, Rows: 1, Columns: 1, D: 4, Table: 4, A: 16, Out: 32}
		for what, change := range map[string]func(*kernels.Cells){
			"rectangles of 0x1": func(c *kernels.Cells) { c.Rows = 0 }, "rectangles of 1x1073741824": func(c *kernels.Cells) { c.Columns = 1 << 30 },
			"batch of 70000": func(c *kernels.Cells) { c.Rectangles = 70000 }, "a is null": func(c *kernels.Cells) { c.A = 0 },
			"b is not aligned to 16": func(c *kernels.Cells) { c.B = 4 }, "table is null": func(c *kernels.Cells) { c.Table = 0 },
		} {
			c := good
			change(&c)
			require.ErrorContains(t, c.Enqueue(m), what)
		}
	})
}

func init() {
	register("cells", Cells)
	const n, side, outer, d = 64, 24, 32, 256
	registerBench(Bench{
		Kernel: "cells", Size: "64 x 24 x 24 x 256, added", Params: map[string]int{"n": n, "side": side, "d": d},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			c := kernels.Cells{Rectangles: n, Rows: side, Columns: side, D: d, OutPitch: outer, APitch: side, BPitch: side}
			table := make([]int32, 3*n)
			for i := range n {
				table[3*i], table[3*i+1], table[3*i+2] = int32(i*outer*outer+4*outer+4), int32(i*side*side), int32(i*side*side)
			}
			c.B = 1 // for the cost
			return setUp(b, c.Cost(), func() func(kernels.Queue) error { return c.Enqueue },
				memory{&c.Table, func() (kernels.Ptr, error) { return Put(b, table) }},
				memory{&c.A, func() (kernels.Ptr, error) { return b.Normal(n*side*side*d, 0, 1) }},
				memory{&c.B, func() (kernels.Ptr, error) { return b.Normal(n*side*side*d, 0, 1) }},
				memory{&c.Out, func() (kernels.Ptr, error) { return b.Alloc(n * outer * outer * d) }})
		},
	})
}
