package exectest

import (
	"math"
	"math/rand/v2"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

// Lite is EfficientNet-Lite0 (Tan and Le, "EfficientNet", 2019, without squeeze-and-excitation) as far as block 10, for
// images [N,3,size,size], with seeded random weights and no BatchNormalization: depthwise convolutions of 3x3 and 5x5 at
// strides 1 and 2 between those of 1x1. As in what is exported from PyTorch, "same" padding is a Pad of its own. The outputs
// are those of blocks 2, 4 and 10. It is for measuring: what a network must compute, the suite has smaller cases for.
func Lite(size int) (*graph.Graph, error) {
	l := &lite{graph.NewBuilder("EfficientNet-Lite0"), rand.New(rand.NewPCG(2019, 0))}
	x := l.clip(l.conv(l.Input("x", graph.N, 3, size, size), 32, 3, 2, 1))
	var outs []string
	block := 0
	for _, s := range []struct{ blocks, kernel, stride, expand, to int }{
		{1, 3, 1, 1, 16}, {2, 3, 2, 6, 24}, {2, 5, 2, 6, 40}, {3, 3, 2, 6, 80}, {3, 5, 1, 6, 112},
	} {
		for i := range s.blocks {
			stride, from := s.stride, l.Shape(x)[1]
			if i > 0 {
				stride = 1
			}
			y := x
			if s.expand > 1 {
				y = l.clip(l.conv(y, s.expand*from, 1, 1, 1))
			}
			y = l.clip(l.conv(y, s.expand*from, s.kernel, stride, s.expand*from))
			y = l.conv(y, s.to, 1, 1, 1)
			if stride == 1 && from == s.to {
				y = l.Op(graph.Add, nil, y, x)
			}
			x = y
			if block == 2 || block == 4 || block == 10 {
				outs = append(outs, x)
			}
			block++
		}
	}
	return l.Graph(outs...)
}

type lite struct {
	*graph.Builder
	rng *rand.Rand
}

func (l *lite) clip(x string) string {
	return l.Op(graph.Clip, graph.Attrs{"min": float32(0), "max": float32(6)}, x)
}

func (l *lite) conv(x string, to, kernel, stride, group int) string {
	shape := l.Shape(x)
	w, bias := nd.New(to, shape[1]/group, kernel, kernel), nd.New(to)
	for i := range nd.Data(w) {
		nd.Data(w)[i] = float32(l.rng.NormFloat64() * math.Sqrt(2/float64(nd.Size(w.Shape()[1:]...))))
	}
	for i := range nd.Data(bias) {
		nd.Data(bias)[i] = float32(l.rng.NormFloat64() / 4)
	}
	pads := make([]int, 8)
	for _, a := range []int{2, 3} {
		in := shape[a]
		all := max(0, ((in+stride-1)/stride-1)*stride+kernel-in)
		pads[a], pads[4+a] = all/2, all-all/2
	}
	if kernel > 1 {
		x = l.Op(graph.Pad, graph.Attrs{"pads": pads}, x)
	}
	return l.Conv(x, l.Const(w), l.Const(bias), graph.Attrs{"strides": []int{stride, stride}, "group": group})
}
