package onnx

import (
	"math"
	"slices"

	"f2pad.example/engine/graph"
)

// lowerSliceGrad: steps are undone by zeros behind each element, the cut by zeros around the whole.
func lowerSliceGrad(w *writer, n *graph.Node) error {
	x, y, d := w.shapes[n.Out], slices.Clone(w.shapes[n.In[0]]), n.In[0]
	s, _, err := graph.ResolveSlice(n, x)
	if err != nil {
		return err
	}
	for a := 1; a < len(x); a++ {
		if s.Step[a] > 1 && y[a] > 1 {
			d = w.dilate(d, y, a, s.Step[a])
		}
		d = w.place(d, y, a, s.Start[a], x[a])
	}
	return nil
}

// dilate puts step-1 zeros behind each element along one axis. shape follows.
func (w *writer) dilate(d string, shape graph.Shape, axis, step int) string {
	apart := slices.Insert(slices.Clone(shape[1:]), axis, 1)
	d = w.embed(w.reshape(d, apart...), len(shape)+1, axis+1, 0, step-1)
	shape[axis] *= step
	return w.reshape(d, shape[1:]...)
}

// place puts d at start among total zeros along one axis; what reaches past them, which must be zeros, is cut off. shape
// follows.
func (w *writer) place(d string, shape graph.Shape, axis, start, total int) string {
	if start+shape[axis] > total {
		d = w.cut(d, axis, 0, total-start)
		shape[axis] = total - start
	}
	d = w.embed(d, len(shape), axis, start, total-start-shape[axis])
	shape[axis] = total
	return d
}

// lowerPadGrad adds back, axis by axis, what was mirrored or repeated from the padding. A reversed slice undoes a mirror.
func lowerPadGrad(w *writer, n *graph.Node) error {
	x, y, d := w.shapes[n.Out], w.shapes[n.In[0]], n.In[0]
	pads, mode, rank := n.Ints("pads", nil), n.String("mode", "constant"), len(w.shapes[n.Out])
	for a := 1; a < rank; a++ {
		begin, end := pads[a], pads[rank+a]
		if begin == 0 && end == 0 {
			continue
		}
		all, last := d, x[a]-1
		d = w.cut(all, a, begin, begin+x[a])
		back := func(lo, hi, at int) { // adds the gradients lo to hi of the padding to those from at on
			if lo == hi {
				return
			}
			var part string
			if mode == "edge" {
				part = w.op("ReduceSum", nil, w.cut(all, a, lo, hi), w.ints(a))
				hi = lo + 1
			} else {
				end := lo - 1
				if lo == 0 {
					end = math.MinInt32 // -1 would be the last element
				}
				part = w.slice(all, []int{hi - 1}, []int{end}, []int{a}, []int{-1})
			}
			d = w.op("Add", nil, d, w.embed(part, rank, a, at, x[a]-at-(hi-lo)))
		}
		switch mode {
		case "edge":
			back(0, begin, 0)
			back(begin+x[a], y[a], last)
		case "reflect":
			back(0, begin, 1)
			back(begin+x[a], y[a], last-end)
		}
	}
	return nil
}

// lowerResizeGrad: a Resize is rows*x*columns' with constant matrices, so its adjoint is rows'*dy*columns.
func lowerResizeGrad(w *writer, n *graph.Node) error {
	x, y := w.shapes[n.Out], w.shapes[n.In[0]]
	matrix := func(axis int, transposed bool) string {
		m := make([]float32, x[axis]*y[axis])
		add := func(out, in int, weight float64) {
			at := out*x[axis] + in
			if transposed {
				at = in*y[axis] + out
			}
			m[at] += float32(weight)
		}
		for o, t := range graph.ResizeTaps(n, axis, x[axis], y[axis]) {
			add(o, t.Lo, 1-t.W)
			add(o, t.Hi, t.W)
		}
		if transposed {
			return w.floats(m, x[axis], y[axis])
		}
		return w.floats(m, y[axis], x[axis])
	}
	w.op("MatMul", nil, matrix(2, true), w.op("MatMul", nil, n.In[0], matrix(3, false)))
	return nil
}

// lowerAveragePoolGrad: each gradient, divided by what the mean was over, goes to all elements of its window.
func lowerAveragePoolGrad(w *writer, n *graph.Node) error {
	x, y, d := w.shapes[n.Out], w.shapes[n.In[0]], n.In[0]
	win, err := graph.PoolWindow(n)
	if err != nil {
		return err
	}
	if scale, flat := divisors(n, x, y, 1); !flat {
		d = w.op("Mul", nil, d, w.floats(scale, 1, 1, y[2], y[3]))
	}
	pads, extra := []int{win.Begin[0], win.Begin[1], 0, 0}, []int{0, 0}
	for a := range 2 {
		over := (y[2+a]-1)*win.Stride[a] + win.Extent(a) - win.Begin[a] - x[2+a]
		pads[2+a], extra[a] = max(0, over), max(0, -over)
	}
	ones := make([]float32, x[1]*win.Kernel[0]*win.Kernel[1])
	for i := range ones {
		ones[i] = 1
	}
	attr := graph.Attrs{"group": x[1], "strides": win.Stride[:], "pads": pads, "output_padding": extra}
	w.op("ConvTranspose", attr, d, w.floats(ones, x[1], 1, win.Kernel[0], win.Kernel[1]))
	return nil
}

