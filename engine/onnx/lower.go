package onnx

import (
	"math"
	"slices"

	"f2pad.example/engine/graph"
)

// lowerings write the operators as ONNX's. The last node that one adds computes the output.
var lowerings = map[graph.Op]func(w *writer, n *graph.Node) error{
	graph.Conv:               same,
	graph.ConvTranspose:      same,
	graph.BatchNormalization: same,
	graph.Relu:               same,
	graph.LeakyRelu:          same,
	graph.Clip:               lowerClip,
	graph.Sigmoid:            same,
	graph.HardSigmoid:        same,
	graph.HardSwish:          same,
	graph.Tanh:               same,
	graph.Exp:                same,
	graph.Log:                same,
	graph.Sqrt:               same,
	graph.Abs:                same,
	graph.Erf:                same,
	graph.Sign:               same,
	graph.Add:                same,
	graph.Sub:                same,
	graph.Mul:                same,
	graph.Div:                same,
	graph.Concat:             same,
	graph.Slice:              lowerSlice,
	graph.Pad:                lowerPad,
	graph.MaxPool:            lowerMaxPool,
	graph.AveragePool:        lowerAveragePool,
	graph.GlobalAveragePool:  same,
	graph.Resize:             lowerResize,
	graph.MatMul:             same,
	graph.Gemm:               same,
	graph.Reshape:            lowerReshape,
	graph.Transpose:          same,
	graph.ReduceMean:         lowerReduceMean,
	graph.Softmax:            same,

	graph.MaxPoolGrad:     lowerMaxPoolGrad,
	graph.AveragePoolGrad: lowerAveragePoolGrad,
	graph.ResizeGrad:      lowerResizeGrad,
	graph.PadGrad:         lowerPadGrad,
	graph.SliceGrad:       lowerSliceGrad,
	graph.SumTo:           lowerSumTo,
	graph.Step:            lowerStep,
}

// same is for operators whose inputs and attributes are ONNX's.
func same(w *writer, n *graph.Node) error {
	w.op(string(n.Op), n.Attr, n.In...)
	return nil
}

func lowerClip(w *writer, n *graph.Node) error {
	in := []string{n.In[0], "", ""}
	for i, bound := range []string{"min", "max"} {
		if n.HasAttr(bound) {
			in[1+i] = w.scalar(n.Float(bound, 0))
		}
	}
	for in[len(in)-1] == "" {
		in = in[:len(in)-1]
	}
	w.op("Clip", nil, in...)
	return nil
}

func lowerSlice(w *writer, n *graph.Node) error {
	x := w.shapes[n.In[0]]
	s, y, err := graph.ResolveSlice(n, x)
	if err != nil {
		return err
	}
	var starts, ends, axes, steps []int
	for a := 1; a < len(x); a++ {
		if y[a] != x[a] {
			starts, ends = append(starts, s.Start[a]), append(ends, s.Start[a]+(y[a]-1)*s.Step[a]+1)
			axes, steps = append(axes, a), append(steps, s.Step[a])
		}
	}
	if axes != nil {
		w.slice(n.In[0], starts, ends, axes, steps)
	}
	return nil
}

func (w *writer) slice(x string, starts, ends, axes, steps []int) string {
	return w.op("Slice", nil, x, w.ints(starts...), w.ints(ends...), w.ints(axes...), w.ints(steps...))
}

// cut takes the elements from lo to hi along one axis.
func (w *writer) cut(x string, axis, lo, hi int) string {
	return w.slice(x, []int{lo}, []int{hi}, []int{axis}, []int{1})
}

func lowerPad(w *writer, n *graph.Node) error {
	in := []string{n.In[0], w.ints(n.Ints("pads", nil)...)}
	mode := n.String("mode", "constant")
	if mode == "constant" {
		in = append(in, w.scalar(n.Float("value", 0)))
	}
	w.op("Pad", graph.Attrs{"mode": mode}, in...)
	return nil
}

// embed puts x between zeros along one axis.
func (w *writer) embed(x string, rank, axis, before, after int) string {
	if before == 0 && after == 0 {
		return x
	}
	pads := make([]int, 2*rank)
	pads[axis], pads[rank+axis] = before, after
	return w.op("Pad", nil, x, w.ints(pads...))
}

// explicit is a pool's window with its attributes, in which padding at the end stands for ceil_mode: runtimes disagree
// about that.
func explicit(n *graph.Node, x, y graph.Shape) (graph.Window, graph.Attrs, error) {
	win, err := graph.PoolWindow(n)
	if err != nil {
		return win, nil, err
	}
	for a := range 2 {
		if win.Ceil {
			win.End[a] = max(0, (y[2+a]-1)*win.Stride[a]+win.Extent(a)-x[2+a]-win.Begin[a])
		}
	}
	return win, graph.Attrs{"kernel_shape": win.Kernel[:], "strides": win.Stride[:],
		"pads": append(slices.Clone(win.Begin[:]), win.End[:]...)}, nil
}

func lowerMaxPool(w *writer, n *graph.Node) error {
	_, err := w.maxPool(n, w.shapes[n.In[0]], w.shapes[n.Out], n.In[0])
	return err
}

