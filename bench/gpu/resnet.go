package main

import (
	"math"
	"math/rand/v2"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

// resnet18 is ResNet-18 as far as its third layer, batch normalisations folded, for images of side pixels, with random weights: what
// they hold changes no time. width is how many channels layer1 has, 64 in the real one. Its outputs are layer1, layer2 and layer3.
func resnet18(side, width int) (*graph.Graph, error) {
	b, rng := graph.NewBuilder("resnet18"), rand.New(rand.NewPCG(1, 2))
	conv := func(x string, to, kernel, stride int) string {
		from, p := b.Shape(x)[1], kernel/2
		w, bias := nd.New(to, from, kernel, kernel), nd.New(to)
		for i := range nd.Data(w) {
			nd.Data(w)[i] = float32(rng.NormFloat64() * math.Sqrt(2/float64(from*kernel*kernel)))
		}
		for i := range nd.Data(bias) {
			nd.Data(bias)[i] = float32(rng.NormFloat64() / 10)
		}
		return b.Conv(x, b.Const(w), b.Const(bias), graph.Attrs{"pads": []int{p, p, p, p}, "strides": []int{stride, stride}})
	}
	relu := func(x string) string { return b.Op(graph.Relu, nil, x) }
	x := relu(conv(b.Input("x", graph.N, 3, side, side), width, 7, 2))
	x = b.Op(graph.MaxPool, graph.Attrs{"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}, x)
	var outs []string
	for layer, name := range []string{"layer1", "layer2", "layer3"} {
		for block := range 2 {
			to, stride, shortcut := width<<layer, 1, x
			if layer > 0 && block == 0 {
				stride = 2
				shortcut = conv(x, to, 1, 2)
			}
			y := b.Op(graph.Add, nil, conv(relu(conv(x, to, 3, stride)), to, 3, 1), shortcut)
			if block == 0 {
				x = relu(y)
			} else {
				x = b.OpAs(name, graph.Relu, nil, y)
			}
		}
		outs = append(outs, x)
	}
	return b.Graph(outs...)
}
