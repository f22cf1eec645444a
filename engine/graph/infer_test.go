package graph_test

import (
	"fmt"
	"math"
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

const n = graph.N

type attrs = graph.Attrs

func ints(v ...int) []int { return v }

// TestShapes infers every operator's shape. An operand whose shape begins with N is a value, else a constant.
func TestShapes(t *testing.T) {
	huge := math.MaxInt
	for i, c := range []struct {
		op   graph.Op
		attr attrs
		in   [][]int
		want []int // nil: an error that contains msg
		msg  string
	}{
		// The output of a Conv has floor((in + pads - extent)/stride) + 1 rows.
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}, {4}}, ints(n, 4, 3, 5), ""},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}, nil}, ints(n, 4, 3, 5), ""},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, nil}, nil, "input 1 is left out"},
		{graph.Conv, attrs{
			"strides": ints(2, 3), "pads": ints(1, 0, 2, 1), "dilations": ints(2, 1), "group": 3, "kernel_shape": ints(3, 2)},
			[][]int{{n, 6, 8, 8}, {3, 2, 3, 2}}, ints(n, 3, 4, 3), ""},
		{graph.Conv, nil, [][]int{{n, 3, 5}, {4, 3, 3, 2}}, nil, "want 4 axes"},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, {4, 3, 3}}, nil, "want 4 axes"},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, {4, 2, 3, 2}}, nil, "do not fit"},
		{graph.Conv, attrs{"group": 2}, [][]int{{n, 4, 5, 6}, {3, 2, 3, 2}}, nil, "do not fit"},
		{graph.Conv, attrs{"group": 0}, [][]int{{n, 4, 5, 6}, {3, 2, 3, 2}}, nil, "group is 0"},
		{graph.Conv, attrs{"group": huge}, [][]int{{n, 4, 5, 6}, {3, 2, 3, 2}}, nil, "group is"},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}, {3}}, nil, "bias has shape [3], want [4]"},
		{graph.Conv, nil, [][]int{{n, 3, 2, 6}, {4, 3, 3, 2}}, nil, "no window"},
		{graph.Conv, attrs{"kernel_shape": ints(3, 3)}, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, "kernel_shape"},
		{graph.Conv, attrs{"strides": ints(0, 1)},
			[][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, "strides [0 1]: want numbers from 1"},
		{graph.Conv, attrs{"strides": ints(2)}, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, "strides [2]: want 2 numbers"},
		{graph.Conv, attrs{"pads": ints(1, 1)}, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, "pads [1 1]: want 4 numbers"},
		{graph.Conv, attrs{"pads": ints(1, -1, 0, 0)}, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, "want numbers from 0"},
		{graph.Conv, attrs{"dilations": ints(1, huge)}, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, "dilations"},
		{graph.Conv, attrs{"auto_pad": "SAME_UPPER"},
			[][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, `unknown attribute "auto_pad"`},
		{graph.Conv, attrs{"group": "2"},
			[][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, `attribute "group" is 2 (string), want int`},
		{graph.Conv, attrs{"strides": []int64{1, 1}}, [][]int{{n, 3, 5, 6}, {4, 3, 3, 2}}, nil, `want []int`},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}}, nil, "1 inputs, want 2 to 3"},
		{graph.Conv, nil, [][]int{{n, 3, 5, 6}, {n, 3, 3, 2}}, nil, "must be a constant"},
		{graph.Conv, nil, [][]int{{1, 3, 5, 6}, {4, 3, 3, 2}}, nil, "must be a value"},
		// ConvTranspose: (in-1)*stride + extent + output_padding - pads.
		{graph.ConvTranspose, attrs{
			"strides": ints(2, 3), "pads": ints(1, 0, 0, 2), "output_padding": ints(1, 2), "group": 2, "dilations": ints(1, 2)},
			[][]int{{n, 4, 3, 5}, {4, 3, 3, 2}, {6}}, ints(n, 6, 7, 15), ""},
		{graph.ConvTranspose, attrs{"strides": ints(2, 2), "output_padding": ints(2, 0)},
			[][]int{{n, 4, 3, 5}, {4, 3, 3, 2}}, nil, "less than the strides"},
		{graph.ConvTranspose, attrs{"output_padding": ints(-1, 0)},
			[][]int{{n, 4, 3, 5}, {4, 3, 3, 2}}, nil, "output_padding"},
		{graph.ConvTranspose, attrs{"output_padding": ints(0)}, [][]int{{n, 4, 3, 5}, {4, 3, 3, 2}}, nil, "want 2 numbers"},
		{graph.ConvTranspose, attrs{"pads": ints(2, 0, 3, 0)}, [][]int{{n, 4, 3, 5}, {4, 3, 3, 2}}, nil, "extent below 1"},
		{graph.ConvTranspose, nil, [][]int{{n, 3, 3, 5}, {4, 3, 3, 2}}, nil, "do not fit"},
		{graph.ConvTranspose, attrs{"group": 3}, [][]int{{n, 4, 3, 5}, {4, 3, 3, 2}}, nil, "do not fit"},
		{graph.ConvTranspose, nil, [][]int{{n, 4, 3, 5}, {4, 3, 3, 2}, {4}}, nil, "bias"},
		{graph.BatchNormalization, attrs{"epsilon": float32(0)},
			[][]int{{n, 4, 3, 5}, {4}, {4}, {4}, {4}}, ints(n, 4, 3, 5), ""},
		{graph.BatchNormalization, nil, [][]int{{n, 4, 3, 5}, {4}, {4}, {5}, {4}}, nil, "mean has shape [5], want [4]"},
		{graph.BatchNormalization, nil, [][]int{{n, 4, 3, 5}, {4}, {4}, {4}, {3}}, nil, "var has shape [3]"},
		{graph.BatchNormalization, attrs{"epsilon": float32(-1)},
			[][]int{{n, 4}, {4}, {4}, {4}, {4}}, nil, "epsilon is -1"},
		{graph.BatchNormalization, nil, [][]int{{n}, {4}, {4}, {4}, {4}}, nil, "at least 2 axes"},
		// Pointwise
		{graph.Relu, nil, [][]int{{n, 7}}, ints(n, 7), ""},
		{graph.Relu, nil, [][]int{{2, 7}}, nil, "all inputs are constants"},
		{graph.Relu, nil, [][]int{{n, 7}, {n, 7}}, nil, "2 inputs, want 1"},
		{graph.LeakyRelu, attrs{"alpha": float32(math.NaN())}, [][]int{{n, 7}}, nil, `attribute "alpha" is NaN`},
		{graph.LeakyRelu, attrs{"alpha": 0.5}, [][]int{{n, 7}}, nil, `(float64), want float32`},
		{graph.Clip, attrs{"min": float32(1), "max": float32(1)}, [][]int{{n, 7}}, ints(n, 7), ""},
		{graph.Clip, attrs{"min": float32(2), "max": float32(1)}, [][]int{{n, 7}}, nil, "min 2 exceeds max 1"},
		{graph.Step, attrs{"min": float32(2), "max": float32(1)}, [][]int{{n, 7}}, nil, "min 2 exceeds max 1"},
		// Broadcasting
		{graph.Add, nil, [][]int{{n, 3, 1, 5}, {4, 1}}, ints(n, 3, 4, 5), ""},
		{graph.Sub, nil, [][]int{{1, 3, 4, 5}, {n, 1, 1, 1}}, ints(n, 3, 4, 5), ""},
		{graph.Mul, nil, [][]int{{n, 3, 1}, {n, 1, 4}}, ints(n, 3, 4), ""},
		{graph.Div, nil, [][]int{{n}, {1}}, ints(n), ""},
		{graph.Add, nil, [][]int{{n, 3}, {4}}, nil, "do not broadcast"},
		{graph.Add, nil, [][]int{{n, 3}, {2, 3}}, nil, "do not broadcast"},
		{graph.Add, nil, [][]int{{n, 3}, {n, 3, 3}}, nil, "do not broadcast"},
		{graph.Add, nil, [][]int{{n, 3}, {n, 1, 3}}, nil, "moves axis 0"},
		{graph.Add, nil, [][]int{{n, 3}, {1, 1, 3}}, nil, "moves axis 0"},
		{graph.Add, nil, [][]int{{n, 3}, {2, 1, 3}}, nil, "moves axis 0"},
		// Layout
		{graph.Concat, attrs{"axis": -1}, [][]int{{n, 3, 4}, {n, 3, 1}, {n, 3, 2}}, ints(n, 3, 7), ""},
		{graph.Concat, attrs{"axis": 1}, [][]int{{n, 3, 4}}, ints(n, 3, 4), ""},
		{graph.Concat, nil, [][]int{{n, 3, 4}}, nil, "axis is not set"},
		{graph.Concat, attrs{"axis": 0}, [][]int{{n, 3, 4}, {n, 3, 4}}, nil, "axis 0"},
		{graph.Concat, attrs{"axis": -3}, [][]int{{n, 3, 4}, {n, 3, 4}}, nil, "axis 0"},
		{graph.Concat, attrs{"axis": 3}, [][]int{{n, 3, 4}, {n, 3, 4}}, nil, "axis 3 does not exist"},
		{graph.Concat, attrs{"axis": -4}, [][]int{{n, 3, 4}, {n, 3, 4}}, nil, "axis -4 does not exist"},
		{graph.Concat, attrs{"axis": 1}, [][]int{{n, 3, 4}, {n, 3, 5}}, nil, "differ off axis 1"},
		{graph.Concat, attrs{"axis": 1}, [][]int{{n, 3, 4}, {1, 3, 4}}, nil, "differ off axis 1"},
		{graph.Concat, attrs{"axis": 1}, [][]int{{n, 3, 4}, {n, 3}}, nil, "differ in rank"},
		{graph.Concat, attrs{"axis": 1}, [][]int{{n, 3, 4}, nil}, nil, "input 1 is left out"},
		{graph.Concat, attrs{"axis": 1}, [][]int{nil, {n, 3, 4}}, nil, "input 0 is left out"},
		{graph.Concat, attrs{"axis": 1}, [][]int{{n, 1 << 30}, {n, 1 << 30}}, nil, "more than"},
		{graph.Slice, attrs{"starts": ints(1, -3), "ends": ints(huge, -1), "axes": ints(1, -1)},
			[][]int{{n, 3, 4, 5}}, ints(n, 2, 4, 2), ""},
		{graph.Slice, attrs{"starts": ints(-99), "ends": ints(99), "axes": ints(2), "steps": ints(3)},
			[][]int{{n, 3, 4, 5}}, ints(n, 3, 2, 5), ""},
		{graph.Slice, attrs{"starts": ints(0), "ends": ints(1), "axes": ints(0)}, [][]int{{n, 3}}, nil, "axis 0"},
		{graph.Slice, attrs{"starts": ints(0), "ends": ints(1)}, [][]int{{n, 3}}, nil, "not set"},
		{graph.Slice, nil, [][]int{{n, 3}}, nil, "not set"},
		{graph.Slice, attrs{"starts": ints(0), "ends": ints(1, 2), "axes": ints(1)},
			[][]int{{n, 3}}, nil, "differ in length"},
		{graph.Slice, attrs{"starts": ints(0), "ends": ints(1), "axes": ints(1), "steps": ints(1, 1)},
			[][]int{{n, 3}}, nil, "differ in length"},
		{graph.Slice, attrs{"starts": ints(0), "ends": ints(1), "axes": ints(1), "steps": ints(-1)},
			[][]int{{n, 3}}, nil, "at least 1"},
		{graph.Slice, attrs{"starts": ints(0, 1), "ends": ints(1, 2), "axes": ints(1, -2)},
			[][]int{{n, 3, 4}}, nil, "repeat axis 1"},
		{graph.Slice, attrs{"starts": ints(2), "ends": ints(2), "axes": ints(1)},
			[][]int{{n, 3, 4}}, nil, "nothing of axis 1"},
		{graph.Slice, attrs{"starts": ints(math.MinInt), "ends": ints(huge), "axes": ints(1), "steps": ints(huge)},
			[][]int{{n, 3, 4}}, ints(n, 1, 4), ""},
		{graph.Pad, attrs{"pads": ints(0, 1, 2, 3, 0, 4, 5, 6), "value": float32(math.Inf(-1))},
			[][]int{{n, 1, 1, 1}}, ints(n, 6, 8, 10), ""},
		{graph.Pad, attrs{"pads": ints(0, 2, 0, 2), "mode": "reflect"}, [][]int{{n, 3}}, ints(n, 7), ""},
		{graph.Pad, attrs{"pads": ints(0, 3, 0, 0), "mode": "reflect"}, [][]int{{n, 3}}, nil, "reflecting 3 elements"},
		{graph.Pad, attrs{"pads": ints(0, 0, 0, 3), "mode": "reflect"}, [][]int{{n, 3}}, nil, "reflecting 3 elements"},
		{graph.Pad, attrs{"pads": ints(0, 3, 0, 0), "mode": "edge"}, [][]int{{n, 1}}, ints(n, 4), ""},
		{graph.Pad, attrs{"pads": ints(0, 3, 0, 0), "mode": "wrap"}, [][]int{{n, 1}}, nil, `mode "wrap"`},
		{graph.Pad, attrs{"pads": ints(1, 0, 0, 0)}, [][]int{{n, 1}}, nil, "axis 0"},
		{graph.Pad, attrs{"pads": ints(0, 0, 1, 0)}, [][]int{{n, 1}}, nil, "axis 0"},
		{graph.Pad, attrs{"pads": ints(0, -1, 0, 0)}, [][]int{{n, 3}}, nil, "want numbers from 0"},
		{graph.Pad, attrs{"pads": ints(0, huge, 0, huge)}, [][]int{{n, 3}}, nil, "want numbers from 0"},
		{graph.Pad, attrs{"pads": ints(0, 1)}, [][]int{{n, 3}}, nil, "want 4 numbers"},
		{graph.Reshape, attrs{"shape": ints(0, -1, 0, 2)}, [][]int{{n, 4, 3, 5, 2}}, ints(n, 20, 3, 2), ""},
		{graph.Reshape, attrs{"shape": ints(-1, 120)}, [][]int{{n, 4, 3, 5, 2}}, ints(n, 120), ""},
		{graph.Reshape, attrs{"shape": ints(1, 120)}, [][]int{{n, 120}}, nil, "must begin with 0 or -1"},
		{graph.Reshape, nil, [][]int{{n, 120}}, nil, "must begin with 0 or -1"},
		{graph.Reshape, attrs{"shape": ints(-1, 60)}, [][]int{{n, 120}}, nil, "axis 0 must stay apart"},
		{graph.Reshape, attrs{"shape": ints(0, -1, 7)}, [][]int{{n, 120}}, nil, "axis 0 must stay apart"},
		{graph.Reshape, attrs{"shape": ints(0, -1, -1)}, [][]int{{n, 120}}, nil, "cannot be -1"},
		{graph.Reshape, attrs{"shape": ints(0, 120, 0)}, [][]int{{n, 120}}, nil, "cannot be 0"},
		{graph.Reshape, attrs{"shape": ints(0, -2, -60)}, [][]int{{n, 120}}, nil, "cannot be -2"},
		{graph.Reshape, attrs{"shape": ints(0, huge, huge)}, [][]int{{n, 120}}, nil, "cannot be"},
		{graph.Reshape, attrs{"shape": ints(0, -1, 240)}, [][]int{{n, 120}}, nil, "axis 0 must stay apart"},
		{graph.Transpose, attrs{"perm": ints(0, 3, 1, 2)}, [][]int{{n, 4, 3, 5}}, ints(n, 5, 4, 3), ""},
		{graph.Transpose, nil, [][]int{{n, 4}}, nil, "with 0 first"},
		{graph.Transpose, attrs{"perm": ints(1, 0)}, [][]int{{n, 4}}, nil, "with 0 first"},
		{graph.Transpose, attrs{"perm": ints(0, 1, 1)}, [][]int{{n, 4, 3}}, nil, "repeat"},
		{graph.Transpose, attrs{"perm": ints(0, 1, 3)}, [][]int{{n, 4, 3}}, nil, "does not exist"},
		{graph.Transpose, attrs{"perm": ints(0, -2, -1)}, [][]int{{n, 4, 3}}, nil, "negative"},
		// Pooling
		{graph.MaxPool, attrs{"kernel_shape": ints(3, 2), "strides": ints(2, 2), "pads": ints(1, 0, 1, 0)},
			[][]int{{n, 2, 6, 7}}, ints(n, 2, 3, 3), ""},
		{graph.MaxPool, attrs{"kernel_shape": ints(3, 2), "strides": ints(2, 2), "pads": ints(1, 0, 1, 0), "ceil_mode": 1},
			[][]int{{n, 2, 6, 7}}, ints(n, 2, 4, 4), ""},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "strides": ints(3, 3), "pads": ints(1, 1, 1, 1), "ceil_mode": 1},
			[][]int{{n, 1, 5, 6}}, ints(n, 1, 2, 3), ""},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "dilations": ints(3, 3), "pads": ints(1, 1, 1, 1)},
			[][]int{{n, 1, 3, 3}}, ints(n, 1, 2, 2), ""},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "dilations": ints(3, 3), "pads": ints(1, 1, 1, 1)},
			[][]int{{n, 1, 2, 3}}, nil, "padding only"},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "pads": ints(0, 0, 2, 0)},
			[][]int{{n, 1, 5, 5}}, nil, "padding only"},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "pads": ints(0, 2, 0, 0)},
			[][]int{{n, 1, 5, 5}}, nil, "padding only"},
		{graph.MaxPool, attrs{"kernel_shape": ints(6, 2)}, [][]int{{n, 1, 5, 5}}, nil, "no window"},
		{graph.MaxPool, nil, [][]int{{n, 1, 5, 5}}, nil, "kernel_shape []: want 2 numbers"},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "ceil_mode": 2}, [][]int{{n, 1, 5, 5}}, nil, "want int, 0 or 1"},
		{graph.MaxPool, attrs{"kernel_shape": ints(2, 2)}, [][]int{{n, 1, 5}}, nil, "want 4 axes"},
		{graph.AveragePool, attrs{"kernel_shape": ints(2, 2), "count_include_pad": 1},
			[][]int{{n, 1, 5, 5}}, ints(n, 1, 4, 4), ""},
		{graph.AveragePool, attrs{"kernel_shape": ints(2, 2), "dilations": ints(2, 2)},
			[][]int{{n, 1, 5, 5}}, nil, "unknown attribute"},
		{graph.GlobalAveragePool, nil, [][]int{{n, 3, 5, 5}}, ints(n, 3, 1, 1), ""},
		{graph.GlobalAveragePool, nil, [][]int{{n, 3, 5}}, nil, "want 4 axes"},
		// Resize: floor(in*scale) in float32: 0.7f is below 0.7, and yet 10 become 7.
		{graph.Resize, attrs{"scales": []float32{1, 1, 2, 0.7}}, [][]int{{n, 3, 5, 10}}, ints(n, 3, 10, 7), ""},
		{graph.Resize, attrs{"sizes": ints(n, 3, 4, 9)}, [][]int{{n, 3, 5, 10}}, ints(n, 3, 4, 9), ""},
		{graph.Resize, attrs{"scales": []float32{1, 1, 0.2, 0.1}}, [][]int{{n, 3, 5, 10}}, ints(n, 3, 1, 1), ""},
		{graph.Resize, nil, [][]int{{n, 3, 5, 10}}, nil, "want 4 scales or 4 sizes"},
		{graph.Resize, attrs{"sizes": ints(n, 3, 4, 9), "scales": []float32{1, 1, 1, 1}},
			[][]int{{n, 3, 5, 10}}, nil, "want 4 scales or 4 sizes"},
		{graph.Resize, attrs{"sizes": ints(n, 3), "scales": []float32{1, 1}},
			[][]int{{n, 3, 5, 10}}, nil, "want 4 scales or 4 sizes"},
		{graph.Resize, attrs{"sizes": ints(n, 2, 4, 9)}, [][]int{{n, 3, 5, 10}}, nil, "keep N and C"},
		{graph.Resize, attrs{"sizes": ints(1, 3, 4, 9)}, [][]int{{n, 3, 5, 10}}, nil, "keep N and C"},
		{graph.Resize, attrs{"scales": []float32{1, 2, 2, 2}}, [][]int{{n, 3, 5, 10}}, nil, "keep N and C"},
		{graph.Resize, attrs{"scales": []float32{2, 1, 2, 2}}, [][]int{{n, 3, 5, 10}}, nil, "keep N and C"},
		{graph.Resize, attrs{"scales": []float32{1, 1, 0.1, 2}}, [][]int{{n, 3, 5, 10}}, nil, "into 0.5"},
		{graph.Resize, attrs{"scales": []float32{1, 1, -1, 2}}, [][]int{{n, 3, 5, 10}}, nil, "into -5"},
		{graph.Resize, attrs{"scales": []float32{1, 1, 1, float32(math.Inf(1))}}, [][]int{{n, 3, 5, 10}}, nil, "into +Inf"},
		{graph.Resize, attrs{"scales": []float32{1, 1, 1, float32(math.NaN())}},
			[][]int{{n, 3, 5, 10}}, nil, `attribute "scales"`},
		{graph.Resize, attrs{"scales": []float32{1, 1, 1 << 20, 1 << 20}}, [][]int{{n, 3, 5, 10}}, nil, "more than"},
		{graph.Resize, attrs{"sizes": ints(n, 3, 0, 9)}, [][]int{{n, 3, 5, 10}}, nil, "extent below 1"},
		{graph.Resize, attrs{"sizes": ints(n, 3, 4, 9), "mode": "cubic"}, [][]int{{n, 3, 5, 10}}, nil, `mode "cubic"`},
		{graph.Resize, attrs{"sizes": ints(n, 3, 4, 9), "nearest_mode": "ceil"},
			[][]int{{n, 3, 5, 10}}, nil, `nearest_mode "ceil"`},
		{graph.Resize, attrs{"sizes": ints(n, 3, 4, 9), "coordinate_transformation_mode": "pytorch_half_pixel"},
			[][]int{{n, 3, 5, 10}}, nil, "is not one of"},
		{graph.Resize, attrs{"sizes": ints(n, 3, 4, 9)}, [][]int{{n, 3, 5}}, nil, "want 4 axes"},
		// Products
		{graph.MatMul, nil, [][]int{{n, 3, 4}, {4, 5}}, ints(n, 3, 5), ""},
		{graph.MatMul, nil, [][]int{{n, 4}, {4, 5}}, ints(n, 5), ""},
		{graph.MatMul, nil, [][]int{{5, 3}, {n, 3, 4}}, ints(n, 5, 4), ""},
		{graph.MatMul, nil, [][]int{{n, 1, 3, 4}, {n, 2, 4, 5}}, ints(n, 2, 3, 5), ""},
		{graph.MatMul, nil, [][]int{{n, 3, 4}, {5, 4}}, nil, "do not multiply"},
		{graph.MatMul, nil, [][]int{{5, 3}, {n, 4}}, nil, "do not multiply"},
		{graph.MatMul, nil, [][]int{{5, 1}, {n, 4}}, nil, "do not multiply"},
		{graph.MatMul, nil, [][]int{{n, 4}, {2, 4, 5}}, nil, "axis 0"},
		{graph.MatMul, nil, [][]int{{n, 4}, {n, 4, 5}}, nil, "axis 0"},
		{graph.MatMul, nil, [][]int{{n, 3, 4}, {n, 2, 4, 5}}, nil, "do not broadcast"},
		{graph.MatMul, nil, [][]int{{n, 3, 4}, {4}}, nil, "at least 2 axes"},
		{graph.MatMul, nil, [][]int{{n}, {4, 4}}, nil, "at least 2 axes"},
		{graph.Gemm, attrs{"transA": 0, "transB": 1}, [][]int{{n, 4}, {5, 4}, {1, 5}}, ints(n, 5), ""},
		{graph.Gemm, nil, [][]int{{n, 4}, {4, 5}, {1}}, ints(n, 5), ""},
		{graph.Gemm, attrs{"transA": 1}, [][]int{{n, 4}, {4, 5}}, nil, "transA would move axis 0"},
		{graph.Gemm, nil, [][]int{{n, 4}, {5, 4}}, nil, "do not multiply"},
		{graph.Gemm, nil, [][]int{{n, 4, 1}, {4, 5}}, nil, "A has shape"},
		{graph.Gemm, nil, [][]int{{n, 4}, {4, 5, 1}}, nil, "B has shape"},
		{graph.Gemm, nil, [][]int{{n, 4}, {4, 5}, {2, 5}}, nil, "does not broadcast to"},
		{graph.Gemm, nil, [][]int{{n, 4}, {4, 1}, {5}}, nil, "does not broadcast to"},
		{graph.Gemm, attrs{"transB": 7}, [][]int{{n, 4}, {4, 5}}, nil, "want int, 0 or 1"},
		// Reductions
		{graph.ReduceMean, attrs{"axes": ints(-1, 1)}, [][]int{{n, 4, 3, 5}}, ints(n, 1, 3, 1), ""},
		{graph.ReduceMean, attrs{"axes": ints(-1, 1), "keepdims": 0}, [][]int{{n, 4, 3, 5}}, ints(n, 3), ""},
		{graph.ReduceMean, nil, [][]int{{n, 4}}, nil, "would reduce axis 0"},
		{graph.ReduceMean, attrs{"axes": ints(-2)}, [][]int{{n, 4}}, nil, "axis 0"},
		{graph.ReduceMean, attrs{"axes": ints(1, -1)}, [][]int{{n, 4}}, nil, "repeat"},
		{graph.Softmax, nil, [][]int{{n, 4, 3}}, ints(n, 4, 3), ""},
		{graph.Softmax, nil, [][]int{{n}}, nil, "axis 0"},
		{graph.Softmax, attrs{"axis": 0}, [][]int{{n, 4}}, nil, "axis 0"},
		{graph.Softmax, attrs{"axis": 2}, [][]int{{n, 4}}, nil, "does not exist"},
		// Backward operators: dY must have the shape of the forward's output.
		{graph.MaxPoolGrad, attrs{"kernel_shape": ints(2, 2)}, [][]int{{n, 1, 4, 4}, {n, 1, 5, 5}}, ints(n, 1, 5, 5), ""},
		{graph.MaxPoolGrad, attrs{"kernel_shape": ints(2, 2)}, [][]int{{n, 1, 5, 5}, {n, 1, 5, 5}}, nil, "dY has shape"},
		{graph.MaxPoolGrad, attrs{"kernel_shape": ints(6, 2)}, [][]int{{n, 1, 5, 5}, {n, 1, 5, 5}}, nil, "no window"},
		{graph.AveragePoolGrad, attrs{"kernel_shape": ints(2, 2), "shape_in": ints(n, 1, 5, 5)},
			[][]int{{n, 1, 4, 4}}, ints(n, 1, 5, 5), ""},
		{graph.AveragePoolGrad, attrs{"kernel_shape": ints(2, 2), "shape_in": ints(n, 1, 5, 6)},
			[][]int{{n, 1, 4, 4}}, nil, "dY has shape"},
		{graph.AveragePoolGrad, attrs{"kernel_shape": ints(2, 2)},
			[][]int{{n, 1, 4, 4}}, nil, "shape_in: shape [] does not begin with N"},
		{graph.AveragePoolGrad, attrs{"shape_in": ints(n, 1, 5, 5)}, [][]int{{n, 1, 4, 4}}, nil, "kernel_shape"},
		{graph.ResizeGrad, attrs{"sizes": ints(n, 1, 3, 3), "shape_in": ints(n, 1, 5, 5)},
			[][]int{{n, 1, 3, 3}}, ints(n, 1, 5, 5), ""},
		{graph.PadGrad, attrs{"pads": ints(0, 1, 0, 1), "shape_in": ints(n, 5)}, [][]int{{n, 7}}, ints(n, 5), ""},
		{graph.SliceGrad, attrs{"starts": ints(1), "ends": ints(3), "axes": ints(1), "shape_in": ints(n, 5)},
			[][]int{{n, 2}}, ints(n, 5), ""},
		{graph.SumTo, attrs{"shape_in": ints(n, 1, 5)}, [][]int{{n, 3, 5}}, ints(n, 1, 5), ""},
		{graph.SumTo, attrs{"shape_in": ints(n, 3, 5)}, [][]int{{n, 1, 5}}, nil, "dY has shape"},
		{graph.SumTo, attrs{"shape_in": ints(n, 2, 5)}, [][]int{{n, 3, 5}}, nil, "does not broadcast"},
		{graph.SumTo, attrs{"shape_in": ints(n, 5)}, [][]int{{n, 1, 5}}, nil, "does not broadcast"},
		{graph.SumTo, attrs{"shape_in": ints(n, huge, huge)}, [][]int{{n, 1, 5}}, nil, "more than"},
		// One input too many
		{graph.Conv, nil, [][]int{{n, 1, 1, 1}, {1, 1, 1, 1}, {1}, {1}}, nil, "4 inputs, want 2 to 3"},
		{graph.ConvTranspose, nil, [][]int{{n, 1, 1, 1}, {1, 1, 1, 1}, {1}, {1}}, nil, "4 inputs, want 2 to 3"},
		{graph.BatchNormalization, nil, [][]int{{n, 1}, {1}, {1}, {1}, {1}, {1}}, nil, "6 inputs, want 5 to 5"},
		{graph.MatMul, nil, [][]int{{n, 1}, {1, 1}, {1, 1}}, nil, "3 inputs, want 2 to 2"},
		{graph.Gemm, nil, [][]int{{n, 1}, {1, 1}, {1}, {1}}, nil, "4 inputs, want 2 to 3"},
		{graph.Sub, nil, [][]int{{n, 1}, {1}, {1}}, nil, "3 inputs, want 2 to 2"},
		{"Einsum", nil, [][]int{{n, 3}}, nil, "unknown operator"},
	} {
		t.Run(fmt.Sprintf("%d %s", i, c.op), func(t *testing.T) {
			g := &graph.Graph{Consts: map[string]*tensor.Dense{}, Outputs: []string{"y"}}
			node := &graph.Node{Name: "the node", Op: c.op, Attr: c.attr, Out: "y"}
			for i, shape := range c.in {
				name := fmt.Sprint("in", i)
				switch {
				case shape == nil:
					name = ""
				case shape[0] == n:
					g.Inputs = append(g.Inputs, graph.Value{Name: name, Shape: shape})
				default:
					g.Consts[name] = nd.New(shape...)
				}
				node.In = append(node.In, name)
			}
			g.Nodes = []*graph.Node{node}
			shapes, err := g.Infer()
			if c.want == nil {
				require.ErrorContains(t, err, c.msg)
				require.ErrorContains(t, err, fmt.Sprintf(`graph: node "the node" (%s): `, c.op))
				require.ErrorContains(t, g.Validate(), c.msg)
				return
			}
			require.NoError(t, err)
			require.NoError(t, g.Validate())
			require.Equal(t, graph.Shape(c.want), shapes["y"])
			for i, shape := range c.in {
				require.Equal(t, graph.Shape(shape), shapes[node.In[i]])
			}
		})
	}
}

