package exectest

import (
	"fmt"
	"math"

	"f2pad.example/engine/graph"
)

type (
	ints  = []int
	attrs = graph.Attrs
)

// network is a graph to run and where its inputs are drawn from.
type network struct {
	name   string
	lo, hi float32                               // inputs are uniform between them
	in     [][]int                               // their shapes, without N
	build  func(b *builder, x []string) []string // returns the outputs
}

// operators has every operator but the backward ones, which come in with the gradients.
func operators() []network {
	var all []network
	add := func(name string, lo, hi float32, build func(b *builder, x []string) string, in ...[]int) {
		all = append(all, network{name, lo, hi, in, func(b *builder, x []string) []string { return []string{build(b, x)} }})
	}
	one := func(op graph.Op, what string, lo, hi float32, attr graph.Attrs, in ...int) {
		add(fmt.Sprintf("%s %s", op, what), lo, hi, func(b *builder, x []string) string { return b.Op(op, attr, x[0]) }, in)
	}

	for _, c := range convolutions {
		add(string(c.op)+" "+c.name, -1, 1, c.build, c.in)
	}

	one(graph.Relu, "", -1, 1, nil, 3, 5, 7)
	one(graph.Relu, "of many", -1, 1, nil, 2, 35, 61) // more than a piece of work
	one(graph.LeakyRelu, "", -1, 1, nil, 3, 5, 7)
	one(graph.LeakyRelu, "alpha", -1, 1, attrs{"alpha": float32(0.3)}, 11)
	one(graph.Clip, "both", -1, 1, attrs{"min": float32(-0.3), "max": float32(0.4)}, 3, 5, 7)
	one(graph.Clip, "min", -1, 1, attrs{"min": float32(-0.3)}, 3, 5, 7)
	one(graph.Clip, "max", -1, 1, attrs{"max": float32(0.4)}, 3, 5, 7)
	one(graph.Sigmoid, "", -6, 6, nil, 3, 5, 7)
	one(graph.HardSigmoid, "", -4, 4, nil, 3, 5, 7)
	one(graph.HardSigmoid, "alpha", -4, 4, attrs{"alpha": float32(0.3), "beta": float32(0.4)}, 3, 5, 7)
	one(graph.HardSwish, "", -5, 5, nil, 3, 5, 7)
	one(graph.Tanh, "", -3, 3, nil, 3, 5, 7)
	one(graph.Exp, "", -3, 3, nil, 3, 5, 7)
	one(graph.Log, "", 0.01, 3, nil, 3, 5, 7)
	one(graph.Sqrt, "", 0.01, 3, nil, 3, 5, 7)
	one(graph.Abs, "", -1, 1, nil, 3, 5, 7)
	one(graph.Erf, "", -3, 3, nil, 3, 5, 7)

	for _, op := range []graph.Op{graph.Add, graph.Sub, graph.Mul, graph.Div} {
		values := func(what string, a, b []int) {
			add(fmt.Sprintf("%s %s", op, what), 0.5, 2,
				func(g *builder, x []string) string { return g.Op(op, nil, x[0], x[1]) }, a, b)
		}
		values("same shapes", ints{3, 4, 5}, ints{3, 4, 5})
		values("per channel", ints{3, 4, 5}, ints{3, 1, 1})
		values("per column from the left", ints{1, 1, 5}, ints{3, 4, 5})
		values("per row", ints{3, 4, 5}, ints{1, 4, 1})
		values("outer", ints{3, 1, 5}, ints{1, 4, 1})
		values("vectors", ints{7}, ints{1})
		add(fmt.Sprintf("%s itself", op), 0.5, 2,
			func(g *builder, x []string) string { return g.Op(op, nil, x[0], x[0]) }, ints{3, 5})
		constant := func(what string, left bool, in []int, shape ...int) {
			add(fmt.Sprintf("%s %s", op, what), 0.5, 2, func(g *builder, x []string) string {
				c := g.constant(0.5, 2, shape...)
				if left {
					return g.Op(op, nil, c, x[0])
				}
				return g.Op(op, nil, x[0], c)
			}, in)
		}
		constant("a number", false, ints{2, 35, 61}, 1)
		constant("to a number", true, ints{3, 4, 5}, 1)
		constant("constants per channel", false, ints{3, 4, 5}, 3, 1, 1)
		constant("a constant image", true, ints{3, 4, 5}, 1, 3, 4, 5)
		constant("a constant that widens", false, ints{3, 1, 5}, 4, 1)
	}

	add("Concat of three along channels", -1, 1, func(b *builder, x []string) string {
		return b.Op(graph.Concat, attrs{"axis": 1}, x[0], x[1], x[0])
	}, ints{3, 4, 5}, ints{2, 4, 5})
	add("Concat along columns", -1, 1, func(b *builder, x []string) string {
		return b.Op(graph.Concat, attrs{"axis": -1}, x...)
	}, ints{3, 4, 5}, ints{3, 4, 2})
	one(graph.Slice, "channels", -1, 1, attrs{"starts": ints{1}, "ends": ints{3}, "axes": ints{1}}, 5, 4, 6)
	one(graph.Slice, "rows and columns from the end", -1, 1,
		attrs{"starts": ints{-3, 1}, "ends": ints{math.MaxInt32, -1}, "axes": ints{2, 3}}, 2, 4, 6)
	one(graph.Slice, "with steps", -1, 1,
		attrs{"starts": ints{0, 1}, "ends": ints{5, 7}, "axes": ints{2, -1}, "steps": ints{2, 3}}, 2, 5, 7)
	one(graph.Slice, "of vectors", -1, 1, attrs{"starts": ints{2}, "ends": ints{5}, "axes": ints{1}}, 7)
	one(graph.Pad, "constant", -1, 1, attrs{"pads": ints{0, 1, 2, 0, 0, 0, 1, 3}, "value": float32(0.7)}, 2, 3, 4)
	one(graph.Pad, "reflect", -1, 1, attrs{"pads": ints{0, 0, 2, 3, 0, 0, 1, 2}, "mode": "reflect"}, 2, 3, 4)
	one(graph.Pad, "reflect channels", -1, 1, attrs{"pads": ints{0, 1, 0, 1, 0, 2, 0, 0}, "mode": "reflect"}, 3, 3, 4)
	one(graph.Pad, "edge", -1, 1, attrs{"pads": ints{0, 0, 1, 5, 0, 0, 2, 1}, "mode": "edge"}, 2, 3, 4)

	pool := func(op graph.Op, what string, attr graph.Attrs, in ...int) { one(op, what, -1, 1, attr, in...) }
	for _, op := range []graph.Op{graph.MaxPool, graph.AveragePool} {
		pool(op, "2x2", attrs{"kernel_shape": ints{2, 2}, "strides": ints{2, 2}}, 3, 6, 9)
		pool(op, "3x3 overlapping", attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{1, 1, 1, 1}}, 3, 7, 8)
		pool(op, "3x2 uneven", attrs{"kernel_shape": ints{3, 2}, "strides": ints{1, 3}, "pads": ints{2, 0, 1, 1}}, 2, 5, 7)
		pool(op, "ceil", attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{0, 1, 0, 1},
			"ceil_mode": 1}, 2, 6, 8)
	}
	pool(graph.MaxPool, "dilated", attrs{"kernel_shape": ints{2, 3}, "dilations": ints{3, 2},
		"pads": ints{0, 1, 0, 1}}, 2, 7, 8)
	pool(graph.AveragePool, "with padding", attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{1, 1, 1, 1},
		"count_include_pad": 1, "ceil_mode": 1}, 2, 6, 8)
	one(graph.GlobalAveragePool, "", -1, 1, nil, 3, 5, 7)

	resize := func(what, mode, coordinates string, sizes []int, in ...int) {
		attr := attrs{"mode": mode, "coordinate_transformation_mode": coordinates,
			"sizes": append(ints{-1, in[0]}, sizes...)}
		one(graph.Resize, fmt.Sprintf("%s %s %s", mode, coordinates, what), -1, 1, attr, in...)
	}
	for _, mode := range []string{"nearest", "linear"} {
		for _, coordinates := range []string{"half_pixel", "align_corners", "asymmetric"} {
			resize("up", mode, coordinates, ints{8, 15}, 2, 4, 5)
			resize("down", mode, coordinates, ints{3, 2}, 2, 7, 5)
			resize("to one", mode, coordinates, ints{1, 9}, 2, 4, 1)
		}
	}
	one(graph.Resize, "by scales", -1, 1, attrs{"mode": "linear", "scales": []float32{1, 1, 3, 1.5}}, 2, 3, 5)
	one(graph.Resize, "floor", -1, 1, attrs{"mode": "nearest",
		"nearest_mode": "floor", "scales": []float32{1, 1, 2, 0.6}}, 2, 3, 5)

	matmul := func(what string, in []int, shape ...int) {
		add("MatMul "+what, -1, 1, func(b *builder, x []string) string {
			return b.Op(graph.MatMul, nil, x[0], b.constant(-1, 1, shape...))
		}, in)
	}
	matmul("vectors by a constant", ints{13}, 13, 70)
	matmul("matrices by a constant", ints{5, 7}, 7, 9)
	matmul("matrices by constants", ints{2, 5, 7}, 2, 7, 3)
	matmul("one matrix by constants", ints{1, 5, 7}, 1, 2, 7, 3)
	add("MatMul a constant by matrices", -1, 1, func(b *builder, x []string) string {
		return b.Op(graph.MatMul, nil, b.constant(-1, 1, 4, 5), x[0])
	}, ints{3, 5, 7})
	add("MatMul of two", -1, 1, func(b *builder, x []string) string {
		return b.Op(graph.MatMul, nil, x[0], x[1])
	}, ints{3, 4, 6}, ints{3, 6, 70})
	add("MatMul repeating", -1, 1, func(b *builder, x []string) string {
		return b.Op(graph.MatMul, nil, x[0], x[1])
	}, ints{3, 1, 4, 6}, ints{1, 2, 6, 5})

	gemm := func(what string, attr graph.Attrs, in int, w []int, c ...int) {
		add("Gemm "+what, -1, 1, func(b *builder, x []string) string {
			args := []string{x[0], b.constant(-1, 1, w...)}
			if c != nil {
				args = append(args, b.constant(-1, 1, c...))
			}
			return b.Op(graph.Gemm, attr, args...)
		}, ints{in})
	}
	gemm("plain", nil, 11, ints{11, 6})
	gemm("transB alpha beta", attrs{"transB": 1, "alpha": float32(0.5), "beta": float32(2)}, 11, ints{70, 11}, 70)
	gemm("one bias", nil, 5, ints{5, 6}, 1)
	gemm("a row of biases", nil, 5, ints{5, 6}, 1, 6)

	one(graph.Reshape, "", -1, 1, attrs{"shape": ints{0, -1, 5}}, 3, 4, 5)
	one(graph.Transpose, "channels last", -1, 1, attrs{"perm": ints{0, 2, 3, 1}}, 3, 4, 5)
	one(graph.Transpose, "rows and columns", -1, 1, attrs{"perm": ints{0, 1, 3, 2}}, 3, 4, 5)
	one(graph.Transpose, "many columns", -1, 1, attrs{"perm": ints{0, 1, 3, 2}}, 2, 7, 21)
	one(graph.Transpose, "all axes turned", -1, 1, attrs{"perm": ints{0, 3, 2, 1}}, 5, 4, 2)
	one(graph.Transpose, "columns outside", -1, 1, attrs{"perm": ints{0, 2, 3, 1}}, 3, 3, 19)
	one(graph.Transpose, "nothing", -1, 1, attrs{"perm": ints{0, 1}}, 3)
	one(graph.ReduceMean, "planes", -1, 1, attrs{"axes": ints{2, 3}}, 3, 4, 5)
	one(graph.ReduceMean, "channels", -1, 1, attrs{"axes": ints{1}, "keepdims": 0}, 3, 4, 5)
	one(graph.ReduceMean, "outer axes", -1, 1, attrs{"axes": ints{1, -1}}, 3, 4, 5)
	one(graph.Softmax, "last", -3, 3, nil, 3, 4, 5)
	one(graph.Softmax, "channels", -3, 3, attrs{"axis": 1}, 3, 4, 5)
	add("BatchNormalization alone", -1, 1, func(b *builder, x []string) string { return b.normalized(x[0], 3) }, ints{3, 4, 5})
	return all
}

