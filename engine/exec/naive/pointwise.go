package naive

import (
	"math"

	"f2pad.example/engine/graph"
)

// each applies a function of one number, and of the node's attributes, to every element.
func each(f func(n *graph.Node, x float64) float64) func(*graph.Node, []*Array, *Array) {
	return func(n *graph.Node, in []*Array, y *Array) {
		for i, x := range in[0].Data {
			y.Data[i] = f(n, x)
		}
	}
}

func relu(_ *graph.Node, x float64) float64    { return math.Max(x, 0) }
func sigmoid(_ *graph.Node, x float64) float64 { return 1 / (1 + math.Exp(-x)) }
func tanh(_ *graph.Node, x float64) float64    { return math.Tanh(x) }
func exp(_ *graph.Node, x float64) float64     { return math.Exp(x) }
func log(_ *graph.Node, x float64) float64     { return math.Log(x) }
func sqrt(_ *graph.Node, x float64) float64    { return math.Sqrt(x) }
func abs(_ *graph.Node, x float64) float64     { return math.Abs(x) }
func erf(_ *graph.Node, x float64) float64     { return math.Erf(x) }

func leakyRelu(n *graph.Node, x float64) float64 {
	if x < 0 {
		return float64(n.Float("alpha", 0.01)) * x
	}
	return x
}

// bounds are min and max, infinite where not set.
func bounds(n *graph.Node) (lo, hi float64) {
	return float64(n.Float("min", float32(math.Inf(-1)))), float64(n.Float("max", float32(math.Inf(1))))
}

func clip(n *graph.Node, x float64) float64 {
	lo, hi := bounds(n)
	return math.Min(math.Max(x, lo), hi)
}

func step(n *graph.Node, x float64) float64 {
	if lo, hi := bounds(n); lo < x && x < hi {
		return 1
	}
	return 0
}

func hardSigmoid(n *graph.Node, x float64) float64 {
	return math.Min(math.Max(float64(n.Float("alpha", 0.2))*x+float64(n.Float("beta", 0.5)), 0), 1)
}

func hardSwish(_ *graph.Node, x float64) float64 { return x * math.Min(math.Max(x/6+0.5, 0), 1) }

func sign(_ *graph.Node, x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x // 0 and NaN
}

// binary applies a function of two numbers with numpy's broadcasting.
func binary(f func(a, b float64) float64) func(*graph.Node, []*Array, *Array) {
	return func(_ *graph.Node, in []*Array, y *Array) {
		i := 0
		indices(y.Shape, func(index []int) {
			y.Data[i] = f(in[0].broadcastAt(index), in[1].broadcastAt(index))
			i++
		})
	}
}

// broadcastAt is the element that a, broadcast to more axes and extents, has at index.
func (a *Array) broadcastAt(index []int) float64 { return a.Data[a.broadcastOffset(index)] }

func (a *Array) broadcastOffset(index []int) int {
	at := 0
	for axis, d := range a.Shape {
		at *= d
		if d > 1 {
			at += index[len(index)-len(a.Shape)+axis]
		}
	}
	return at
}

// sumTo is the adjoint of broadcasting: every element of dY goes where it was read from.
func sumTo(_ *graph.Node, in []*Array, dx *Array) {
	i := 0
	indices(in[0].Shape, func(index []int) {
		dx.Data[dx.broadcastOffset(index)] += in[0].Data[i]
		i++
	})
}

// batchNormalization is (x-mean)/sqrt(var+epsilon)*scale + B per channel.
func batchNormalization(n *graph.Node, in []*Array, y *Array) {
	scale, shift, mean, variance := in[1], in[2], in[3], in[4]
	i := 0
	indices(y.Shape, func(index []int) {
		c := index[1]
		v := variance.At(c) + float64(n.Float("epsilon", 1e-5))
		y.Data[i] = (in[0].Data[i]-mean.At(c))/math.Sqrt(v)*scale.At(c) + shift.At(c)
		i++
	})
}
