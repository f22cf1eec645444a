package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// windows are pictures and their fills on the machine.
type windows struct {
	kernels.Windows
	k              int
	y, fills       []float32
	table          *Memory[int32]
	yOnDev, fOnDev *Memory[float32]
	inputs         []Array
	room           int // pixels of all windows
}

// windows makes pictures of random values and K fills each; with more than 3 fills, the third equals the first.
func (r *Rig) windows(k int, nan bool, sizes ...[2]int) *windows {
	w := &windows{Windows: kernels.Windows{Sizes: sizes}, k: k}
	w.room = w.Offset(len(sizes))
	w.y, w.fills = r.Normal(3*w.room), r.Normal(3*k*w.room)
	for i, s := range sizes {
		n, f := 3*s[0]*s[1], w.fills[3*k*w.Offset(i):]
		if k > 3 {
			copy(f[2*n:3*n], f[:n])
		}
	}
	if nan {
		w.y[0], w.fills[len(w.fills)/2] = float32(math.NaN()), float32(math.NaN())
	}
	w.table, w.yOnDev, w.fOnDev = In(r, w.TableOf()), In(r, w.y), In(r, w.fills)
	w.Table, w.inputs = w.table.Ptr, []Array{w.table, w.yOnDev, w.fOnDev}
	return w
}

// each calls f with every window's pixels and its parts of y, of the fills, and of what has so many planes.
func (w *windows) each(f func(i, h, w, n int, y, fills []float32)) {
	for i, s := range w.Sizes {
		n, at := s[0]*s[1], w.Offset(i)
		f(i, s[0], s[1], n, w.y[3*at:3*at+3*n], w.fills[3*w.k*at:3*w.k*at+3*w.k*n])
	}
}

// place is where the planes of window i lie in an array with so many planes a window.
func place[T any](w *windows, i, planes int, all []T) []T {
	return all[planes*w.Offset(i):][:planes*w.Sizes[i][0]*w.Sizes[i][1]]
}

