//go:build cgo

package ort

import (
	"math"

	"f2pad/engine/graph"
)

// host is a node that Go runs: it is exact in ONNX, too, but dear. It computes the planes lo <= c < hi of out. scratch is
// its own and keeps nothing.
type host struct {
	planes, scratch int
	run             func(in [][]float32, out []float32, scratch []int64, lo, hi int)
}

// hosts has the operators that Go runs.
var hosts = map[graph.Op]func(n *graph.Node, shapes map[string]graph.Shape) (*host, error){
	graph.MaxPoolGrad: maxPoolGrad,
}

// maxPoolGrad finds each window's first maximum of x in row-major order, which takes the window's gradient: the largest of
// keys that hold the value and, below it, the place from the end. First along rows, then along columns, without branches.
// A NaN is larger than any number. The windows add to dx in row-major order.
func maxPoolGrad(n *graph.Node, shapes map[string]graph.Shape) (*host, error) {
	win, err := graph.PoolWindow(n)
	if err != nil {
		return nil, err
	}
	y, x := shapes[n.In[0]], shapes[n.In[1]]
	height, width, rows, cols := x[2], x[3], y[2], y[3]
	type span struct{ tap, lo, hi int } // outputs lo <= o < hi have the tap inside of the input
	spans := func(axis, in, out int) (all []span) {
		for k := range win.Kernel[axis] {
			s := span{k, out, 0}
			for o := range out {
				if from, to := win.Taps(axis, o, in); k >= from && k < to {
					s.lo, s.hi = min(s.lo, o), o+1
				}
			}
			if s.lo < s.hi {
				all = append(all, s)
			}
		}
		return all
	}
	across, down := spans(1, width, cols), spans(0, height, rows)
	h := &host{planes: x[1], scratch: width + height*cols + cols}
	h.run = func(in [][]float32, out []float32, scratch []int64, lo, hi int) {
		keys, best, top := scratch[:width], scratch[width:][:height*cols], scratch[width+height*cols:][:cols]
		for c := lo; c < hi; c++ {
			dy, x, dx := in[0][c*rows*cols:][:rows*cols], in[1][c*height*width:][:height*width], out[c*height*width:][:height*width]
			clear(dx)
			for i := range height {
				for j, v := range x[i*width:][:width] {
					keys[j] = key(v, i*width+j)
				}
				row := best[i*cols:][:cols]
				for j := range row {
					row[j] = math.MinInt64
				}
				for _, s := range across {
					at := win.Start(1, s.lo) + s.tap*win.Dilation[1]
					for j := s.lo; j < s.hi; j++ {
						row[j] = max(row[j], keys[at])
						at += win.Stride[1]
					}
				}
			}
			for i := range rows {
				for j := range top {
					top[j] = math.MinInt64
				}
				for _, s := range down {
					if i < s.lo || i >= s.hi {
						continue
					}
					row := best[(win.Start(0, i)+s.tap*win.Dilation[0])*cols:][:cols]
					for j, k := range row {
						top[j] = max(top[j], k)
					}
				}
				for j, d := range dy[i*cols:][:cols] {
					dx[place(top[j])] += d
				}
			}
		}
	}
	return h, nil
}

// key orders values as MaxPool does, and equal ones from the first place to the last.
func key(v float32, place int) int64 {
	v += 0 // -0 equals 0
	bits := int32(math.Float32bits(v))
	bits ^= bits >> 31 & math.MaxInt32
	if v != v {
		bits = math.MaxInt32
	}
	return int64(bits)<<32 | int64(math.MaxUint32-uint32(place))
}

// place is that of a key.
func place(key int64) int { return int(math.MaxUint32 - uint32(key)) }
