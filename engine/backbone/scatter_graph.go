package backbone

import (
	"fmt"
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

const (
	levels       = 3
	modulusFloor = 1e-6 // under the square roots: their gradient stays bounded
)

// luminance weighs red, green and blue.
var luminance = [3]float64{0.299, 0.587, 0.114}

// planes is the number of images x: the luminance and, in colour, two differences.
func (s *Scatter) planes() int {
	if s.grey {
		return 1
	}
	return 3
}

// channels is the number C of channels before projection.
func (s *Scatter) channels() int {
	return 2*s.planes() + levels*orientations + orientations*orientations
}

// build makes the graph for h x w images, with the projection or up to it.
func (s *Scatter) build(h, w int, project bool) (*graph.Graph, error) {
	if h < scatterSide || w < scatterSide || h%scatterStride != 0 || w%scatterStride != 0 {
		return nil, fmt.Errorf("backbone: scatter: %d x %d pixels (height x width): sides must be multiples of %d and at least %d",
			h, w, scatterStride, scatterSide)
	}
	b := network{graph.NewBuilder(scatterName)}
	y := b.channels(b.Input("image", graph.N, 3, h, w), s.planes())
	if project {
		weights, bias := s.affineProjection()
		y = b.Conv(y, b.values(weights, s.Features(), s.channels(), 1, 1), b.values(bias, s.Features()), nil)
	}
	return b.Graph(y)
}

// affineProjection is the standardisation and the projection as the weights [D,C] and bias [D] of one convolution.
func (s *Scatter) affineProjection() (weights, bias []float64) {
	d, c := s.Features(), s.channels()
	weights, bias = make([]float64, d*c), make([]float64, d)
	for i := range weights {
		weights[i] = float64(s.projection[i]) / float64(s.deviation[i%c])
		bias[i/c] -= weights[i] * float64(s.mean[i%c])
	}
	return weights, bias
}

// network builds the parts of the graph. Values are named by strings, as in graph.Builder.
type network struct{ *graph.Builder }

// channels computes the channels before projection from the image [N,3,h,w].
func (b network) channels(image string, planes int) string {
	toPlanes := []float64{luminance[0], luminance[1], luminance[2], 1, -1, 0, 0.5, 0.5, -1}
	shift := []float64{-greyMean, 0, 0}
	x := b.Conv(image, b.values(toPlanes[:3*planes], planes, 3, 1, 1), b.values(shift[:planes], planes), nil)
	level := x
	if planes > 1 {
		level = b.Op(graph.Slice, graph.Attrs{"axes": []int{1}, "starts": []int{0}, "ends": []int{1}}, x)
	}

	mean := b.blur(x, 3, 4)
	square := b.blur(b.Op(graph.Mul, nil, x, x), 3, 4)
	variance := b.Op(graph.Relu, nil, b.Op(graph.Sub, nil, square, b.Op(graph.Mul, nil, mean, mean)))
	deviation := b.Op(graph.Sqrt, nil, b.Op(graph.Add, nil, variance, b.Scalar(modulusFloor)))

	finest := b.modulus(level)
	second := b.modulus(b.blur(finest, 1, 2))
	level1 := b.blur(level, 1, 2)
	level2 := b.blur(level1, 1, 2)
	first := b.Op(graph.Concat, graph.Attrs{"axis": 1},
		b.blur(finest, 3, 4), b.blur(b.modulus(level1), 1.5, 2), b.blur(b.modulus(level2), 0.75, 1))

	return b.Op(graph.Concat, graph.Attrs{"axis": 1},
		b.Op(graph.Mul, nil, mean, b.Scalar(4)), b.log(deviation, 0.01), b.log(first, 0.004), b.log(b.blur(second, 1.5, 2), 0.002))
}

// blur convolves each channel with a Gaussian of sigma pixels and keeps every stride-th value in each direction.
func (b network) blur(x string, sigma float64, stride int) string {
	taps := gaussian(sigma, stride)
	k, n := len(taps), b.depth(x)
	weights := slices.Repeat(taps, n)
	x = b.reflect(x, (k-stride)/2)
	x = b.Conv(x, b.values(weights, n, 1, 1, k), "", graph.Attrs{"group": n, "strides": []int{1, stride}})
	return b.Conv(x, b.values(weights, n, 1, k, 1), "", graph.Attrs{"group": n, "strides": []int{stride, 1}})
}

// modulus filters each of the n channels with the six Gabor filters: 6n moduli, the orientation running faster.
func (b network) modulus(x string) string {
	bank := slices.Concat(gabor()...)
	n := b.depth(x)
	x = b.reflect(x, gaborSide/2)
	x = b.Conv(x, b.values(slices.Repeat(bank, n), 2*orientations*n, 1, gaborSide, gaborSide), "", graph.Attrs{"group": n})
	x = b.Op(graph.Mul, nil, x, x)
	pairs := orientations * n
	ones, floors := slices.Repeat([]float64{1}, 2*pairs), slices.Repeat([]float64{modulusFloor}, pairs)
	return b.Op(graph.Sqrt, nil, b.Conv(x, b.values(ones, pairs, 2, 1, 1), b.values(floors, pairs), graph.Attrs{"group": pairs}))
}

// log is log(x + floor).
func (b network) log(x string, floor float32) string {
	return b.Op(graph.Log, nil, b.Op(graph.Add, nil, x, b.Scalar(floor)))
}

// reflect pads height and width by p, without repeating the border.
func (b network) reflect(x string, p int) string {
	return b.Op(graph.Pad, graph.Attrs{"pads": []int{0, 0, p, p, 0, 0, p, p}, "mode": "reflect"}, x)
}

// values adds a constant.
func (b network) values(v []float64, shape ...int) string {
	return b.Const(nd.Wrap(float32s(v), shape...))
}

// depth is the number of channels of a value.
func (b network) depth(x string) int {
	if shape := b.Shape(x); len(shape) == 4 {
		return shape[1]
	}
	return 1 // after an error, which Graph will report
}