// adjoints has the backward operators that no gradient rule emits with these attributes.
func adjoints() []network {
	one := func(op graph.Op, attr attrs, in ...int) network {
		return network{string(op), -1, 1, [][]int{in}, func(b *builder, x []string) []string {
			return []string{b.Op(op, attr, x[0])}
		}}
	}
	return []network{
		one(graph.PadGrad, attrs{"shape_in": ints{-1, 2, 3, 4}, "pads": ints{0, 1, 2, 0, 0, 0, 1, 3}}, 3, 6, 7),
		one(graph.PadGrad, attrs{"shape_in": ints{-1, 5}, "pads": ints{0, 2, 0, 3}, "mode": "reflect"}, 10),
		one(graph.SumTo, attrs{"shape_in": ints{-1, 1, 3, 1}}, 2, 3, 4),
		{"MaxPoolGrad of ties", -1, 1, [][]int{{2, 3, 4}, {2, 7, 8}}, func(b *builder, x []string) []string {
			attr := attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{0, 1, 0, 1}}
			return []string{b.Op(graph.MaxPoolGrad, attr, x[0], b.Op(graph.Sign, nil, x[1]))}
		}},
	}
}

// convolution is a case of Conv or ConvTranspose.
type convolution struct {
	op     graph.Op
	name   string
	in     []int
	kernel []int // [M,C/group,kH,kW] or, for ConvTranspose, [C,M/group,kH,kW]
	bias   int   // its length, 0 for none
	attr   graph.Attrs
}