// chain is x -> Relu "a" -> Add of a constant "b", a valid graph for tests to break.
func chain() *graph.Graph {
	return &graph.Graph{
		Inputs: []graph.Value{{Name: "x", Shape: graph.Shape{n, 3}}},
		Consts: map[string]*tensor.Dense{"c": nd.New(3)},
		Nodes: []*graph.Node{
			{Name: "first", Op: graph.Relu, In: []string{"x"}, Out: "a"},
			{Name: "second", Op: graph.Add, In: []string{"a", "c"}, Out: "b"},
		},
		Outputs: []string{"b"},
	}
}

func TestBrokenGraphs(t *testing.T) {
	require.NoError(t, chain().Validate())
	transposed := nd.New(2, 3)
	require.NoError(t, transposed.T())
	for _, c := range []struct {
		name   string
		change func(g *graph.Graph)
		want   string
	}{
		{"node nil", func(g *graph.Graph) { g.Nodes[1] = nil }, "node 1 is nil"},
		{"no node name", func(g *graph.Graph) { g.Nodes[1].Name = "" }, "its name is empty"},
		{"node twice", func(g *graph.Graph) { g.Nodes[1].Name = "first" }, `"first" (Add): another node has the same name`},
		{"no output name", func(g *graph.Graph) { g.Nodes[1].Out = "" }, `"second" (Add): its name is empty`},
		{"value twice", func(g *graph.Graph) { g.Nodes[1].Out = "x" }, `"second" (Add): the name "x" is defined twice`},
		{"value like constant", func(g *graph.Graph) { g.Nodes[1].Out = "c" },
			`"second" (Add): the name "c" is defined twice`},
		{"input like constant", func(g *graph.Graph) { g.Inputs[0].Name = "c" },
			`constant "c": the name "c" is defined twice`},
		{"input twice", func(g *graph.Graph) { g.Inputs = append(g.Inputs, g.Inputs[0]) },
			`input "x": the name "x" is defined twice`},
		{"undefined", func(g *graph.Graph) { g.Nodes[1].In[0] = "z" },
			`"second" (Add): input "z" is not defined before its use`},
		{"wrong order", func(g *graph.Graph) { g.Nodes[0], g.Nodes[1] = g.Nodes[1], g.Nodes[0] },
			`"second" (Add): input "a" is not defined`},
		{"cycle", func(g *graph.Graph) { g.Nodes[0].In[0] = "b" }, `"first" (Relu): input "b" is not defined`},
		{"input missing", func(g *graph.Graph) { g.Nodes[1].In[0] = "" }, `"second" (Add): input 0 is left out`},
		{"no outputs", func(g *graph.Graph) { g.Outputs = nil }, "no outputs"},
		{"output undefined", func(g *graph.Graph) { g.Outputs[0] = "z" }, `output "z" is not defined`},
		{"output constant", func(g *graph.Graph) { g.Outputs[0] = "c" }, `output "c" is a constant`},
		{"output twice", func(g *graph.Graph) { g.Outputs = []string{"b", "b"} }, `output "b" is listed twice`},
		{"N not first", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{3} },
			`input "x": shape [3] does not begin with N`},
		{"N twice", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{n, n} }, "extent below 1"},
		{"no shape", func(g *graph.Graph) { g.Inputs[0].Shape = nil }, "does not begin with N"},
		{"extent 0", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{n, 0} }, "extent below 1"},
		{"overflow", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{n, 1 << 40, 1 << 40} },
			"more than 2147483647 elements"},
		{"one too many", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{n, 1 << 15, 1 << 16} },
			"more than 2147483647 elements"},
		{"axes", func(g *graph.Graph) { g.Inputs[0].Shape = graph.Shape{n, 1, 1, 1, 1, 1, 1, 1, 1} }, "9 axes, at most 8"},
		{"constant nil", func(g *graph.Graph) { g.Consts["c"] = nil }, `constant "c": is nil`},
		{"constant float64", func(g *graph.Graph) { g.Consts["c"] = tensor.New(tensor.WithBacking(make([]float64, 3))) },
			`constant "c": it is float64, want float32`},
		{"constant scalar", func(g *graph.Graph) { g.Consts["c"] = tensor.New(tensor.FromScalar(float32(1))) },
			`constant "c": is a scalar`},
		{"constant strided", func(g *graph.Graph) { g.Consts["c"] = transposed }, `not contiguous`},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := chain()
			c.change(g)
			require.ErrorContains(t, g.Validate(), c.want)
			require.ErrorContains(t, g.Validate(), "graph: ")
		})
	}
}

