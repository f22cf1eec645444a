//go:build cgo

package ort

import (
	"math"

	"f2pad.example/engine/graph"
)

// host is a node that Go runs, on planes of its own: the planes lo <= c < hi of out are computed from those of in. scratch
// need not be cleared before or after.
type host struct {
	planes, scratch int
	run             func(in [][]float32, out []float32, scratch []int64, lo, hi int)
}

// hosts has the operators that Go runs: ONNX can spell them out, at many times the cost.
var hosts = map[graph.Op]func(n *graph.Node, shapes map[string]graph.Shape) (*host, error){
	graph.MaxPoolGrad: maxPoolGrad,
}

// none is below any key.
const none = math.MinInt64

// maxPoolGrad looks for each window's first maximum in row-major order, which takes the window's gradient, as the largest of
// keys that hold value and place: first in rows, then in columns, without a branch that depends on the values. Windows add
// to dx in row-major order.
func maxPoolGrad(n *graph.Node, shapes map[string]graph.Shape) (*host, error) {
	win, err := graph.PoolWindow(n)
	if err != nil {
		return nil, err
	}
	y, x := shapes[n.In[0]], shapes[n.In[1]]
	height, width, rows, cols := x[2], x[3], y[2], y[3]
	extent, dilation, stride := win.Extent(1), win.Dilation[1], win.Stride[1]
	padded := max(win.Begin[1]+width, (cols-1)*stride+extent) // a row that all windows lie in
	h := &host{planes: x[1], scratch: padded + height*cols + cols}
	h.run = func(in [][]float32, out []float32, scratch []int64, lo, hi int) {
		keys, best, top := scratch[:padded], scratch[padded:][:height*cols], scratch[padded+height*cols:][:cols]
		for i := range keys {
			keys[i] = none
		}
		inner := keys[win.Begin[1]:][:width]
		for c := lo; c < hi; c++ {
			dy, x := in[0][c*rows*cols:][:rows*cols], in[1][c*height*width:][:height*width]
			dx := out[c*height*width:][:height*width]
			for i := range height {
				keysOf(inner, x[i*width:], i*width)
				largest(best[i*cols:][:cols], keys, extent, dilation, stride)
			}
			clear(dx)
			for i := range rows {
				from, to := win.Taps(0, i, height)
				at := func(tap int) []int64 { return best[(win.Start(0, i)+tap*win.Dilation[0])*cols:][:cols] }
				copy(top, at(from))
				for tap := from + 1; tap < to; tap++ {
					raise(top, at(tap))
				}
				for j, d := range dy[i*cols:][:cols] {
					dx[place(top[j])] += d
				}
			}
		}
	}
	return h, nil
}

// keysOf writes the keys of the values at the places from first on.
//
// The loops are functions of their own, or the compiler would not keep what they count with in registers.
//
//go:noinline
func keysOf(keys []int64, values []float32, first int) {
	for j, v := range values[:len(keys)] {
		keys[j] = key(v, first+j)
	}
}

// raise puts larger keys in the place of smaller ones.
//
//go:noinline
func raise(top, keys []int64) {
	for j, k := range keys[:len(top)] {
		top[j] = max(top[j], k)
	}
}

// largest gives each window of a row its largest key.
//
//go:noinline
func largest(best, keys []int64, extent, dilation, stride int) {
	if extent == 3 && dilation == 1 {
		for j := range best {
			w := keys[j*stride:][:3]
			best[j] = max(w[0], w[1], w[2])
		}
		return
	}
	for j := range best {
		w := keys[j*stride:][:extent]
		k := w[0]
		for t := dilation; t < len(w); t += dilation {
			k = max(k, w[t])
		}
		best[j] = k
	}
}

// key orders values as numbers, a NaN above all, and equal ones from the first place to the last.
func key(v float32, place int) int64 {
	bits := int32(math.Float32bits(v))
	size, sign := bits&math.MaxInt32, bits>>31
	if size > 0xff<<23 {
		sign = 0
		size = math.MaxInt32
	}
	return int64(size^sign-sign)<<32 | int64(^uint32(place))
}

// place is that of a key.
func place(key int64) int { return int(^uint32(key)) }