func (c convolution) build(b *builder, x []string) string {
	args := []string{x[0], b.constant(-1, 1, c.kernel...)}
	if c.bias > 0 {
		args = append(args, b.constant(-1, 1, c.bias))
	}
	return b.Op(c.op, c.attr, args...)
}

var convolutions = []convolution{
	{graph.Conv, "3x3", ints{3, 6, 9}, ints{5, 3, 3, 3}, 5, attrs{"pads": ints{1, 1, 1, 1}}},
	{graph.Conv, "3x3 no padding, no bias", ints{2, 6, 9}, ints{4, 2, 3, 3}, 0, nil},
	{graph.Conv, "3x3 stride 2", ints{3, 7, 10}, ints{4, 3, 3, 3}, 4,
		attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	{graph.Conv, "uneven", ints{3, 9, 11}, ints{7, 3, 4, 2}, 7,
		attrs{"pads": ints{2, 0, 1, 3}, "strides": ints{3, 1}, "dilations": ints{1, 2}}},
	{graph.Conv, "strided across", ints{2, 5, 13}, ints{3, 2, 2, 5}, 3, attrs{"pads": ints{0, 1, 0, 2}, "strides": ints{1, 3}}},
	{graph.Conv, "dilated", ints{2, 9, 9}, ints{3, 2, 3, 3}, 3, attrs{"pads": ints{2, 2, 2, 2}, "dilations": ints{2, 2}}},
	{graph.Conv, "1x1", ints{5, 4, 7}, ints{6, 5, 1, 1}, 6, nil},
	{graph.Conv, "1x1 of many", ints{40, 5, 7}, ints{72, 40, 1, 1}, 72, nil},
	{graph.Conv, "3x3 of many, stride 2", ints{24, 5, 7}, ints{28, 24, 3, 3}, 28, attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	{graph.Conv, "7x7 of an image, stride 2", ints{3, 9, 11}, ints{8, 3, 7, 7}, 8, attrs{"pads": ints{3, 3, 3, 3}, "strides": ints{2, 2}}},
	{graph.Conv, "1x1 stride 2", ints{5, 5, 7}, ints{6, 5, 1, 1}, 0, attrs{"strides": ints{2, 2}}},
	{graph.Conv, "of a pixel", ints{9, 1, 1}, ints{4, 9, 1, 1}, 4, nil},
	{graph.Conv, "to a column", ints{2, 5, 3}, ints{5, 2, 3, 3}, 5, nil},
	{graph.Conv, "padding wider than the kernel", ints{2, 3, 3}, ints{3, 2, 2, 2}, 3, attrs{"pads": ints{3, 4, 5, 3}}},
	{graph.Conv, "grouped", ints{6, 5, 6}, ints{8, 3, 3, 3}, 8, attrs{"group": 2, "pads": ints{1, 1, 1, 1}}},
	{graph.Conv, "groups of four", ints{32, 5, 6}, ints{32, 4, 3, 3}, 32, attrs{"group": 8, "pads": ints{1, 1, 1, 1}}},
	{graph.Conv, "depthwise of 16", ints{16, 6, 7}, ints{16, 1, 3, 3}, 16, attrs{"group": 16, "pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	{graph.Conv, "depthwise", ints{4, 6, 7}, ints{4, 1, 3, 3}, 4, attrs{"group": 4, "pads": ints{1, 1, 1, 1}}},
	{graph.Conv, "depthwise stride 2", ints{3, 7, 9}, ints{6, 1, 3, 3}, 0,
		attrs{"group": 3, "pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	{graph.Conv, "depthwise rows", ints{3, 4, 20}, ints{3, 1, 1, 15}, 0, attrs{"group": 3, "strides": ints{1, 2}}},
	{graph.Conv, "depthwise columns", ints{3, 20, 4}, ints{3, 1, 15, 1}, 0, attrs{"group": 3, "strides": ints{4, 1}}},
	{graph.Conv, "depthwise 5x5", ints{5, 9, 14}, ints{5, 1, 5, 5}, 5, attrs{"group": 5, "pads": ints{2, 2, 2, 2}}},
	{graph.Conv, "depthwise 3x3 stride 2, same", ints{4, 16, 34}, ints{4, 1, 3, 3}, 4,
		attrs{"group": 4, "pads": ints{0, 0, 1, 1}, "strides": ints{2, 2}}},
	{graph.Conv, "depthwise 5x5 stride 2, same", ints{3, 18, 36}, ints{3, 1, 5, 5}, 3,
		attrs{"group": 3, "pads": ints{1, 1, 2, 2}, "strides": ints{2, 2}}},
	{graph.Conv, "depthwise 5x5 stride 2, odd", ints{3, 11, 37}, ints{3, 1, 5, 5}, 0,
		attrs{"group": 3, "pads": ints{2, 1, 0, 3}, "strides": ints{2, 2}}},
	{graph.Conv, "depthwise stride 2 across", ints{3, 7, 35}, ints{3, 1, 3, 5}, 3,
		attrs{"group": 3, "pads": ints{1, 0, 0, 2}, "strides": ints{1, 2}}},
	{graph.Conv, "depthwise stride 2 down", ints{3, 13, 19}, ints{3, 1, 5, 3}, 3,
		attrs{"group": 3, "pads": ints{2, 0, 1, 2}, "strides": ints{2, 1}}},
	{graph.Conv, "depthwise stride 3", ints{2, 14, 23}, ints{2, 1, 4, 5}, 2,
		attrs{"group": 2, "pads": ints{1, 2, 0, 0}, "strides": ints{3, 3}}},
	{graph.Conv, "depthwise dilated", ints{3, 12, 20}, ints{3, 1, 3, 3}, 3,
		attrs{"group": 3, "pads": ints{2, 1, 0, 2}, "dilations": ints{2, 2}}},
	{graph.Conv, "depthwise stride 2, dilated", ints{3, 12, 40}, ints{3, 1, 3, 3}, 3,
		attrs{"group": 3, "pads": ints{2, 3, 0, 2}, "strides": ints{2, 2}, "dilations": ints{2, 3}}},
	{graph.Conv, "depthwise of a pixel", ints{4, 1, 1}, ints{4, 1, 5, 5}, 4, attrs{"group": 4, "pads": ints{2, 2, 2, 2}}},
	{graph.Conv, "depthwise, padding wider than the kernel", ints{2, 3, 9}, ints{2, 1, 2, 2}, 2,
		attrs{"group": 2, "pads": ints{3, 4, 5, 3}}},
	{graph.Conv, "depthwise, two of each", ints{4, 9, 21}, ints{8, 1, 5, 5}, 8,
		attrs{"group": 4, "pads": ints{1, 2, 2, 1}}},
	{graph.Conv, "depthwise, three of each, stride 2", ints{3, 9, 33}, ints{9, 1, 3, 3}, 9,
		attrs{"group": 3, "pads": ints{0, 1, 1, 0}, "strides": ints{2, 2}}},
	{graph.Conv, "depthwise, large", ints{2, 100, 130}, ints{2, 1, 5, 5}, 2, attrs{"group": 2, "pads": ints{2, 2, 2, 2}}},
	{graph.Conv, "depthwise, large, stride 2", ints{2, 101, 128}, ints{2, 1, 3, 3}, 2,
		attrs{"group": 2, "pads": ints{0, 0, 1, 1}, "strides": ints{2, 2}}},
	{graph.Conv, "many to one", ints{12, 10, 11}, ints{1, 12, 3, 3}, 1, attrs{"pads": ints{1, 1, 1, 1}}},
	{graph.Conv, "large", ints{8, 18, 23}, ints{19, 8, 3, 3}, 19, attrs{"pads": ints{1, 1, 1, 1}}},
	{graph.Conv, "large direct", ints{1, 60, 56}, ints{1, 1, 9, 9}, 1, attrs{"pads": ints{4, 4, 4, 4}}},
	{graph.ConvTranspose, "3x3", ints{3, 5, 6}, ints{3, 4, 3, 3}, 4, attrs{"pads": ints{1, 1, 1, 1}}},
	{graph.ConvTranspose, "stride 2", ints{3, 4, 5}, ints{3, 4, 3, 3}, 0,
		attrs{"pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}, "output_padding": ints{1, 1}}},
	{graph.ConvTranspose, "uneven", ints{4, 3, 5}, ints{4, 3, 4, 3}, 6,
		attrs{"group": 2, "pads": ints{1, 0, 2, 1}, "strides": ints{3, 2}, "dilations": ints{1, 2}, "output_padding": ints{2, 0}}},
	{graph.ConvTranspose, "depthwise", ints{3, 4, 5}, ints{3, 1, 1, 7}, 0,
		attrs{"group": 3, "strides": ints{1, 4}, "pads": ints{0, 2, 0, 1}}},
	{graph.ConvTranspose, "depthwise 5x5 stride 2", ints{3, 7, 18}, ints{3, 1, 5, 5}, 3,
		attrs{"group": 3, "strides": ints{2, 2}, "pads": ints{1, 2, 2, 1}, "output_padding": ints{0, 1}}},
	{graph.ConvTranspose, "depthwise, two of each, stride 2", ints{3, 6, 17}, ints{3, 2, 3, 3}, 6,
		attrs{"group": 3, "strides": ints{2, 2}, "pads": ints{1, 1, 1, 1}}},
	{graph.ConvTranspose, "depthwise to a column", ints{3, 4, 1}, ints{3, 1, 3, 1}, 0,
		attrs{"group": 3, "strides": ints{2, 2}, "pads": ints{1, 0, 0, 0}}},
	{graph.ConvTranspose, "stride beyond the kernel", ints{2, 3, 3}, ints{2, 3, 1, 2}, 3,
		attrs{"strides": ints{2, 3}, "output_padding": ints{1, 2}}},
}

// networks are small whole ones, in which values have several readers, die early and late, and share buffers.
func networks() []network {
	return []network{
		{"residual", -1, 1, []ints{{3, 16, 20}}, residual},
		{"mobile", -1, 1, []ints{{3, 33, 38}}, mobile},
		{"inception", -1, 1, []ints{{4, 9, 10}}, inception},
		{"scatter", 0, 1, []ints{{3, 24, 20}}, scatter},
		{"attention", -1, 1, []ints{{4, 6, 8}}, attention},
		{"two inputs and outputs, one of each unused or passed on", -1, 1, []ints{{2, 4, 5}, {2, 4, 5}, {3}},
			func(b *builder, x []string) []string {
				sum := b.Op(graph.Add, nil, x[0], x[1])
				flat := b.Op(graph.Reshape, attrs{"shape": ints{0, 40}}, sum)
				return []string{sum, x[0], b.Op(graph.Exp, nil, flat), flat}
			}},
		{"in place", 0.5, 2, []ints{{3, 5, 6}}, func(b *builder, x []string) []string {
			y := b.Op(graph.Mul, nil, b.Op(graph.Log, nil, x[0]), b.constant(-1, 1, 3, 1, 1))
			z := b.Op(graph.Tanh, nil, b.Op(graph.Reshape, attrs{"shape": ints{0, 6, 15}}, y))
			kept := b.Op(graph.Abs, nil, z)
			return []string{b.Op(graph.Softmax, nil, b.Op(graph.Sub, nil, b.Scalar(1), z)), kept}
		}},
	}
}

func residual(b *builder, x []string) []string {
	conv := func(x string, from, to, k, stride int) string {
		p := k / 2
		w := b.constant(-0.4, 0.4, to, from, k, k)
		y := b.Conv(x, w, "", attrs{"pads": ints{p, p, p, p}, "strides": ints{stride, stride}})
		return b.normalized(y, to)
	}
	block := func(x string, from, to, stride int) string {
		y := conv(b.Op(graph.Relu, nil, conv(x, from, to, 3, stride)), to, to, 3, 1)
		if stride > 1 || from != to {
			x = conv(x, from, to, 1, stride)
		}
		return b.Op(graph.Relu, nil, b.Op(graph.Add, nil, y, x))
	}
	stem := b.Op(graph.MaxPool, attrs{"kernel_shape": ints{3, 3}, "strides": ints{2, 2}, "pads": ints{1, 1, 1, 1}},
		b.Op(graph.Relu, nil, conv(x[0], 3, 6, 5, 1)))
	a := block(stem, 6, 6, 1)
	c := block(a, 6, 8, 2)
	pooled := b.Op(graph.Reshape, attrs{"shape": ints{0, -1}}, b.Op(graph.GlobalAveragePool, nil, c))
	return []string{a, c, b.Op(graph.Gemm, attrs{"transB": 1}, pooled, b.constant(-1, 1, 5, 8), b.constant(-1, 1, 5))}
}

// mobile has the blocks of an EfficientNet-Lite: 1x1, depthwise and 1x1, clipped between, "same" padding a Pad of its own.
func mobile(b *builder, x []string) []string {
	clip := func(x string) string {
		return b.Op(graph.Clip, attrs{"min": float32(0), "max": float32(0.6)}, x)
	}
	conv := func(x string, to, k, stride, group int) string {
		shape := b.Shape(x)
		pads := make(ints, 8)
		for _, a := range []int{2, 3} {
			all := max(0, (shape[a]-1)/stride*stride+k-shape[a])
			pads[a], pads[4+a] = all/2, all-all/2
		}
		if k > 1 {
			x = b.Op(graph.Pad, attrs{"pads": pads}, x)
		}
		return b.normalized(b.Conv(x, b.constant(-0.6, 0.6, to, shape[1]/group, k, k), "",
			attrs{"strides": ints{stride, stride}, "group": group}), to)
	}
	block := func(x string, to, k, stride int) string {
		from := b.Shape(x)[1]
		y := clip(conv(clip(conv(x, 3*from, 1, 1, 1)), 3*from, k, stride, 3*from))
		y = conv(y, to, 1, 1, 1)
		if stride == 1 && from == to {
			y = b.Op(graph.Add, nil, y, x)
		}
		return y
	}
	y := block(clip(conv(x[0], 6, 3, 2, 1)), 6, 3, 1)
	z := block(block(y, 8, 5, 2), 8, 5, 1)
	return []string{y, z, block(z, 9, 3, 2)}
}

func inception(b *builder, x []string) []string {
	conv := func(x string, from, to, kh, kw int) string {
		y := b.Conv(x, b.constant(-0.5, 0.5, to, from, kh, kw), b.constant(-0.1, 0.1, to),
			attrs{"pads": ints{kh / 2, kw / 2, kh / 2, kw / 2}})
		return b.Op(graph.LeakyRelu, nil, y)
	}
	pooled := b.Op(graph.AveragePool, attrs{"kernel_shape": ints{3, 3}, "pads": ints{1, 1, 1, 1}}, x[0])
	y := b.Op(graph.Concat, attrs{"axis": 1},
		conv(x[0], 4, 3, 1, 1),
		conv(conv(x[0], 4, 2, 1, 1), 2, 4, 3, 3),
		conv(conv(conv(x[0], 4, 3, 1, 1), 3, 3, 1, 5), 3, 2, 5, 1),
		conv(pooled, 4, 2, 1, 1))
	gate := b.Op(graph.HardSigmoid, nil, conv(b.Op(graph.GlobalAveragePool, nil, y), 11, 11, 1, 1))
	return []string{b.Op(graph.Mul, nil, y, gate)}
}

// scatter has the shape of the built-in backbone: a pyramid of moduli of filter pairs, pooled, in logarithms.
func scatter(b *builder, x []string) []string {
	blur := func(x string, channels, stride int) string {
		pad := b.Op(graph.Pad, attrs{"pads": ints{0, 0, 3, 3, 0, 0, 3, 3}, "mode": "reflect"}, x)
		y := b.Conv(pad, b.constant(0, 0.3, channels, 1, 1, 7), "", attrs{"group": channels, "strides": ints{1, stride}})
		return b.Conv(y, b.constant(0, 0.3, channels, 1, 7, 1), "", attrs{"group": channels, "strides": ints{stride, 1}})
	}
	modulus := func(x string, group, n int) string {
		pad := b.Op(graph.Pad, attrs{"pads": ints{0, 0, 4, 4, 0, 0, 4, 4}, "mode": "reflect"}, x)
		y := b.Conv(pad, b.constant(-0.2, 0.2, 2*n, 1, 9, 9), "", attrs{"group": group})
		y = b.Op(graph.Mul, nil, y, y)
		part := func(i int) string {
			return b.Op(graph.Slice, attrs{"starts": ints{i * n}, "ends": ints{(i + 1) * n}, "axes": ints{1}}, y)
		}
		return b.Op(graph.Sqrt, nil, b.Op(graph.Add, nil, b.Op(graph.Add, nil, part(0), part(1)), b.Scalar(1e-3)))
	}
	log := func(x string) string { return b.Op(graph.Log, nil, b.Op(graph.Add, nil, x, b.Scalar(0.01))) }
	luminance := b.Conv(x[0], b.constant(0.2, 0.4, 1, 3, 1, 1), "", nil)
	first := modulus(luminance, 1, 3)
	half := blur(luminance, 1, 2)
	second := modulus(blur(first, 3, 2), 3, 3)
	down := attrs{"mode": "linear", "sizes": ints{-1, 3, 6, 5}}
	all := b.Op(graph.Concat, attrs{"axis": 1},
		log(blur(first, 3, 4)),
		b.Op(graph.Resize, down, log(modulus(half, 1, 3))),
		log(blur(second, 3, 2)))
	return []string{b.Conv(all, b.constant(-0.5, 0.5, 4, 9, 1, 1), b.constant(-0.5, 0.5, 4), nil)}
}

// attention multiplies values by values and reduces over channels.
func attention(b *builder, x []string) []string {
	swap := attrs{"perm": ints{0, 2, 1}}
	tokens := b.Op(graph.Transpose, swap, b.Op(graph.Reshape, attrs{"shape": ints{0, 4, 48}}, x[0]))
	project := func() string { return b.Op(graph.MatMul, nil, tokens, b.constant(-1, 1, 4, 6)) }
	keys := b.Op(graph.Transpose, swap, project())
	weights := b.Op(graph.Softmax, nil, b.Op(graph.Div, nil, b.Op(graph.MatMul, nil, project(), keys), b.Scalar(2)))
	y := b.Op(graph.MatMul, nil, weights, project())
	centred := b.Op(graph.Sub, nil, y, b.Op(graph.ReduceMean, attrs{"axes": ints{-1}}, y))
	return []string{b.Op(graph.HardSwish, nil, centred)}
}
