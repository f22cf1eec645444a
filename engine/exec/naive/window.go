package naive

import (
	"math"

	"f2pad.example/engine/graph"
)

// window panics on what Infer has ruled out.
func window(w graph.Window, err error) graph.Window {
	if err != nil {
		panic(err)
	}
	return w
}

// conv: y[n,m,i,j] = B[m] + sum over c, k, l of W[m,c,k,l] x[n, first channel of m's group + c, row of tap k, column of
// tap l]; x is 0 outside.
func conv(n *graph.Node, in []*Array, y *Array) {
	x, w, b := in[0], in[1], in[2]
	win := window(graph.ConvWindow(n, w.Shape))
	perGroup := w.Shape[0] / n.Int("group", 1)
	o := 0
	indices(y.Shape, func(at []int) {
		sum := 0.0
		if b != nil {
			sum = b.At(at[1])
		}
		for c := range w.Shape[1] {
			from := at[1]/perGroup*w.Shape[1] + c
			for k := range w.Shape[2] {
				for l := range w.Shape[3] {
					i, j := win.Start(0, at[2])+k*win.Dilation[0], win.Start(1, at[3])+l*win.Dilation[1]
					if i >= 0 && i < x.Shape[2] && j >= 0 && j < x.Shape[3] {
						sum += w.At(at[1], c, k, l) * x.At(at[0], from, i, j)
					}
				}
			}
		}
		y.Data[o] = sum
		o++
	})
}

// convTranspose scatters x[n,c,i,j] W[c,m,k,l] to y[n, first channel of c's group + m, i*stride-pad+k*dilation, ...];
// what falls outside is dropped.
func convTranspose(n *graph.Node, in []*Array, y *Array) {
	x, w, b := in[0], in[1], in[2]
	win := window(graph.ConvWindow(n, w.Shape))
	perGroup := w.Shape[0] / n.Int("group", 1)
	if b != nil {
		o := 0
		indices(y.Shape, func(at []int) {
			y.Data[o] = b.At(at[1])
			o++
		})
	}
	indices(x.Shape, func(at []int) {
		v := x.At(at...)
		for m := range w.Shape[1] {
			to := at[1]/perGroup*w.Shape[1] + m
			for k := range w.Shape[2] {
				for l := range w.Shape[3] {
					i, j := win.Start(0, at[2])+k*win.Dilation[0], win.Start(1, at[3])+l*win.Dilation[1]
					if i >= 0 && i < y.Shape[2] && j >= 0 && j < y.Shape[3] {
						y.Data[y.offset([]int{at[0], to, i, j})] += v * w.At(at[1], m, k, l)
					}
				}
			}
		}
	})
}

// taps calls visit with the row and column of every element of x under the window of an output index, in row-major order.
func taps(win graph.Window, x []int, at []int, visit func(i, j int)) {
	for k := range win.Kernel[0] {
		for l := range win.Kernel[1] {
			i, j := win.Start(0, at[2])+k*win.Dilation[0], win.Start(1, at[3])+l*win.Dilation[1]
			if i >= 0 && i < x[2] && j >= 0 && j < x[3] {
				visit(i, j)
			}
		}
	}
}

func maxPool(n *graph.Node, in []*Array, y *Array) {
	win := window(graph.PoolWindow(n))
	o := 0
	indices(y.Shape, func(at []int) {
		most := math.Inf(-1)
		taps(win, in[0].Shape, at, func(i, j int) { most = math.Max(most, in[0].At(at[0], at[1], i, j)) })
		y.Data[o] = most
		o++
	})
}

// maxPoolGrad gives each window's gradient to its first maximum.
func maxPoolGrad(n *graph.Node, in []*Array, dx *Array) {
	dy, x := in[0], in[1]
	win := window(graph.PoolWindow(n))
	indices(dy.Shape, func(at []int) {
		best := -1
		taps(win, x.Shape, at, func(i, j int) {
			if here := x.offset([]int{at[0], at[1], i, j}); best < 0 || x.Data[here] > x.Data[best] {
				best = here
			}
		})
		dx.Data[best] += dy.At(at...)
	})
}

// divisor counts the elements that an average is over: those under the window, with count_include_pad also those of the
// padding, but never what ceil_mode adds beyond it.
func divisor(n *graph.Node, win graph.Window, x, at []int) float64 {
	count := 0
	if n.Int("count_include_pad", 0) == 0 {
		taps(win, x, at, func(int, int) { count++ })
		return float64(count)
	}
	for k := range win.Kernel[0] {
		for l := range win.Kernel[1] {
			if win.Start(0, at[2])+k < x[2]+win.End[0] && win.Start(1, at[3])+l < x[3]+win.End[1] {
				count++
			}
		}
	}
	return float64(count)
}

func averagePool(n *graph.Node, in []*Array, y *Array) {
	x, win := in[0], window(graph.PoolWindow(n))
	o := 0
	indices(y.Shape, func(at []int) {
		sum := 0.0
		taps(win, x.Shape, at, func(i, j int) { sum += x.At(at[0], at[1], i, j) })
		y.Data[o] = sum / divisor(n, win, x.Shape, at)
		o++
	})
}

func averagePoolGrad(n *graph.Node, in []*Array, dx *Array) {
	dy, win := in[0], window(graph.PoolWindow(n))
	indices(dy.Shape, func(at []int) {
		share := dy.At(at...) / divisor(n, win, dx.Shape, at)
		taps(win, dx.Shape, at, func(i, j int) { dx.Data[dx.offset([]int{at[0], at[1], i, j})] += share })
	})
}

func globalAveragePool(_ *graph.Node, in []*Array, y *Array) {
	x := in[0]
	indices(x.Shape, func(at []int) {
		y.Data[y.offset([]int{at[0], at[1], 0, 0})] += x.At(at...) / float64(x.Shape[2]*x.Shape[3])
	})
}
