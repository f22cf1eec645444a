package graph_test

import (
	"fmt"
	"math"
	"testing"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// tape reads a graph description from bytes; behind its end it reads zeros.
type tape struct{ bytes []byte }

func (t *tape) next(below int) int {
	if len(t.bytes) == 0 {
		return 0
	}
	b := int(t.bytes[0])
	t.bytes = t.bytes[1:]
	return b % below
}

func pick[T any](t *tape, from []T) T { return from[t.next(len(from))] }

// Numbers and texts that attributes and extents are made of: ordinary, extreme and wrong.
var (
	someInts  = []int{0, 1, 2, 3, -1, 4, 5, -2, 8, -3, 16, 1 << 16, 1 << 20, 1 << 31, math.MaxInt, math.MinInt}
	someReals = []float32{0, 1, 2, 0.5, -1, 1.75, 1e-6, 1e30, float32(math.Inf(1)), float32(math.NaN())}
	texts     = []string{"", "reflect", "edge", "constant", "linear", "nearest", "half_pixel", "align_corners", "asymmetric",
		"floor"}
	kinds      = []string{"ints", "int", "real", "text", "reals", "a type that no attribute has"}
	attributes = []struct{ name, kind string }{
		{"strides", "ints"}, {"pads", "ints"}, {"dilations", "ints"}, {"group", "int"}, {"kernel_shape", "ints"},
		{"output_padding", "ints"}, {"epsilon", "real"}, {"alpha", "real"}, {"beta", "real"}, {"min", "real"}, {"max", "real"},
		{"axis", "int"}, {"axes", "ints"}, {"starts", "ints"}, {"ends", "ints"}, {"steps", "ints"}, {"mode", "text"},
		{"value", "real"}, {"ceil_mode", "int"}, {"count_include_pad", "int"}, {"scales", "reals"}, {"sizes", "ints"},
		{"coordinate_transformation_mode", "text"}, {"nearest_mode", "text"}, {"transA", "int"}, {"transB", "int"},
		{"shape", "ints"}, {"perm", "ints"}, {"keepdims", "int"}, {"shape_in", "ints"}, {"auto_pad", "text"},
	}
	ops = []graph.Op{graph.Conv, graph.ConvTranspose, graph.BatchNormalization, graph.Relu, graph.LeakyRelu, graph.Clip,
		graph.Sigmoid, graph.HardSigmoid, graph.HardSwish, graph.Tanh, graph.Exp, graph.Log, graph.Sqrt, graph.Abs, graph.Erf, graph.Add,
		graph.Sub, graph.Mul, graph.Div, graph.Concat, graph.Slice, graph.Pad, graph.MaxPool, graph.AveragePool,
		graph.GlobalAveragePool, graph.Resize, graph.MatMul, graph.Gemm, graph.Reshape, graph.Transpose, graph.ReduceMean,
		graph.Softmax, graph.MaxPoolGrad, graph.AveragePoolGrad, graph.ResizeGrad, graph.PadGrad, graph.SliceGrad, graph.SumTo,
		graph.Step, graph.Sign, "Einsum"}
)

func (t *tape) list() []int {
	v := make([]int, t.next(9))
	for i := range v {
		v[i] = pick(t, someInts)
	}
	return v
}

// attribute reads a value, mostly of the given kind.
func (t *tape) attribute(kind string) any {
	if t.next(8) == 7 {
		kind = pick(t, kinds)
	}
	switch kind {
	case "ints":
		return t.list()
	case "int":
		return pick(t, someInts)
	case "real":
		return pick(t, someReals)
	case "text":
		return pick(t, texts)
	case "reals":
		v := make([]float32, t.next(5))
		for i := range v {
			v[i] = pick(t, someReals)
		}
		return v
	}
	return int64(1)
}

func (t *tape) graph() *graph.Graph {
	g := &graph.Graph{Consts: map[string]*tensor.Dense{}}
	names := []string{"", "undefined"}
	for i := range 1 + t.next(3) {
		name := fmt.Sprint("x", i)
		g.Inputs = append(g.Inputs, graph.Value{Name: name, Shape: append(graph.Shape{graph.N}, t.list()...)})
		names = append(names, name)
	}
	for i := range t.next(5) {
		shape := make([]int, t.next(5))
		for a := range shape {
			shape[a] = 1 + t.next(4)
		}
		name := fmt.Sprint("c", i)
		g.Consts[name] = nd.New(shape...)
		names = append(names, name)
	}
	for i := range t.next(8) {
		n := &graph.Node{Name: fmt.Sprint("n", i), Op: pick(t, ops), Out: fmt.Sprint("y", i)}
		for range t.next(6) {
			n.In = append(n.In, pick(t, names))
		}
		for range t.next(5) {
			if n.Attr == nil {
				n.Attr = graph.Attrs{}
			}
			a := pick(t, attributes)
			n.Attr[a.name] = t.attribute(a.kind)
		}
		g.Nodes = append(g.Nodes, n)
		names = append(names, n.Out)
	}
	for range 1 + t.next(2) {
		g.Outputs = append(g.Outputs, pick(t, names))
	}
	return g
}

// FuzzValidate: whatever the graph, validation ends with shapes or an error. Of a valid graph, all values are within
// bounds, and sorting, pruning, folding, differentiating and measuring it succeed and leave it valid.
func FuzzValidate(f *testing.F) {
	f.Add([]byte{})
	for i := range ops { // every operator of x0 [N,2,4,4], and of it twice
		f.Add([]byte{0, 3, 2, 5, 5, 0, 1, byte(i), 1, 2, 0, 0, 3})
		f.Add([]byte{0, 3, 2, 5, 5, 0, 1, byte(i), 2, 2, 2, 0, 0, 3})
	}
	// Conv with c0 [3,2,2,2] and strides, then Relu.
	f.Add([]byte{0, 3, 2, 5, 5, 1, 4, 2, 1, 1, 1, 2, 0, 2, 2, 3, 1, 0, 0, 2, 2, 1, 3, 1, 4, 0, 0, 4})
	// Resize by scales, reflecting Pad, MaxPool.
	f.Add([]byte{0, 3, 2, 5, 5, 0, 1, 24, 1, 2, 1, 20, 4, 4, 1, 1, 2, 3, 0, 3})
	f.Add([]byte{0, 3, 2, 5, 5, 0, 1, 20, 1, 2, 2, 1, 0, 8, 0, 0, 1, 1, 0, 0, 2, 2, 16, 3, 1, 0, 3})
	f.Add([]byte{0, 3, 2, 5, 5, 0, 1, 21, 1, 2, 2, 4, 0, 2, 2, 2, 18, 1, 1, 0, 3})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		g := (&tape{bytes}).graph()
		shapes, err := g.Infer()
		if err != nil {
			_ = g.Sort()
			_ = g.Fold()
			_, ok := g.Margin()
			require.False(t, ok)
			return
		}
		total := 0
		for name, s := range shapes {
			if g.Consts[name] == nil {
				require.Equal(t, graph.N, s[0])
				require.Positive(t, s.PerImage())
				require.LessOrEqual(t, s.PerImage(), graph.MaxElements)
			}
			total = min(total+max(s.PerImage(), 0), graph.MaxElements)
		}
		require.NoError(t, g.Sort())
		require.NoError(t, g.Validate())
		g.Prune()
		require.NoError(t, g.Validate())
		require.NoError(t, g.Fold())
		for _, n := range g.Nodes {
			require.NotEqual(t, graph.BatchNormalization, n.Op)
		}
		if total > 1<<16 {
			return // measuring is linear in the extents
		}
		g.Margin()
		if r, err := autodiff.Gradient(g); err == nil {
			require.NoError(t, r.Graph.Validate())
		} else {
			require.ErrorContains(t, err, "no gradient rule")
		}
	})
}