// FillMin tests the kernels fill_min, fill_least and fill_compare.
func FillMin(t *testing.T, m kernels.Machine, seed uint64) {
	mixed := [][2]int{{1, 1}, {1, 7}, {9, 1}, {13, 17}, {40, 50}, {65, 129}}
	many := make([][2]int, 64)
	for i := range many {
		many[i] = [2]int{2 + i%3, 5 + i%7}
	}
	for _, c := range []struct {
		name  string
		k     int
		nan   bool
		sizes [][2]int
	}{
		{"one pixel", 1, false, mixed[:1]}, {"mixed", 1, false, mixed}, {"mixed", 2, false, mixed}, {"mixed, NaN", 5, true, mixed},
		{"mixed", 8, false, mixed}, {"many", 6, false, many}, {"many, NaN", 3, true, many},
	} {
		Case(t, m, seed, func(r *Rig) {
			w := r.windows(c.k, c.nan, c.sizes...)
			sq, res := Out[float32](r, c.k*w.room), Out[float32](r, w.room)
			f := kernels.FillMin{Windows: w.Windows, K: c.k, Y: w.yOnDev.Ptr, Fills: w.fOnDev.Ptr, Sq: sq.Ptr, Residual: res.Ptr}
			r.Run(f.Enqueue, w.inputs, []Array{sq, res})
			squares := sq.Read()
			w.each(func(i, _, _, n int, y, fills []float32) {
				wantSq, want := make([]float32, c.k*n), make([]float32, n)
				pixel.FillMin(y, fills, c.k, 3, n, wantSq, want)
				requireBeside(r.T, "sq", place(w, i, c.k, squares), wantSq, rounding)
				requireBeside(r.T, "residual", place(w, i, 1, res.Read()), want, rounding)
			})
			f.Sq = 0
			alone := Out[float32](r, w.room)
			f.Residual = alone.Ptr
			r.Run(f.Enqueue, w.inputs, []Array{alone})
			require.Equal(r.T, kernels.Bytes(res.Read()), kernels.Bytes(alone.Read()), "without sq")

			best := Out[int32](r, w.room)
			l := kernels.FillLeast{Windows: w.Windows, K: c.k, Costs: sq.Ptr, Best: best.Ptr}
			r.Run(l.Enqueue, w.inputs, []Array{best})
			w.each(func(i, _, _, n int, _, _ []float32) {
				want := make([]int32, n)
				pixel.Least(place(w, i, c.k, squares), c.k, n, want)
				require.Equal(r.T, want, place(w, i, 1, best.Read()))
			})
		}, "%s, %d fills", c.name, c.k)
		Case(t, m, seed, func(r *Rig) {
			w := r.windows(c.k, c.nan, c.sizes...)
			smooth, start := pixel.NewGaussian(1), pixel.NewGaussian(1.2)
			if c.k == 2 {
				smooth, start = pixel.NewGaussian(2), pixel.NewGaussian(0)
			}
			res, best := Out[float32](r, w.room), Out[int32](r, w.room)
			f := kernels.FillCompare{Windows: w.Windows, K: c.k, Smooth: smooth.Taps(), Start: start.Taps(), Y: w.yOnDev.Ptr,
				Fills: w.fOnDev.Ptr, Residual: res.Ptr, Best: best.Ptr}
			r.Run(f.Enqueue, w.inputs, []Array{res, best})
			w.each(func(i, h, wd, n int, y, fills []float32) {
				sq, want, wantBest := make([]float32, c.k*n), make([]float32, n), make([]int32, n)
				scratch := make([]float32, max(smooth.Scratch(h, wd), start.Scratch(h, wd)))
				pixel.FillMin(y, fills, c.k, 3, n, sq, want)
				smooth.Blur(want, h, wd, scratch)
				requireBeside(r.T, "residual", place(w, i, 1, res.Read()), want, blurred)
				for k := range c.k {
					start.Blur(sq[k*n:(k+1)*n], h, wd, scratch)
				}
				pixel.Least(sq, c.k, n, wantBest)
				for p, k := range place(w, i, 1, best.Read()) {
					require.True(r.T, k >= 0 && int(k) < c.k, "pixel %d: fill %d", p, k)
					require.False(r.T, k == 2 && c.k > 3, "pixel %d: not the first of equals", p)
					got, least := sq[int(k)*n+p], sq[int(wantBest[p])*n+p]
					if k != wantBest[p] { // two fills may tie within rounding
						require.InDelta(r.T, least, got, 1e-5*float64(least), "pixel %d of window %d", p, i)
					}
				}
			})
		}, "compare %s, %d fills", c.name, c.k)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Windows{Sizes: [][2]int{{3, 4}}, Table: 256}
		for what, change := range map[string]func(w *kernels.Windows, k *int, p *kernels.Ptr, taps *[]float32){
			"windows": func(w *kernels.Windows, _ *int, _ *kernels.Ptr, _ *[]float32) { w.Sizes = nil },
			"extents": func(w *kernels.Windows, _ *int, _ *kernels.Ptr, _ *[]float32) { w.Sizes = [][2]int{{1, 1}, {0, 1}} },
			"pixels in all": func(w *kernels.Windows, _ *int, _ *kernels.Ptr, _ *[]float32) {
				w.Sizes = make([][2]int, 9)
				for i := range w.Sizes {
					w.Sizes[i] = [2]int{1 << 14, 1 << 14}
				}
			},
			"0 fills": func(_ *kernels.Windows, k *int, _ *kernels.Ptr, _ *[]float32) { *k = 0 },
			"table":   func(w *kernels.Windows, _ *int, _ *kernels.Ptr, _ *[]float32) { w.Table = 0 },
			"null":    func(_ *kernels.Windows, _ *int, p *kernels.Ptr, _ *[]float32) { *p = 0 },
			"aligned": func(_ *kernels.Windows, _ *int, p *kernels.Ptr, _ *[]float32) { *p = 516 },
		} {
			w, k, p, taps := good, 2, kernels.Ptr(512), []float32{1}
			change(&w, &k, &p, &taps)
			require.ErrorContains(t, kernels.FillMin{Windows: w, K: k, Y: p, Fills: 1024, Residual: 2048}.Enqueue(m), what)
			require.ErrorContains(t, kernels.FillLeast{Windows: w, K: k, Costs: p, Best: 2048}.Enqueue(m), what)
			require.ErrorContains(t, kernels.FillCompare{Windows: w, K: k, Smooth: taps, Start: taps, Y: p, Fills: 1024, Residual: 2048,
				Best: 4096}.Enqueue(m), what)
		}
		for _, taps := range [][]float32{nil, make([]float32, 10)} {
			require.ErrorContains(t, kernels.FillCompare{Windows: good, K: 1, Smooth: []float32{1}, Start: taps, Y: 512, Fills: 1024,
				Residual: 2048, Best: 4096}.Enqueue(m), "taps")
		}
		require.ErrorContains(t, kernels.FillMin{Windows: good, K: 1, Y: 512, Fills: 1024, Sq: 2052, Residual: 4096}.Enqueue(m), "sq")
	})
}

func init() {
	register("fill_min", FillMin)
	registerBench(Bench{
		Kernel: "fill_min", Size: "8 x 512 x 512, 6 fills", Peer: "fill_min",
		Params: map[string]int{"n": 8, "h": 512, "w": 512, "k": 6},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			f := kernels.FillMin{K: 6}
			for range 8 {
				f.Sizes = append(f.Sizes, [2]int{512, 512})
			}
			var err error
			if f.Table, err = Put(b, f.TableOf()); err != nil {
				return nil, kernels.Cost{}, err
			}
			const n = 8 * 512 * 512
			if f.Y, err = b.Normal(3*n, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Fills, err = b.Normal(3*6*n, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Sq, err = b.Alloc(6 * n); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Residual, err = b.Alloc(n); err != nil {
				return nil, kernels.Cost{}, err
			}
			return f.Enqueue, f.Cost(), nil
		},
	})
}