// TestLargestValue: the bound itself is allowed.
func TestLargestValue(t *testing.T) {
	b := graph.NewBuilder("large")
	_, err := b.Graph(b.Op(graph.Relu, nil, b.Input("x", n, graph.MaxElements)))
	require.NoError(t, err)
}

func TestAttributes(t *testing.T) {
	node := &graph.Node{Attr: attrs{
		"i": 2, "f": float32(0.5), "s": "reflect", "is": ints(1, 2), "fs": []float32{3}, "axis": -1,
	}}
	require.Equal(t, 2, node.Int("i", 7))
	require.Equal(t, 7, node.Int("none", 7))
	require.Equal(t, 7, node.Int("s", 7), "another type is not set")
	require.Equal(t, float32(0.5), node.Float("f", 7))
	require.Equal(t, float32(7), node.Float("none", 7))
	require.Equal(t, "reflect", node.String("s", "edge"))
	require.Equal(t, "edge", node.String("none", "edge"))
	require.Equal(t, ints(1, 2), node.Ints("is", nil))
	require.Equal(t, ints(4), node.Ints("none", ints(4)))
	require.Equal(t, []float32{3}, node.Floats("fs", nil))
	require.Nil(t, node.Floats("none", nil))
	require.True(t, node.HasAttr("f"))
	require.False(t, node.HasAttr("none"))
	require.Equal(t, 3, node.Axis(1, 4))
	require.Equal(t, 1, (&graph.Node{}).Axis(1, 4))
}

func TestPerImage(t *testing.T) {
	require.Equal(t, 12, graph.Shape{n, 3, 4}.PerImage())
	require.Equal(t, 1, graph.Shape{n}.PerImage())
	require.True(t, graph.Shape{n, 3}.Equal(graph.Shape{n, 3}))
	require.False(t, graph.Shape{n, 3}.Equal(graph.Shape{n, 3, 1}))
}
