package goexec

import (
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
)

// kernel computes one image's part of a node's output.
type kernel struct {
	units   int  // independent pieces of the output
	cost    int  // of a unit, in multiply-adds or what takes as long
	scratch int  // floats that run needs for itself
	inPlace bool // the output may take over the buffer of an input that has as many elements
	packed  bool // constants behind the first input are in run's own form: their operands are empty
	run     func(c *call, lo, hi int)
}

// call is what a kernel works on: one image's operands, in the node's order (inputs that are left out are skipped), and
// memory of the core's own. All may hold anything before the kernel writes them.
type call struct {
	in      [][]float32
	out     []float32
	scratch []float32
}

// operation is a node to be lowered to a kernel.
type operation struct {
	*graph.Node
	in     []graph.Shape // nil where left out
	consts [][]float32   // nil where not a constant
	out    graph.Shape
	isa    *gemm.ISA
	store  *store
	after  []after // only convolutions have any
}

// lowerings holds an entry for every operator but BatchNormalization, which is folded, and Reshape, which the planner
// does away with.
var lowerings = map[graph.Op]func(o *operation) (kernel, error){
	graph.Conv:              lowerConv,
	gate:                    lowerGate,
	graph.ConvTranspose:     lowerConvTranspose,
	graph.Relu:              lowerUnary,
	graph.LeakyRelu:         lowerUnary,
	graph.Clip:              lowerUnary,
	graph.Sigmoid:           lowerUnary,
	graph.HardSigmoid:       lowerUnary,
	graph.HardSwish:         lowerUnary,
	graph.Tanh:              lowerUnary,
	graph.Exp:               lowerUnary,
	graph.Log:               lowerUnary,
	graph.Sqrt:              lowerUnary,
	graph.Abs:               lowerUnary,
	graph.Erf:               lowerUnary,
	graph.Step:              lowerUnary,
	graph.Sign:              lowerUnary,
	graph.Add:               lowerBinary,
	graph.Sub:               lowerBinary,
	graph.Mul:               lowerBinary,
	graph.Div:               lowerBinary,
	graph.Concat:            lowerConcat,
	graph.Slice:             lowerGather,
	graph.Pad:               lowerGather,
	graph.SliceGrad:         lowerScatter,
	graph.PadGrad:           lowerScatter,
	graph.Resize:            lowerResize,
	graph.ResizeGrad:        lowerResizeGrad,
	graph.MaxPool:           lowerMaxPool,
	graph.MaxPoolGrad:       lowerMaxPoolGrad,
	graph.AveragePool:       lowerAveragePool,
	graph.AveragePoolGrad:   lowerAveragePoolGrad,
	graph.GlobalAveragePool: lowerReduce,
	graph.ReduceMean:        lowerReduce,
	graph.SumTo:             lowerReduce,
	graph.MatMul:            lowerMatMul,
	graph.Gemm:              lowerGemm,
	graph.Transpose:         lowerTranspose,
	graph.Softmax:           lowerSoftmax,
}