// lowerMaxPoolGrad goes through the taps of a window in row-major order: where a tap equals the maximum and no earlier one
// did, it takes the gradient. What a tap takes lies stride apart in the gradient of x; taps that are a multiple of the
// stride apart (in one phase) are added, shifted, and the phases are interleaved in the end.
func lowerMaxPoolGrad(w *writer, n *graph.Node) error {
	dy, xName := n.In[0], n.In[1]
	y, x := w.shapes[dy], w.shapes[xName]
	win, err := graph.PoolWindow(n)
	if err != nil {
		return err
	}
	top, err := w.maxPool(n, x, y, xName)
	if err != nil {
		return err
	}
	var reach, blocks [2]int // x's extent with padding; the strides that a phase is long
	for a := range 2 {
		reach[a] = (y[2+a]-1)*win.Stride[a] + win.Extent(a)
		blocks[a] = y[2+a] + (win.Extent(a)-1)/win.Stride[a]
	}
	pads := []int{0, 0, win.Begin[0], win.Begin[1], 0, 0,
		max(0, reach[0]-win.Begin[0]-x[2]), max(0, reach[1]-win.Begin[1]-x[3])}
	padded := xName
	if slices.Max(pads) > 0 {
		padded = w.op("Pad", nil, xName, w.ints(pads...), w.scalar(float32(math.Inf(-1))))
	}
	zero := w.scalar(0)
	phases := make([]string, win.Stride[0]*win.Stride[1])
	free, taken := "", ""
	for k := range win.Kernel[0] {
		for l := range win.Kernel[1] {
			at := [2]int{k * win.Dilation[0], l * win.Dilation[1]}
			tap := w.slice(padded, at[:],
				[]int{at[0] + (y[2]-1)*win.Stride[0] + 1, at[1] + (y[3]-1)*win.Stride[1] + 1}, []int{2, 3}, win.Stride[:])
			taken = w.op("Equal", nil, tap, top)
			missed := w.op("Not", nil, taken)
			if free == "" {
				free = missed
			} else {
				taken = w.op("And", nil, taken, free)
				free = w.op("And", nil, free, missed)
			}
			part := w.op("Where", nil, taken, dy, zero)
			shift := [2]int{at[0] / win.Stride[0], at[1] / win.Stride[1]}
			part = w.embed(part, 4, 2, shift[0], blocks[0]-y[2]-shift[0])
			part = w.embed(part, 4, 3, shift[1], blocks[1]-y[3]-shift[1])
			phase := &phases[at[0]%win.Stride[0]*win.Stride[1]+at[1]%win.Stride[1]]
			if *phase == "" {
				*phase = part
			} else {
				*phase = w.op("Add", nil, *phase, part)
			}
		}
	}
	d := phases[0]
	if len(phases) > 1 {
		d = w.interleave(phases, graph.Shape{graph.N, x[1], blocks[0], blocks[1]}, win.Stride)
	}
	grown := graph.Shape{graph.N, x[1], blocks[0] * win.Stride[0], blocks[1] * win.Stride[1]}
	for a := 2; a < 4; a++ {
		begin, end := win.Begin[a-2], min(win.Begin[a-2]+x[a], grown[a])
		if begin > 0 || end < grown[a] {
			d = w.cut(d, a, begin, end)
			grown[a] = end - begin
		}
		d = w.place(d, grown, a, 0, x[a])
	}
	return nil
}

// interleave makes element (i*stride[0]+r, j*stride[1]+c) of element (i,j) of phase r*stride[1]+c; a phase that is missing
// is zeros. All have the given shape.
func (w *writer) interleave(phases []string, shape graph.Shape, stride [2]int) string {
	rows := make([]string, stride[0])
	wide := []int{shape[1], shape[2], shape[3], 1}
	for r := range rows {
		var columns []string
		for _, p := range phases[r*stride[1]:][:stride[1]] {
			if p == "" {
				p = w.op("Where", nil, w.op("Equal", nil, phases[0], phases[0]), w.scalar(0), w.scalar(0))
			}
			columns = append(columns, w.reshape(p, wide...))
		}
		rows[r] = w.op("Concat", graph.Attrs{"axis": 4}, columns...)
		rows[r] = w.reshape(rows[r], shape[1], shape[2], 1, shape[3]*stride[1])
	}
	all := w.op("Concat", graph.Attrs{"axis": 3}, rows...)
	return w.reshape(all, shape[1], shape[2]*stride[0], shape[3]*stride[1])
}
