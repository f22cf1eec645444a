package kerneltest

import (
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// runsOf are runs of an image, from a pixel, to a pixel.
func runsOf(all ...[3]int) (runs []kernels.Run) {
	for _, r := range all {
		runs = append(runs, kernels.Run{Image: r[0], From: r[1], To: r[2]})
	}
	return runs
}

// Runs tests the kernels of runs: what is put at pixels is what comes back from there, and everything else stays as it is.
func Runs(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct {
		n, c, h, w int
		each       [][3]int // image, from, to
	}{
		{1, 1, 1, 1, [][3]int{{0, 0, 1}}},
		{1, 3, 20, 31, [][3]int{{0, 0, 20 * 31}}},
		{3, 3, 21, 34, [][3]int{{0, 5, 6}, {0, 30, 300}, {2, 0, 33}, {2, 33, 34}, {2, 21*34 - 1, 21 * 34}}},
		{4, 1, 9, 70, [][3]int{{3, 600, 630}, {1, 0, 129}, {1, 200, 328}}}, // in any order
		{2, 5, 4, 300, [][3]int{{0, 0, 1}, {0, 2, 3}, {0, 4, 5}, {0, 6, 7}, {0, 8, 9}, {0, 10, 11}, {0, 12, 13}, {0, 14, 15}, {1, 1, 1200}}},
	} {
		Case(t, m, seed, func(r *Rig) {
			hw := c.h * c.w
			k := kernels.Runs{N: c.n, C: c.c, H: c.h, W: c.w, Each: runsOf(c.each...)}
			P := k.Pixels()
			planes, list := r.Normal(c.n*c.c*hw), r.Normal(c.c*P)
			table, there, values := In(r, k.TableOf()), In(r, planes), In(r, list)
			k.Table, k.Planes, k.List = table.Ptr, there.Ptr, values.Ptr
			r.Run(k.Put, []Array{table, values}, []Array{there})
			i := 0
			for _, e := range k.Each {
				for p := e.From; p < e.To; p++ {
					for ch := range c.c {
						planes[(e.Image*c.c+ch)*hw+p] = list[ch*P+i]
					}
					i++
				}
			}
			require.Equal(r.T, P, i)
			require.Equal(r.T, planes, there.Read())
			held, back := In(r, planes), Out[float32](r, c.c*P)
			k.Planes, k.List = held.Ptr, back.Ptr
			r.Run(k.Get, []Array{table, held}, []Array{back})
			require.Equal(r.T, list, back.Read())
		}, "%d runs of %d of %dx%dx%d", len(c.each), c.n, c.c, c.h, c.w)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Runs{N: 2, C: 3, H: 4, W: 5, Each: runsOf([3]int{0, 3, 9}, [3]int{1, 19, 20}), Table: 4, Planes: 4, List: 4}
		for what, change := range map[string]func(*kernels.Runs){
			"extents": func(k *kernels.Runs) { k.H = 0 }, "of 0 channels": func(k *kernels.Runs) { k.C = 0 },
			"none": func(k *kernels.Runs) { k.Each = nil }, "run 0 is pixels 3 to 3": func(k *kernels.Runs) { k.Each = runsOf([3]int{0, 3, 3}) },
			"run 1 is pixels 19 to 21 of image 1 of 2": func(k *kernels.Runs) { k.Each = runsOf([3]int{0, 3, 9}, [3]int{1, 19, 21}) },
			"of image 2":    func(k *kernels.Runs) { k.Each = runsOf([3]int{2, 3, 9}) },
			"pixels -1 to":  func(k *kernels.Runs) { k.Each = runsOf([3]int{0, -1, 9}) },
			"table is null": func(k *kernels.Runs) { k.Table = 0 }, "list is not aligned": func(k *kernels.Runs) { k.List = 6 },
		} {
			k := good
			change(&k)
			require.ErrorContains(t, k.Put(m), what)
			require.ErrorContains(t, k.Get(m), what)
		}
	})
}

func init() {
	register("runs", Runs)
	const n, side, region = 32, 256, 51 // 4 % of each image
	for _, put := range []bool{true, false} {
		name, channels := "of maps", 1
		if put {
			name, channels = "into images", 3
		}
		registerBench(Bench{
			Kernel: "runs", Size: "51 x 51 of 32 x 256 x 256, " + name, Params: map[string]int{"n": n, "side": side, "channels": channels},
			Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
				k := kernels.Runs{N: n, C: channels, H: side, W: side}
				for i := range n {
					for y := range region {
						k.Each = append(k.Each, kernels.Run{Image: i, From: (99+y)*side + 60, To: (99+y)*side + 60 + region})
					}
				}
				return setUp(b, k.Cost(), func() func(kernels.Queue) error {
					if put {
						return k.Put
					}
					return k.Get
				},
					memory{&k.Table, func() (kernels.Ptr, error) { return Put(b, k.TableOf()) }},
					memory{&k.Planes, func() (kernels.Ptr, error) { return b.Normal(n*channels*side*side, 0, 1) }},
					memory{&k.List, func() (kernels.Ptr, error) { return b.Normal(channels*k.Pixels(), 0, 1) }})
			},
		})
	}
}
