package goexec

import (
	"math"

	"f2pad.example/engine/graph"
)

// lowerReduce sums over axes, for ReduceMean and GlobalAveragePool divided by the number of elements. The sums run in
// row-major order in float64, since they may be as long as an image is large.
func lowerReduce(o *operation) (kernel, error) {
	rank := len(o.in[0])
	reduced := make([]bool, rank)
	mean := true
	switch o.Op {
	case graph.ReduceMean:
		for _, a := range graph.ReducedAxes(o.Node, rank) {
			reduced[a] = true
		}
	case graph.GlobalAveragePool:
		reduced[2], reduced[3] = true, true
	default: // SumTo
		mean = false
		for a := range reduced {
			reduced[a] = o.out[a] == 1
		}
	}
	var kept, summed nest
	stride := o.in[0].PerImage()
	for a := 1; a < rank; a++ {
		d := o.in[0][a]
		stride /= d
		to := &kept
		if reduced[a] {
			to = &summed
		}
		if last := len(to.extent) - 1; last >= 0 && to.stride[0][last] == d*stride {
			to.extent[last] *= d
			to.stride[0][last] = stride
			continue
		}
		to.extent, to.stride[0] = append(to.extent, d), append(to.stride[0], stride)
	}
	kept.stride[1], summed.stride[1] = make([]int, len(kept.extent)), make([]int, len(summed.extent))
	length, step := 1, 1
	if len(summed.extent) > 0 {
		var s [2]int
		summed, length, s = summed.inner()
		step = s[0]
	}
	rows := summed.size()
	count := 1.0
	if mean {
		count = float64(rows * length)
	}
	return kernel{
		units: o.out.PerImage(),
		cost:  rows * length,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				x := c.in[0][kept.at(u)[0]:]
				sum := 0.0
				for r := range rows {
					at := summed.at(r)[0]
					for range length {
						sum += float64(x[at])
						at += step
					}
				}
				c.out[u] = float32(sum / count)
			}
		},
	}, nil
}

// lowerSoftmax: exp(x - max x) divided by its sum along the axis, in float64 up to the last rounding.
func lowerSoftmax(o *operation) (kernel, error) {
	axis := o.Axis(-1, len(o.out))
	n := o.out[axis]
	inner := o.out[axis:].PerImage()
	return kernel{
		units:   o.out.PerImage() / n,
		cost:    32 * n,
		inPlace: true,
		run: func(c *call, lo, hi int) {
			for u := lo; u < hi; u++ {
				at := u/inner*n*inner + u%inner
				x, y := c.in[0][at:], c.out[at:]
				top := math.Inf(-1)
				for i := range n {
					top = max(top, float64(x[i*inner]))
				}
				sum := 0.0
				for i := range n {
					sum += math.Exp(float64(x[i*inner]) - top)
				}
				for i := range n {
					y[i*inner] = float32(math.Exp(float64(x[i*inner])-top) / sum)
				}
			}
		},
	}, nil
}
