package kerneltest

import (
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// filled are regions of windows and their fills on the machine.
type filled struct {
	kernels.FillWindows
	all                  []refine.Comparison
	at                   []kernels.FillAt
	y, fills             *Memory[float32]
	inputs               []Array
	planes, squares, sum int // of all windows
}

// filled makes regions of about the given share of their windows, of random values. With more than 3 fills, the third equals the first.
func (r *Rig) filled(nan bool, share float64, each ...kernels.FillWindow) *filled {
	w := &filled{FillWindows: kernels.FillWindows{Each: slices.Clone(each)}}
	var pixels []int32
	var y, fills []float32
	for i, e := range each {
		c := refine.Comparison{H: e.H, W: e.W, K: e.K}
		for p := range e.H * e.W {
			if r.Rand.Float64() < share {
				c.Pixels = append(c.Pixels, int32(p))
			}
		}
		if len(c.Pixels) == 0 {
			c.Pixels = []int32{int32(e.H*e.W - 1)}
		}
		n := len(c.Pixels)
		w.Each[i].Pixels = n
		c.Y, c.Fills = r.Normal(3*n), r.Normal(3*e.K*n)
		if e.K > 3 {
			copy(c.Fills[2*3*n:3*3*n], c.Fills[:3*n])
		}
		if nan && i == len(each)/2 {
			c.Y[0], c.Fills[len(c.Fills)/2] = float32(math.NaN()), float32(math.NaN())
		}
		w.all = append(w.all, c)
		pixels, y, fills = append(pixels, c.Pixels...), append(y, c.Y...), append(fills, c.Fills...)
	}
	w.at = w.At()
	room := w.at[len(each)]
	w.planes, w.squares, w.sum = room.Plane, room.Squares, room.Pixels
	table, at := In(r, w.TableOf()), In(r, pixels)
	w.y, w.fills = In(r, y), In(r, fills)
	w.Table, w.Pixels = table.Ptr, at.Ptr
	w.inputs = []Array{table, at, w.y, w.fills}
	return w
}

// each calls f with every window and the squares of its distances [K,P].
func (w *filled) each(f func(i int, c refine.Comparison, sq, least []float32)) {
	for i, c := range w.all {
		n := len(c.Pixels)
		sq, least := make([]float32, c.K*n), make([]float32, n)
		pixel.FillMin(c.Y, c.Fills, c.K, 3, n, sq, least)
		f(i, c, sq, least)
	}
}

// planes are values [K,P] of a region in the window's planes [K,h,w], 0 elsewhere.
func planes(c refine.Comparison, values []float32) []float32 {
	n, P := c.H*c.W, len(c.Pixels)
	out := make([]float32, len(values)/P*n)
	for i, v := range values {
		out[i/P*n+int(c.Pixels[i%P])] = v
	}
	return out
}

// FillMin tests the kernels fill_where, fill_min, fill_least and fill_compare.
func FillMin(t *testing.T, m kernels.Machine, seed uint64) {
	mixed := func(k int) (all []kernels.FillWindow) {
		for i, s := range [][2]int{{1, 1}, {1, 7}, {9, 1}, {13, 17}, {40, 50}, {65, 129}} {
			all = append(all, kernels.FillWindow{H: s[0], W: s[1], K: max(k-i%3, 1)})
		}
		return all
	}
	many := make([]kernels.FillWindow, 64)
	for i := range many {
		many[i] = kernels.FillWindow{H: 2 + i%3, W: 5 + i%7, K: 1 + i%6}
	}
	for _, c := range []struct {
		name  string
		nan   bool
		share float64
		each  []kernels.FillWindow
	}{
		{"one pixel", false, 1, mixed(1)[:1]}, {"mixed, 1 fill", false, 0.3, mixed(1)}, {"mixed, all", false, 1, mixed(2)},
		{"mixed, NaN", true, 0.6, mixed(5)}, {"mixed, 8 fills", false, 0.6, mixed(8)}, {"many", false, 0.5, many}, {"many, NaN", true, 0.9, many},
	} {
		Case(t, m, seed, func(r *Rig) {
			w := r.filled(c.nan, c.share, c.each...)
			sq, plane := In(r, make([]float32, w.squares)), In(r, make([]float32, w.planes))
			f := kernels.FillMin{FillWindows: w.FillWindows, Y: w.y.Ptr, Fills: w.fills.Ptr, Sq: sq.Ptr, Residual: plane.Ptr}
			r.Run(f.Enqueue, w.inputs, []Array{sq, plane})
			squares, residual := sq.Read(), plane.Read()
			w.each(func(i int, c refine.Comparison, sq, least []float32) {
				n, at := c.H*c.W, w.at[i]
				requireBeside(r.T, "sq", squares[at.Squares:][:c.K*n], planes(c, sq), rounding)
				requireBeside(r.T, "residual", residual[at.Plane:][:n], planes(c, least), rounding)
			})

			costs, shown := In(r, r.Normal(w.squares)), In(r, r.Normal(w.planes))
			res, best := Out[float32](r, w.sum), Out[int32](r, w.sum)
			l := kernels.FillLeast{FillWindows: w.FillWindows, Costs: costs.Ptr, Plane: shown.Ptr, Residual: res.Ptr, Best: best.Ptr}
			r.Run(l.Enqueue, append(w.inputs[:2:2], costs, shown), []Array{res, best})
			gotBest, gotRes, cost, value := best.Read(), res.Read(), costs.Read(), shown.Read()
			w.each(func(i int, c refine.Comparison, _, _ []float32) {
				n, at := c.H*c.W, w.at[i]
				want := make([]int32, n)
				pixel.Least(cost[at.Squares:], c.K, n, want)
				for j, p := range c.Pixels {
					require.Equal(r.T, want[p], gotBest[at.Pixels+j])
					require.Equal(r.T, value[at.Plane+int(p)], gotRes[at.Pixels+j])
				}
			})
		}, "%s", c.name)
		Case(t, m, seed, func(r *Rig) {
			w := r.filled(c.nan, c.share, c.each...)
			smooth, start := pixel.NewGaussian(1), pixel.NewGaussian(1.2)
			if len(c.each) == 64 {
				smooth, start = pixel.NewGaussian(2), pixel.NewGaussian(0)
			}
			where := In(r, slices.Repeat([]int32{-1}, w.planes))
			r.Run(kernels.FillWhere{FillWindows: w.FillWindows, Where: where.Ptr}.Enqueue, w.inputs[:2], []Array{where})
			numbers := where.Read()
			w.each(func(i int, c refine.Comparison, _, _ []float32) {
				want := slices.Repeat([]int32{-1}, c.H*c.W)
				for j, p := range c.Pixels {
					want[p] = int32(j)
				}
				require.Equal(r.T, want, numbers[w.at[i].Plane:][:len(want)])
			})
			where = In(r, numbers)
			res, best := Out[float32](r, w.sum), Out[int32](r, w.sum)
			f := kernels.FillCompare{FillWindows: w.FillWindows, Smooth: smooth.Taps(), Start: start.Taps(), Y: w.y.Ptr,
				Fills: w.fills.Ptr, Where: where.Ptr, Residual: res.Ptr, Best: best.Ptr}
			f.Pixels = 0
			r.Run(f.Enqueue, append(w.inputs, where), []Array{res, best})
			gotRes, gotBest := res.Read(), best.Read()
			w.each(func(i int, c refine.Comparison, sq, least []float32) {
				n, P := c.H*c.W, len(c.Pixels)
				scratch := make([]float32, max(smooth.Scratch(c.H, c.W), start.Scratch(c.H, c.W)))
				residual, costs, all := planes(c, least), planes(c, sq), make([]int32, n)
				smooth.Blur(residual, c.H, c.W, scratch)
				for k := range c.K {
					start.Blur(costs[k*n:(k+1)*n], c.H, c.W, scratch)
				}
				pixel.Least(costs, c.K, n, all)
				want := make([]float32, P)
				for j, p := range c.Pixels {
					want[j] = residual[p]
					k := gotBest[w.at[i].Pixels+j]
					require.True(r.T, k >= 0 && int(k) < c.K, "pixel %d: fill %d", p, k)
					require.False(r.T, k == 2 && c.K > 3, "pixel %d: not the first of equals", p)
					if k != all[p] { // two fills may tie within rounding
						got, least := costs[int(k)*n+int(p)], costs[int(all[p])*n+int(p)]
						require.InDelta(r.T, least, got, 1e-5*float64(least), "pixel %d of window %d", p, i)
					}
				}
				requireBeside(r.T, "residual", gotRes[w.at[i].Pixels:][:P], want, blurred)
			})
		}, "compare %s", c.name)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.FillWindows{Each: []kernels.FillWindow{{H: 3, W: 4, Pixels: 5, K: 2}}, Table: 256, Pixels: 512}
		all := func(w kernels.FillWindows, p kernels.Ptr, taps []float32) []enqueuer {
			return []enqueuer{
				kernels.FillWhere{FillWindows: w, Where: p},
				kernels.FillMin{FillWindows: w, Y: p, Fills: 1024, Sq: 1024, Residual: 2048},
				kernels.FillLeast{FillWindows: w, Costs: p, Plane: 1024, Residual: 1024, Best: 2048},
				kernels.FillCompare{FillWindows: w, Smooth: taps, Start: taps, Y: p, Fills: 1024, Where: 1024, Residual: 2048, Best: 4096},
			}
		}
		for what, change := range map[string]func(w *kernels.FillWindows, p *kernels.Ptr){
			"0 windows":  func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Each = nil },
			"extents":    func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Each[0].H = 0 },
			"0 pixels":   func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Each[0].Pixels = 0 },
			"13 pixels":  func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Each[0].Pixels = 13 },
			"0 fills":    func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Each[0].K = 0 },
			"1025 fills": func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Each[0].K = 1025 },
			"in all": func(w *kernels.FillWindows, _ *kernels.Ptr) {
				w.Each = slices.Repeat([]kernels.FillWindow{{H: 1 << 14, W: 1 << 14, Pixels: 1, K: 1}}, 9)
			},
			"table":   func(w *kernels.FillWindows, _ *kernels.Ptr) { w.Table = 0 },
			"null":    func(_ *kernels.FillWindows, p *kernels.Ptr) { *p = 0 },
			"aligned": func(_ *kernels.FillWindows, p *kernels.Ptr) { *p = 514 },
		} {
			w, p := good, kernels.Ptr(512)
			w.Each = slices.Clone(w.Each)
			change(&w, &p)
			for _, k := range all(w, p, []float32{1}) {
				require.ErrorContains(t, k.Enqueue(m), what)
			}
		}
		for _, taps := range [][]float32{nil, make([]float32, 10)} {
			require.ErrorContains(t, all(good, 512, taps)[3].Enqueue(m), "taps")
		}
		w := good
		w.Pixels = 0
		for _, k := range all(w, 512, []float32{1})[:3] {
			require.ErrorContains(t, k.Enqueue(m), "pixels")
		}
	})
}

func init() {
	register("fill_min", FillMin)
	registerBench(Bench{
		Kernel: "fill_min", Size: "8 x 512 x 512, 6 fills", Peer: "fill_min",
		Params: map[string]int{"n": 8, "h": 512, "w": 512, "k": 6},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			const n = 512 * 512 // all of them the region's
			var f kernels.FillMin
			for range 8 {
				f.Each = append(f.Each, kernels.FillWindow{H: 512, W: 512, Pixels: n, K: 6})
			}
			pixels := make([]int32, 8*n)
			for i := range pixels {
				pixels[i] = int32(i % n)
			}
			var err error
			if f.Table, err = Put(b, f.TableOf()); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Pixels, err = Put(b, pixels); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Y, err = b.Normal(3*8*n, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Fills, err = b.Normal(3*6*8*n, 0, 1); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Sq, err = b.Alloc(6 * 8 * n); err != nil {
				return nil, kernels.Cost{}, err
			}
			if f.Residual, err = b.Alloc(8 * n); err != nil {
				return nil, kernels.Cost{}, err
			}
			return f.Enqueue, f.Cost(), nil
		},
	})
}
