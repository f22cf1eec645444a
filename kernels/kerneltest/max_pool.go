package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// MaxPool tests the maxima and their gradients against the interpreter of graphs, on few different values, so that many are equal.
func MaxPool(t *testing.T, m kernels.Machine, seed uint64) {
	for _, c := range []struct {
		n, channels, h, w int
		attr              graph.Attrs
	}{
		{2, 5, 6, 9, graph.Attrs{"kernel_shape": ints{2, 2}, "strides": ints{2, 2}}},
		{3, 8, 7, 8, graph.Attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{1, 1, 1, 1}}},
		{1, 3, 6, 8, graph.Attrs{"kernel_shape": ints{3, 2}, "strides": ints{1, 3}, "pads": ints{2, 0, 1, 1}, "ceil_mode": 1}},
		{2, 2, 9, 8, graph.Attrs{"kernel_shape": ints{2, 3}, "dilations": ints{3, 2}, "pads": ints{0, 1, 0, 1}}},
		{1, 4, 5, 7, graph.Attrs{"kernel_shape": ints{1, 2}, "strides": ints{2, 3}}},
	} {
		Case(t, m, seed, func(r *Rig) {
			x := r.Normal(c.n * c.channels * c.h * c.w)
			for i := range x {
				x[i] = float32(math.Round(float64(x[i])))
			}
			b := graph.NewBuilder("pool")
			y := b.OpAs("y", graph.MaxPool, c.attr, b.Input("x", graph.N, c.channels, c.h, c.w))
			shape := b.Shape(y)
			dy := fromHalves(toHalves(r.Normal(c.n * shape.PerImage()))) // of which sums in float16 have one rounding
			g, err := b.Graph(y, b.OpAs("dx", graph.MaxPoolGrad, c.attr, b.Input("dy", shape...), "x"))
			require.NoError(r.T, err)
			values, err := naive.Run(g, map[string]*naive.Array{
				"x":  {Shape: []int{c.n, c.channels, c.h, c.w}, Data: widened(x)},
				"dy": {Shape: append([]int{c.n}, shape[1:]...), Data: widened(dy)},
			})
			require.NoError(r.T, err)
			win, err := graph.PoolWindow(g.Nodes[0])
			require.NoError(r.T, err)
			p := kernels.MaxPool{Images: c.n, C: c.channels, In: [2]int{c.h, c.w}, Pooled: [2]int(shape[2:])}
			form := In(r, kernels.MaxPoolForm(win, c.channels, p.In, p.Pooled))
			mx, md := In(r, last(x, c.n, c.channels)), In(r, last(dy, c.n, c.channels))
			out, grad := Out[float32](r, len(dy)), Out[float32](r, len(x))
			p.Form, p.X, p.Out = form.Ptr, mx.Ptr, out.Ptr
			r.Run(p.Enqueue, []Array{form, mx}, []Array{out})
			compare.Require(r.T, "y", out.Read(), last(values["y"].Data, c.n, c.channels), compare.Tolerance{})
			p.Grad, p.Out = md.Ptr, grad.Ptr
			r.Run(p.Enqueue, []Array{form, mx, md}, []Array{grad})
			compare.Require(r.T, "dx", grad.Read(), last(values["dx"].Data, c.n, c.channels), rounding)

			// In float16, which has room for these values of x.
			hx, at := inAs(r, last(x, c.n, c.channels), true)
			hy, to, read := outAs(r, len(dy), true)
			p.X, p.Grad, p.Out, p.HalfX, p.HalfOut = at, 0, to, true, true
			r.Run(p.Enqueue, []Array{form, hx}, []Array{hy})
			require.Equal(r.T, out.Read(), read())
			hd, from := inAs(r, last(dy, c.n, c.channels), true)
			hdx, to, read := outAs(r, len(x), true)
			p.Grad, p.Out, p.HalfGrad = from, to, true
			r.Run(p.Enqueue, []Array{form, hx, hd}, []Array{hdx})
			compare.Require(r.T, "dx in float16", read(), grad.Read(), convFloat16)
		}, "%v", c)
	}
	Case(t, m, seed, func(r *Rig) {
		nan := float32(math.NaN())
		win := graph.Window{Kernel: [2]int{1, 4}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}
		p := kernels.MaxPool{Images: 1, C: 1, In: [2]int{1, 4}, Pooled: [2]int{1, 1}}
		form, x, dy := In(r, kernels.MaxPoolForm(win, 1, p.In, p.Pooled)), In(r, []float32{1, nan, 7, nan}), In(r, []float32{3})
		out, grad := Out[float32](r, 1), Out[float32](r, 4)
		p.Form, p.X, p.Out = form.Ptr, x.Ptr, out.Ptr
		r.Run(p.Enqueue, []Array{form, x}, []Array{out})
		require.True(r.T, math.IsNaN(float64(out.Read()[0])))
		p.Grad, p.Out = dy.Ptr, grad.Ptr
		r.Run(p.Enqueue, []Array{form, x, dy}, []Array{grad})
		require.Equal(r.T, []float32{0, 3, 0, 0}, grad.Read())
	}, "NaN")
	t.Run("refuses", func(t *testing.T) {
		good := kernels.MaxPool{Images: 1, C: 1, In: [2]int{1, 1}, Pooled: [2]int{1, 1}, Form: 4, X: 4, Out: 4}
		for what, change := range map[string]func(*kernels.MaxPool){
			"batch": func(p *kernels.MaxPool) { p.Images = 0 }, "elements": func(p *kernels.MaxPool) { p.C = 0 },
			"x is null": func(p *kernels.MaxPool) { p.X = 0 },
		} {
			p := good
			change(&p)
			require.ErrorContains(t, p.Enqueue(m), what)
		}
	})
}

func init() {
	register("max_pool", MaxPool)
	for _, grad := range []bool{false, true} {
		name := "32 x 64 x 128 x 128, 3x3 at stride 2"
		if grad {
			name += ", gradient"
		}
		registerBench(Bench{
			Kernel: "max_pool", Size: name, Params: map[string]int{"n": 32, "channels": 64, "side": 128},
			Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
				win := graph.Window{Kernel: [2]int{3, 3}, Stride: [2]int{2, 2}, Dilation: [2]int{1, 1}, Begin: [2]int{1, 1}, End: [2]int{1, 1}}
				p := kernels.MaxPool{Images: 32, C: 64, In: [2]int{128, 128}, Pooled: [2]int{64, 64}}
				const in, pooled = 32 * 64 * 128 * 128, 32 * 64 * 64 * 64
				out := pooled
				all := []memory{
					{&p.Form, func() (kernels.Ptr, error) { return Put(b, kernels.MaxPoolForm(win, p.C, p.In, p.Pooled)) }},
					{&p.X, func() (kernels.Ptr, error) { return b.Normal(in, 0, 1) }},
				}
				if grad {
					out = in
					all = append(all, memory{&p.Grad, func() (kernels.Ptr, error) { return b.Normal(pooled, 0, 1) }})
				}
				all = append(all, memory{&p.Out, func() (kernels.Ptr, error) { return b.Alloc(out) }})
				_, _, err := setUp(b, kernels.Cost{}, func() func(kernels.Queue) error { return nil }, all...)
				return p.Enqueue, p.Cost(), err
			},
		})
	}
}
