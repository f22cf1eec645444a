// Package graph describes a network as a graph of operators with ONNX's names and semantics. A graph is data: it runs
// nothing. Shapes are [N,C,H,W] with the batch size N free: no operator may mix, move or reduce the first axis, so one
// image's values never depend on another's. What ONNX gives as constant integer inputs (Slice's starts, Pad's pads, ...)
// are attributes here; a reader folds them.
package graph

import (
	"slices"

	"gorgonia.org/tensor"
)

// N marks the free batch extent: the first extent of every computed value's shape.
const N = -1

// Shape lists the extents of a value, N first. Constants have concrete extents throughout.
type Shape []int

// PerImage is the number of elements of one image's part of the value: the product of all extents but the first.
func (s Shape) PerImage() int {
	n := 1
	for _, d := range s[1:] {
		n *= d
	}
	return n
}

// Equal reports whether the shapes agree in every extent.
func (s Shape) Equal(t Shape) bool { return slices.Equal(s, t) }

// Value is a named, shaped input of a graph.
type Value struct {
	Name  string
	Shape Shape // Shape[0] == N
}

// Op is an operator's ONNX name; the *Grad operators are this project's own, for gradient graphs only.
type Op string

// Attrs are an operator's attributes under ONNX's names. A value is int, float32, string, []int or []float32.
type Attrs map[string]any

// Node applies one operator. Every operator has exactly one output.
type Node struct {
	Name string // unique; error messages name it
	Op   Op
	In   []string // names of values or constants; "" where an optional input is left out
	Out  string
	Attr Attrs
}

// Graph is a network. Nodes are in an order in which every input precedes its use (Sort makes it so).
type Graph struct {
	Name    string
	Inputs  []Value
	Outputs []string // computed values or inputs; each becomes one output, in this order
	Nodes   []*Node
	Consts  map[string]*tensor.Dense // weights, float32, never written to
}

// Operators with their inputs, attributes and ONNX's defaults. "?" marks an optional input, "c:" one that must be a
// constant. Constants have at least one axis. Attributes not listed are refused, so is auto_pad: a reader turns it into
// pads. Pools need pads smaller than their kernel; with ceil_mode a window that would begin behind the input is dropped.
const (
	// X, c:W [M,C/group,kH,kW], ?c:B [M]; strides, pads [t,l,b,r] (with zeros), dilations, group, kernel_shape (W's)
	Conv Op = "Conv"
	// X, c:W [C,M/group,kH,kW], ?c:B [M]; as Conv, and output_padding (less than strides)
	ConvTranspose Op = "ConvTranspose"
	// X, c:scale, c:B, c:mean, c:var; epsilon 1e-5 (Fold turns it into Conv's weights or Mul and Add)
	BatchNormalization Op = "BatchNormalization"
	Relu               Op = "Relu"
	LeakyRelu          Op = "LeakyRelu" // alpha 0.01
	Clip               Op = "Clip"      // min <= max (attributes; either may be absent)
	Sigmoid            Op = "Sigmoid"
	HardSigmoid        Op = "HardSigmoid" // alpha 0.2, beta 0.5
	HardSwish          Op = "HardSwish"
	Tanh               Op = "Tanh"
	Exp                Op = "Exp"
	Log                Op = "Log"
	Sqrt               Op = "Sqrt"
	Abs                Op = "Abs"
	Erf                Op = "Erf" // 2/sqrt(pi) times the integral of exp(-t^2) from 0 to X
	Add                Op = "Add" // numpy broadcasting, also against constants
	Sub                Op = "Sub"
	Mul                Op = "Mul"
	Div                Op = "Div"
	Concat             Op = "Concat" // any number of inputs; axis (not 0; must be set)
	Slice              Op = "Slice"  // starts, ends, axes, steps (steps >= 1; axes not 0)
	// pads (2 x rank, ONNX order: all starts, then all ends), mode constant|reflect|edge, value
	Pad               Op = "Pad"
	MaxPool           Op = "MaxPool"           // kernel_shape, strides, pads, dilations, ceil_mode
	AveragePool       Op = "AveragePool"       // kernel_shape, strides, pads, ceil_mode, count_include_pad
	GlobalAveragePool Op = "GlobalAveragePool" // [N,C,H,W] -> [N,C,1,1]
	// scales [4] (first two 1) or sizes [N,C,H,W]; mode nearest|linear; coordinate_transformation_mode
	// half_pixel|align_corners|asymmetric; nearest_mode round_prefer_floor|floor
	Resize Op = "Resize"
	// numpy's matmul, at least 2 axes each; batch axes broadcast; either side may be a constant
	MatMul Op = "MatMul"
	// A [N,K], c:B, ?c:C; transB, alpha 1, beta 1 (transA is rejected: it would move N)
	Gemm       Op = "Gemm"
	Reshape    Op = "Reshape"    // shape: first extent 0 or -1 stands for N, others may use one -1
	Transpose  Op = "Transpose"  // perm (perm[0] == 0)
	ReduceMean Op = "ReduceMean" // axes (not 0), keepdims 1
	Softmax    Op = "Softmax"    // axis -1 (not 0)

	// Backward operators: the adjoints that no forward operator expresses. autodiff emits them.

	// dY, X; MaxPool's attributes. The first maximum of a window in row-major order takes it all
	MaxPoolGrad     Op = "MaxPoolGrad"
	AveragePoolGrad Op = "AveragePoolGrad" // dY; AveragePool's attributes and shape_in
	ResizeGrad      Op = "ResizeGrad"      // dY; Resize's attributes and shape_in
	PadGrad         Op = "PadGrad"         // dY; Pad's attributes and shape_in
	SliceGrad       Op = "SliceGrad"       // dY; Slice's attributes and shape_in (zeros elsewhere)
	SumTo           Op = "SumTo"           // dY; shape_in: sums over the axes that broadcasting repeated
	Step            Op = "Step"            // X; min, max (either may be absent): 1 where min < x < max, else 0
	Sign            Op = "Sign"            // ONNX's Sign
)
