package naive

import (
	"math"
	"slices"

	"f2pad.example/engine/graph"
)

// matMul: y[...,i,j] = sum over k of a[...,i,k] b[...,k,j]; the leading axes broadcast.
func matMul(_ *graph.Node, in []*Array, y *Array) {
	a, b := in[0], in[1]
	o := 0
	indices(y.Shape, func(at []int) {
		i, j := len(at)-2, len(at)-1
		left, right := slices.Clone(at), slices.Clone(at)
		for k := range a.Shape[len(a.Shape)-1] {
			left[j], right[i] = k, k
			y.Data[o] += a.broadcastAt(left) * b.broadcastAt(right)
		}
		o++
	})
}

// gemm: y = alpha a b + beta c.
func gemm(n *graph.Node, in []*Array, y *Array) {
	a, b, c := in[0], in[1], in[2]
	o := 0
	indices(y.Shape, func(at []int) {
		sum := 0.0
		for k := range a.Shape[1] {
			if n.Int("transB", 0) != 0 {
				sum += a.At(at[0], k) * b.At(at[1], k)
			} else {
				sum += a.At(at[0], k) * b.At(k, at[1])
			}
		}
		y.Data[o] = float64(n.Float("alpha", 1)) * sum
		if c != nil {
			y.Data[o] += float64(n.Float("beta", 1)) * c.broadcastAt(at)
		}
		o++
	})
}

func reduceMean(n *graph.Node, in []*Array, y *Array) {
	x := in[0]
	axes := graph.ReducedAxes(n, len(x.Shape))
	indices(x.Shape, func(at []int) {
		var to []int
		for a, i := range at {
			switch {
			case !slices.Contains(axes, a):
				to = append(to, i)
			case n.Int("keepdims", 1) != 0:
				to = append(to, 0)
			}
		}
		y.Data[y.offset(to)] += x.At(at...)
	})
	for i := range y.Data {
		y.Data[i] /= float64(len(x.Data) / len(y.Data))
	}
}

// softmax: exp(x - m) / sum of exp(x - m) along the axis, m its maximum.
func softmax(n *graph.Node, in []*Array, y *Array) {
	x := in[0]
	axis := n.Axis(-1, len(x.Shape))
	o := 0
	indices(x.Shape, func(at []int) {
		along := slices.Clone(at)
		most, sum := math.Inf(-1), 0.0
		for along[axis] = range x.Shape[axis] {
			most = math.Max(most, x.At(along...))
		}
		for along[axis] = range x.Shape[axis] {
			sum += math.Exp(x.At(along...) - most)
		}
		y.Data[o] = math.Exp(x.Data[o]-most) / sum
		o++
	})
}
