// Package naive interprets graphs in float64, one plain loop nest per operator, straight from the definitions. It is the
// oracle that executors and gradients are tested against: slow, and meant to be read.
package naive

import (
	"fmt"
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

// Array is a row-major float64 array.
type Array struct {
	Shape []int
	Data  []float64
}

// New returns a zeroed array.
func New(shape ...int) *Array {
	return &Array{slices.Clone(shape), make([]float64, nd.Size(shape...))}
}

// At is the element at the given index, one number for each axis.
func (a *Array) At(index ...int) float64 { return a.Data[a.offset(index)] }

func (a *Array) offset(index []int) int {
	at := 0
	for axis, i := range index {
		at = at*a.Shape[axis] + i
	}
	return at
}

// Run evaluates g on its inputs, all with the same number of images, and returns every value: inputs and what the nodes
// compute. The arrays in the result belong to the caller, except the inputs, which are shared. Errors name the node or
// input.
func Run(g *graph.Graph, in map[string]*Array) (map[string]*Array, error) {
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	images := 0
	values := map[string]*Array{}
	for _, v := range g.Inputs {
		x := in[v.Name]
		if x == nil || len(x.Shape) == 0 || x.Shape[0] < 1 {
			return nil, fmt.Errorf("naive: input %q is missing or empty", v.Name)
		}
		if images == 0 {
			images = x.Shape[0]
		}
		if want := concrete(v.Shape, images); !slices.Equal(x.Shape, want) || len(x.Data) != nd.Size(want...) {
			return nil, fmt.Errorf("naive: input %q has shape %v and %d values, want %v", v.Name, x.Shape, len(x.Data), want)
		}
		values[v.Name] = x
	}
	known := map[string]*Array{}
	for name, t := range g.Consts {
		c := New(t.Shape()...)
		for i, v := range nd.Data(t) {
			c.Data[i] = float64(v)
		}
		known[name] = c
	}
	for _, n := range g.Nodes {
		args := make([]*Array, max(len(n.In), 5)) // nil where an optional input is left out
		for i, name := range n.In {
			if args[i] = values[name]; args[i] == nil {
				args[i] = known[name]
			}
		}
		eval, ok := operators[n.Op]
		if !ok {
			return nil, fmt.Errorf("naive: node %q (%s): operator not implemented", n.Name, n.Op)
		}
		y := New(concrete(shapes[n.Out], images)...)
		eval(n, args, y)
		values[n.Out] = y
	}
	return values, nil
}

// concrete replaces N.
func concrete(s graph.Shape, images int) []int {
	c := slices.Clone(s)
	c[0] = images
	return c
}

// operators fill y, which is zero, from in. The node is valid.
var operators = map[graph.Op]func(n *graph.Node, in []*Array, y *Array){
	graph.Conv:               conv,
	graph.ConvTranspose:      convTranspose,
	graph.BatchNormalization: batchNormalization,
	graph.Relu:               each(relu),
	graph.LeakyRelu:          each(leakyRelu),
	graph.Clip:               each(clip),
	graph.Sigmoid:            each(sigmoid),
	graph.HardSigmoid:        each(hardSigmoid),
	graph.HardSwish:          each(hardSwish),
	graph.Tanh:               each(tanh),
	graph.Exp:                each(exp),
	graph.Log:                each(log),
	graph.Sqrt:               each(sqrt),
	graph.Abs:                each(abs),
	graph.Erf:                each(erf),
	graph.Sign:               each(sign),
	graph.Step:               each(step),
	graph.Add:                binary(func(a, b float64) float64 { return a + b }),
	graph.Sub:                binary(func(a, b float64) float64 { return a - b }),
	graph.Mul:                binary(func(a, b float64) float64 { return a * b }),
	graph.Div:                binary(func(a, b float64) float64 { return a / b }),
	graph.Concat:             concat,
	graph.Slice:              slice,
	graph.Pad:                pad,
	graph.MaxPool:            maxPool,
	graph.AveragePool:        averagePool,
	graph.GlobalAveragePool:  globalAveragePool,
	graph.Resize:             resize,
	graph.MatMul:             matMul,
	graph.Gemm:               gemm,
	graph.Reshape:            reshape,
	graph.Transpose:          transpose,
	graph.ReduceMean:         reduceMean,
	graph.Softmax:            softmax,
	graph.MaxPoolGrad:        maxPoolGrad,
	graph.AveragePoolGrad:    averagePoolGrad,
	graph.ResizeGrad:         resizeGrad,
	graph.PadGrad:            padGrad,
	graph.SliceGrad:          sliceGrad,
	graph.SumTo:              sumTo,
}

// indices calls visit for every index of an array of the given shape, in row-major order. visit must not keep index.
func indices(shape []int, visit func(index []int)) {
	index := make([]int, len(shape))
	for range nd.Size(shape...) {
		visit(index)
		for a := len(shape) - 1; a >= 0; a-- {
			if index[a]++; index[a] < shape[a] {
				break
			}
			index[a] = 0
		}
	}
}
