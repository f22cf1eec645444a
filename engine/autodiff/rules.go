package autodiff

import (
	"maps"
	"math"
	"slices"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

// rule emits the gradients w.r.t. a node's inputs, given dy, that of its output. A name is "" where there is none; names
// may be missing at the end. Where a rule could read either the node's input or its output it reads the output: that is
// often an input of what follows and kept anyway, and lets executors compute the node in place.
type rule func(r *reverse, n *graph.Node, dy string) []string

// rules has one for every forward operator but BatchNormalization, which Gradient folds away.
var rules = map[graph.Op]rule{
	graph.Conv:              one(conv),
	graph.ConvTranspose:     one(convTranspose),
	graph.Relu:              slope(reluSlope),
	graph.LeakyRelu:         slope(leakyReluSlope),
	graph.Clip:              slope(clipSlope),
	graph.Sigmoid:           slope(sigmoidSlope),
	graph.HardSigmoid:       slope(hardSigmoidSlope),
	graph.HardSwish:         slope(hardSwishSlope),
	graph.Tanh:              slope(tanhSlope),
	graph.Exp:               slope(func(_ *reverse, n *graph.Node) string { return n.Out }),
	graph.Abs:               slope(func(r *reverse, n *graph.Node) string { return r.Op(graph.Sign, nil, n.In[0]) }),
	graph.Erf:               slope(erfSlope),
	graph.Log:               one(log),
	graph.Sqrt:              one(sqrt),
	graph.Add:               add,
	graph.Sub:               sub,
	graph.Mul:               mul,
	graph.Div:               div,
	graph.Concat:            concat,
	graph.Slice:             adjoint(graph.SliceGrad),
	graph.Pad:               one(pad),
	graph.MaxPool:           one(maxPool),
	graph.AveragePool:       adjoint(graph.AveragePoolGrad),
	graph.GlobalAveragePool: one(globalAveragePool),
	graph.Resize:            adjoint(graph.ResizeGrad),
	graph.MatMul:            matMul,
	graph.Gemm:              one(gemm),
	graph.Reshape:           one(reshape),
	graph.Transpose:         one(transpose),
	graph.ReduceMean:        one(reduceMean),
	graph.Softmax:           one(softmax),
}

// one is a rule for an operator that has a gradient w.r.t. its first input only.
func one(f func(r *reverse, n *graph.Node, dy string) string) rule {
	return func(r *reverse, n *graph.Node, dy string) []string { return []string{f(r, n, dy)} }
}

// slope is a rule for a function of one number: dx = dy * f'(x).
func slope(f func(r *reverse, n *graph.Node) string) rule {
	return one(func(r *reverse, n *graph.Node, dy string) string { return r.Op(graph.Mul, nil, dy, f(r, n)) })
}

// adjoint is a rule for a linear operator whose backward operator takes the same attributes and shape_in.
func adjoint(op graph.Op) rule {
	return one(func(r *reverse, n *graph.Node, dy string) string {
		attr := graph.Attrs{"shape_in": []int(r.shapes[n.In[0]])}
		maps.Copy(attr, n.Attr)
		return r.Op(op, attr, dy)
	})
}

// conv: the adjoint of a convolution with stride 1 is a convolution with the kernel turned round, which runs faster than
// ConvTranspose; with other strides it is ConvTranspose with the same weights.
func conv(r *reverse, n *graph.Node, dy string) string {
	x, w := r.shapes[n.In[0]], r.shapes[n.In[1]]
	win, err := graph.ConvWindow(n, w)
	if err != nil {
		panic(err) // Infer has ruled it out
	}
	plain := true
	var extra, before, after [2]int
	for a := range 2 {
		extra[a] = x[2+a] - win.TransposedOut(a, win.Out(a, x[2+a]), 0)
		before[a], after[a] = win.Extent(a)-1-win.Begin[a], win.Extent(a)-1-win.End[a]
		plain = plain && win.Stride[a] == 1 && before[a] >= 0 && after[a] >= 0
	}
	if plain {
		return r.Conv(dy, turned(r, n), "", graph.Attrs{
			"pads":      []int{before[0], before[1], after[0], after[1]},
			"dilations": win.Dilation[:],
			"group":     n.Int("group", 1),
		})
	}
	attr := maps.Clone(n.Attr)
	attr["output_padding"] = extra[:]
	return r.Op(graph.ConvTranspose, attr, dy, n.In[1])
}

// turned returns a Conv's weights [M,C/group,kH,kW] as [C,M/group,kH,kW] with both kernel axes reversed.
func turned(r *reverse, n *graph.Node) string {
	w, old, group := r.shapes[n.In[1]], nd.Data(r.g.Consts[n.In[1]]), n.Int("group", 1)
	outs, ins, taps := w[0]/group, w[1], w[2]*w[3]
	t := nd.New(ins*group, outs, w[2], w[3])
	all := nd.Data(t)
	for m := range w[0] {
		for c := range ins {
			from := old[(m*ins+c)*taps:][:taps]
			to := all[((m/outs*ins+c)*outs+m%outs)*taps:][:taps]
			for k, v := range from {
				to[taps-1-k] = v
			}
		}
	}
	return r.Const(t)
}

func convTranspose(r *reverse, n *graph.Node, dy string) string {
	attr := maps.Clone(n.Attr)
	delete(attr, "output_padding") // less than a stride: the last window stays the same
	return r.Conv(dy, n.In[1], "", attr)
}

// step is 1 where lo < x.
func step(r *reverse, lo float32, x string) string {
	return r.Op(graph.Step, graph.Attrs{"min": lo}, x)
}

func reluSlope(r *reverse, n *graph.Node) string { return step(r, 0, n.Out) }

// leakyReluSlope is alpha + (1-alpha)*[x > 0].
func leakyReluSlope(r *reverse, n *graph.Node) string {
	alpha := n.Float("alpha", 0.01)
	of := n.Out
	if alpha < 0 { // the output's sign is not the input's
		of = n.In[0]
	}
	return r.Op(graph.Add, nil, r.Op(graph.Mul, nil, step(r, 0, of), r.Scalar(1-alpha)), r.Scalar(alpha))
}

func clipSlope(r *reverse, n *graph.Node) string { return r.Op(graph.Step, n.Attr, n.Out) }

// sigmoidSlope is y(1-y).
func sigmoidSlope(r *reverse, n *graph.Node) string {
	return r.Op(graph.Mul, nil, n.Out, r.Op(graph.Sub, nil, r.Scalar(1), n.Out))
}

func hardSigmoidSlope(r *reverse, n *graph.Node) string {
	inside := r.Op(graph.Step, graph.Attrs{"min": float32(0), "max": float32(1)}, n.Out)
	return r.Op(graph.Mul, nil, inside, r.Scalar(n.Float("alpha", 0.2)))
}

// hardSwishSlope is clip(x/6 + 1/2, 0, 1) + x/6*[-3 < x < 3].
func hardSwishSlope(r *reverse, n *graph.Node) string {
	x := n.In[0]
	gate := r.Op(graph.HardSigmoid, graph.Attrs{"alpha": float32(1) / 6}, x)
	inside := r.Op(graph.Step, graph.Attrs{"min": float32(-3), "max": float32(3)}, x)
	return r.Op(graph.Add, nil, gate, r.Op(graph.Mul, nil, r.Op(graph.Mul, nil, x, inside), r.Scalar(float32(1)/6)))
}

// tanhSlope is 1 - y^2.
func tanhSlope(r *reverse, n *graph.Node) string {
	return r.Op(graph.Sub, nil, r.Scalar(1), r.Op(graph.Mul, nil, n.Out, n.Out))
}

// erfSlope is 2/sqrt(pi) exp(-x^2).
func erfSlope(r *reverse, n *graph.Node) string {
	x := n.In[0]
	return r.Op(graph.Mul, nil, r.Op(graph.Exp, nil, r.negative(r.Op(graph.Mul, nil, x, x))), r.Scalar(2/math.SqrtPi))
}

func log(r *reverse, n *graph.Node, dy string) string { return r.Op(graph.Div, nil, dy, n.In[0]) }

// sqrt: dx = dy/(2y).
func sqrt(r *reverse, n *graph.Node, dy string) string {
	return r.Op(graph.Mul, nil, r.Op(graph.Div, nil, dy, n.Out), r.Scalar(0.5))
}

// operands gives both inputs of a broadcasting operator their gradients, summed over what was repeated.
func (r *reverse) operands(n *graph.Node, a, b func() string) []string {
	d := []string{"", ""}
	for i, f := range []func() string{a, b} {
		if r.varies(n.In[i]) {
			d[i] = r.sumTo(f(), r.shapes[n.In[i]])
		}
	}
	return d
}

// sumTo sums d over the axes along which broadcasting repeated an operand of the given shape.
func (r *reverse) sumTo(d string, shape graph.Shape) string {
	if r.Shape(d).Equal(shape) {
		return d
	}
	return r.Op(graph.SumTo, graph.Attrs{"shape_in": []int(shape)}, d)
}

func (r *reverse) negative(d string) string { return r.Op(graph.Mul, nil, d, r.Scalar(-1)) }

func add(r *reverse, n *graph.Node, dy string) []string {
	same := func() string { return dy }
	return r.operands(n, same, same)
}

func sub(r *reverse, n *graph.Node, dy string) []string {
	return r.operands(n, func() string { return dy }, func() string { return r.negative(dy) })
}

func mul(r *reverse, n *graph.Node, dy string) []string {
	return r.operands(n,
		func() string { return r.Op(graph.Mul, nil, dy, n.In[1]) },
		func() string { return r.Op(graph.Mul, nil, dy, n.In[0]) })
}

// div: da = dy/b, db = -dy*y/b.
func div(r *reverse, n *graph.Node, dy string) []string {
	b := n.In[1]
	return r.operands(n,
		func() string { return r.Op(graph.Div, nil, dy, b) },
		func() string { return r.negative(r.Op(graph.Div, nil, r.Op(graph.Mul, nil, dy, n.Out), b)) })
}

func concat(r *reverse, n *graph.Node, dy string) []string {
	axis := n.Axis(0, len(r.shapes[n.Out]))
	d, start := make([]string, len(n.In)), 0
	for i, x := range n.In {
		end := start + r.shapes[x][axis]
		d[i] = r.Op(graph.Slice, graph.Attrs{"starts": []int{start}, "ends": []int{end}, "axes": []int{axis}}, dy)
		start = end
	}
	return d
}

// pad: what came from a constant is cut off; a mirrored or repeated edge is added back.
func pad(r *reverse, n *graph.Node, dy string) string {
	x := r.shapes[n.In[0]]
	if n.String("mode", "constant") != "constant" {
		return adjoint(graph.PadGrad)(r, n, dy)[0]
	}
	var starts, ends, axes []int
	for a := 1; a < len(x); a++ {
		begin := n.Ints("pads", nil)[a]
		starts, ends, axes = append(starts, begin), append(ends, begin+x[a]), append(axes, a)
	}
	if axes == nil {
		return dy
	}
	return r.Op(graph.Slice, graph.Attrs{"starts": starts, "ends": ends, "axes": axes}, dy)
}

func maxPool(r *reverse, n *graph.Node, dy string) string {
	return r.Op(graph.MaxPoolGrad, n.Attr, dy, n.In[0])
}

func globalAveragePool(r *reverse, n *graph.Node, dy string) string {
	return r.spread(dy, r.shapes[n.In[0]], []int{2, 3})
}

func reduceMean(r *reverse, n *graph.Node, dy string) string {
	x := r.shapes[n.In[0]]
	axes := graph.ReducedAxes(n, len(x))
	kept := slices.Clone(x)
	for _, a := range axes {
		kept[a] = 1
	}
	return r.spread(r.reshaped(dy, kept), x, axes)
}

// spread is the adjoint of a mean over axes of shape x: each element of d, where those extents are 1, goes in equal
// shares to all places.
func (r *reverse) spread(d string, x graph.Shape, axes []int) string {
	shape := slices.Repeat([]int{1}, len(x))
	for _, a := range axes {
		shape[a] = x[a]
	}
	t := nd.New(shape...)
	for i := range nd.Data(t) {
		nd.Data(t)[i] = 1 / float32(nd.Size(shape...))
	}
	return r.Op(graph.Mul, nil, d, r.Const(t))
}

// reshaped gives d the wanted shape.
func (r *reverse) reshaped(d string, want graph.Shape) string {
	if r.Shape(d).Equal(want) {
		return d
	}
	return r.Op(graph.Reshape, graph.Attrs{"shape": append([]int{0}, want[1:]...)}, d)
}

func reshape(r *reverse, n *graph.Node, dy string) string { return r.reshaped(dy, r.shapes[n.In[0]]) }

func transpose(r *reverse, n *graph.Node, dy string) string {
	perm := n.Ints("perm", nil)
	back := make([]int, len(perm))
	for i, a := range perm {
		back[a] = i
	}
	return r.Op(graph.Transpose, graph.Attrs{"perm": back}, dy)
}

// matMul: da = dy b^T, db = a^T dy.
func matMul(r *reverse, n *graph.Node, dy string) []string {
	return r.operands(n,
		func() string { return r.Op(graph.MatMul, nil, dy, r.transposed(n.In[1])) },
		func() string { return r.Op(graph.MatMul, nil, r.transposed(n.In[0]), dy) })
}

// transposed swaps the last two axes of a value or constant.
func (r *reverse) transposed(name string) string {
	s := r.shapes[name]
	rows, cols := s[len(s)-2], s[len(s)-1]
	if r.varies(name) {
		perm := make([]int, len(s))
		for i := range perm {
			perm[i] = i
		}
		perm[len(s)-2], perm[len(s)-1] = len(s)-1, len(s)-2
		return r.Op(graph.Transpose, graph.Attrs{"perm": perm}, name)
	}
	old := nd.Data(r.g.Consts[name])
	t := nd.New(append(slices.Clone(s[:len(s)-2]), cols, rows)...)
	for i := range old {
		matrix, row, col := i/(rows*cols), i/cols%rows, i%cols
		nd.Data(t)[(matrix*cols+col)*rows+row] = old[i]
	}
	return r.Const(t)
}

// gemm: da = alpha dy b^T.
func gemm(r *reverse, n *graph.Node, dy string) string {
	attr := graph.Attrs{"transB": 1 - n.Int("transB", 0), "alpha": n.Float("alpha", 1)}
	return r.Op(graph.Gemm, attr, dy, n.In[1])
}

// softmax: dx = y (dy - sum of dy*y along the axis).
func softmax(r *reverse, n *graph.Node, dy string) string {
	y := n.Out
	one := slices.Clone(r.shapes[y])
	one[n.Axis(-1, len(one))] = 1
	sum := r.sumTo(r.Op(graph.Mul, nil, dy, y), one)
	return r.Op(graph.Mul, nil, y, r.Op(graph.Sub, nil, dy, sum))
}
