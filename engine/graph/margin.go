package graph

import (
	"math"
	"slices"

	"f2pad.example/engine/internal/index"
)

// Margin is the radius of the outputs' receptive fields in pixels of the inputs. A cell with index o on an axis where
// one cell covers s pixels (the product of the strides) is centred on pixel (o+0.5)*s - 0.5; it does not depend on pixels
// further than radius from there, on either axis. So a window cut from an image at a multiple of s gives, for the cells
// whose centres lie further than radius inside its cut edges, the same features as the whole image. radius is the largest
// over all outputs; it does not depend on the size of the image.
//
// ok is false where that does not hold: an output that sees everything (GlobalAveragePool, a mean or softmax over
// space), that mixes locations by other means (MatMul, Reshape, Transpose, Resize with align_corners), or that knows
// where it is (a constant with extent over space); and if the graph is not valid. Image extents are taken to be multiples
// of s. The cost is nodes x cells along one axis.
func (g *Graph) Margin() (radius int, ok bool) {
	shapes, err := g.Infer()
	if err != nil {
		return 0, false
	}
	widest := 0.0
	for _, out := range g.Outputs {
		if len(shapes[out]) != 4 {
			return 0, false
		}
		for axis := 2; axis < 4; axis++ {
			for o := range shapes[out][axis] {
				r, ok := g.reach(shapes, out, axis, o)
				if !ok {
					return 0, false
				}
				widest = max(widest, r)
			}
		}
	}
	return int(math.Ceil(widest)), true
}

// span is the range of indices of a value, on one axis, that one output cell depends on; pitch is how many of them a
// step of one cell moves it.
type span struct {
	lo, hi int
	pitch  float64
}

// centre is where the middle of output cell o lies on the axis of s.
func (s span) centre(o int) float64 { return (float64(o)+0.5)*s.pitch - 0.5 }

// reach is how far the input pixels that cell o of a value depends on lie from the cell's centre. Coordinates are those
// of axes without ends, so all cells between the borders are alike.
func (g *Graph) reach(shapes map[string]Shape, out string, axis, o int) (float64, bool) {
	spans := map[string]span{out: {o, o, 1}}
	for _, n := range slices.Backward(g.Nodes) {
		y, used := spans[n.Out]
		if !used {
			continue
		}
		for i, name := range n.In {
			if g.Consts[name] != nil || name == "" {
				continue
			}
			x, ok := n.reads(shapes, i, axis, o, y)
			if !ok {
				return 0, false
			}
			if was, ok := spans[name]; ok {
				if math.Abs(was.pitch-x.pitch) > 1e-9*x.pitch {
					return 0, false
				}
				x.lo, x.hi = min(x.lo, was.lo), max(x.hi, was.hi)
			}
			spans[name] = x
		}
	}
	r := 0.0
	for _, in := range g.Inputs {
		if x, used := spans[in.Name]; used {
			r = max(r, x.centre(o)-float64(x.lo), float64(x.hi)-x.centre(o))
		}
	}
	return r, true
}

// reads returns the span of input i that node n needs for the span y of its output, both for cell o of a graph's output.
func (n *Node) reads(shapes map[string]Shape, i, axis, o int, y span) (span, bool) {
	in := shapes[n.In[i]]
	if len(in) != 4 || len(shapes[n.Out]) != 4 {
		return span{}, false
	}
	a := axis - 2
	switch n.Op {
	case Relu, LeakyRelu, Clip, Sigmoid, HardSigmoid, HardSwish, Tanh, Exp, Log, Sqrt, Abs, Erf,
		BatchNormalization:
		return y, true
	case Add, Sub, Mul, Div:
		for _, other := range n.In {
			if s := shapes[other]; len(s) > 0 && s[0] != N && !uniform(s) {
				return span{}, false
			}
		}
		return y, in[axis] == shapes[n.Out][axis]
	case Concat:
		return y, n.Axis(0, 4) == 1
	case Softmax:
		return y, n.Axis(-1, 4) == 1
	case ReduceMean:
		return y, slices.Equal(ReducedAxes(n, 4), []int{1})
	case Slice:
		s, _, err := ResolveSlice(n, in)
		return span{y.lo*s.Step[axis] + s.Start[axis], y.hi*s.Step[axis] + s.Start[axis], y.pitch * float64(s.Step[axis])},
			err == nil
	case Pad:
		begin := n.Ints("pads", nil)[axis]
		x := span{y.lo - begin, y.hi - begin, y.pitch}
		if n.String("mode", "constant") != "constant" {
			// At a border the padding is read from inside: a mirrored pixel lies nearer to the centre, on either side.
			twice := 2 * x.centre(o)
			x.lo, x.hi = min(x.lo, int(math.Floor(twice))-x.hi), max(x.hi, int(math.Ceil(twice))-x.lo)
		}
		return x, true
	case Conv, MaxPool, AveragePool:
		var w Window
		var err error
		if n.Op == Conv {
			w, err = ConvWindow(n, shapes[n.In[1]])
		} else {
			w, err = PoolWindow(n)
		}
		return span{w.Start(a, y.lo), w.Start(a, y.hi) + w.Extent(a) - 1, y.pitch * float64(w.Stride[a])}, err == nil
	case ConvTranspose:
		w, err := ConvWindow(n, shapes[n.In[1]])
		lo, hi := y.lo+w.Begin[a]-w.Extent(a)+1, y.hi+w.Begin[a]
		return span{index.CeilDiv(lo, w.Stride[a]), index.FloorDiv(hi, w.Stride[a]), y.pitch / float64(w.Stride[a])}, err == nil
	case Resize:
		if n.String("coordinate_transformation_mode", "half_pixel") == "align_corners" {
			return span{}, false
		}
		out := shapes[n.Out][axis]
		lo, hi := resizeTap(n, axis, in[axis], out, y.lo), resizeTap(n, axis, in[axis], out, y.hi)
		return span{lo.Lo, hi.Hi, y.pitch / resizeScale(n, axis, in[axis], out)}, true
	}
	return span{}, false
}

// uniform reports whether a constant has the same value at every location of the [N,C,H,W] it is broadcast to.
func uniform(s Shape) bool {
	for _, d := range s[max(len(s)-2, 0):] {
		if d != 1 {
			return false
		}
	}
	return true
}