// maxPool adds the forward of a MaxPool or MaxPoolGrad that takes x to y.
func (w *writer) maxPool(n *graph.Node, x, y graph.Shape, in string) (string, error) {
	win, attr, err := explicit(n, x, y)
	if err != nil {
		return "", err
	}
	if win.Dilation == [2]int{1, 1} {
		return w.op("MaxPool", attr, in), nil
	}
	// Runtimes want padding to be less than the kernel, which a dilated one may need more of.
	attr["dilations"], attr["pads"] = win.Dilation[:], []int{0, 0, 0, 0}
	if win.Begin != [2]int{} || win.End != [2]int{} {
		pads := []int{0, 0, win.Begin[0], win.Begin[1], 0, 0, win.End[0], win.End[1]}
		in = w.op("Pad", nil, in, w.ints(pads...), w.scalar(float32(math.Inf(-1))))
	}
	return w.op("MaxPool", attr, in), nil
}

func lowerAveragePool(w *writer, n *graph.Node) error {
	x, y := w.shapes[n.In[0]], w.shapes[n.Out]
	win, attr, err := explicit(n, x, y)
	if err != nil {
		return err
	}
	include := n.Int("count_include_pad", 0)
	attr["count_include_pad"] = include
	mean := w.op("AveragePool", attr, n.In[0])
	if include != 0 && n.Int("ceil_mode", 0) != 0 {
		if scale, flat := divisors(n, x, y, float64(win.Kernel[0]*win.Kernel[1])); !flat {
			w.op("Mul", nil, mean, w.floats(scale, 1, 1, y[2], y[3]))
		}
	}
	return nil
}

// divisors is numerator divided by what AveragePool from shape x to y divides by, for each window; flat if all are 1.
func divisors(n *graph.Node, x, y graph.Shape, numerator float64) (scale []float32, flat bool) {
	win, _ := graph.PoolWindow(n)
	include := n.Int("count_include_pad", 0) != 0
	flat = true
	for i := range y[2] {
		for j := range y[3] {
			d := win.Divisor(0, i, x[2], include) * win.Divisor(1, j, x[3], include)
			scale = append(scale, float32(numerator/float64(d)))
			flat = flat && numerator == float64(d)
		}
	}
	return scale, flat
}

// lowerResize: where the nearest element is a matter of rounding, runtimes that compute in float32 choose another one, so
// the elements are listed.
func lowerResize(w *writer, n *graph.Node) error {
	if n.String("mode", "nearest") == "nearest" && !multiple(n, w.shapes[n.In[0]], w.shapes[n.Out]) {
		d := n.In[0]
		for a := 2; a < 4; a++ {
			var from []int
			for _, t := range graph.ResizeTaps(n, a, w.shapes[n.In[0]][a], w.shapes[n.Out][a]) {
				from = append(from, t.Lo)
			}
			d = w.op("Gather", graph.Attrs{"axis": a}, d, w.ints(from...))
		}
		return nil
	}
	attr := graph.Attrs{"axes": []int{2, 3}}
	for _, name := range []string{"mode", "coordinate_transformation_mode", "nearest_mode"} {
		if n.HasAttr(name) {
			attr[name] = n.String(name, "")
		}
	}
	if scales := n.Floats("scales", nil); scales != nil {
		w.op("Resize", attr, n.In[0], "", w.floats(scales[2:], 2))
		return nil
	}
	w.op("Resize", attr, n.In[0], "", "", w.ints(n.Ints("sizes", nil)[2:]...))
	return nil
}

// multiple reports whether a Resize repeats every element a whole number of times.
func multiple(n *graph.Node, x, y graph.Shape) bool {
	if n.String("coordinate_transformation_mode", "half_pixel") == "align_corners" {
		return false
	}
	for a := 2; a < 4; a++ {
		times := y[a] / x[a]
		if s := n.Floats("scales", nil); y[a]%x[a] != 0 || s != nil && s[a] != float32(times) {
			return false
		}
	}
	return true
}

func lowerReshape(w *writer, n *graph.Node) error {
	w.reshape(n.In[0], w.shapes[n.Out][1:]...)
	return nil
}

// reshape keeps the first axis and gives one image's part the given shape.
func (w *writer) reshape(x string, perImage ...int) string {
	return w.op("Reshape", nil, x, w.ints(append([]int{0}, perImage...)...))
}

func lowerReduceMean(w *writer, n *graph.Node) error {
	attr := graph.Attrs{"keepdims": n.Int("keepdims", 1)}
	w.op("ReduceMean", attr, n.In[0], w.ints(n.Ints("axes", nil)...))
	return nil
}

// lowerStep: comparisons with NaN are false, so there it is 0.
func lowerStep(w *writer, n *graph.Node) error {
	var inside string
	if n.HasAttr("min") || !n.HasAttr("max") {
		inside = w.op("Greater", nil, n.In[0], w.scalar(n.Float("min", float32(math.Inf(-1)))))
	}
	if n.HasAttr("max") {
		below := w.op("Less", nil, n.In[0], w.scalar(n.Float("max", 0)))
		if inside == "" {
			inside = below
		} else {
			inside = w.op("And", nil, inside, below)
		}
	}
	w.op("Cast", graph.Attrs{"to": int(elemFloat)}, inside)
	return nil
}

func lowerSumTo(w *writer, n *graph.Node) error {
	var axes []int
	for a, d := range w.shapes[n.Out] {
		if d != w.shapes[n.In[0]][a] {
			axes = append(axes, a)
		}
	}
	if axes != nil {
		w.op("ReduceSum", nil, n.In[0], w.ints(axes...))
	}
	return nil
}
