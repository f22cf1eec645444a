package graph

import (
	"fmt"
	"math"
)

// Tap says what one output coordinate of a Resize reads along one axis: (1-W)*x[Lo] + W*x[Hi]. The adjoint adds the same
// weights the other way.
type Tap struct {
	Lo, Hi int
	W      float64
}

// ResizeTaps returns the taps of a Resize (or ResizeGrad) along an axis, one for each of its out coordinates; in and out
// are the extents before and after the forward Resize.
func ResizeTaps(n *Node, axis, in, out int) []Tap {
	taps := make([]Tap, out)
	for o := range taps {
		t := resizeTap(n, axis, in, out, o)
		taps[o] = Tap{min(max(t.Lo, 0), in-1), min(max(t.Hi, 0), in-1), t.W}
	}
	return taps
}

// resizeTap is the tap of coordinate o on an axis without ends.
func resizeTap(n *Node, axis, in, out, o int) Tap {
	scale := resizeScale(n, axis, in, out)
	var x float64
	switch n.String("coordinate_transformation_mode", "half_pixel") {
	case "half_pixel":
		x = (float64(o)+0.5)/scale - 0.5
	case "asymmetric":
		x = float64(o) / scale
	case "align_corners":
		if out > 1 {
			x = float64(o) * float64(in-1) / float64(out-1)
		}
	}
	if n.String("mode", "nearest") == "linear" {
		lo := math.Floor(x)
		return Tap{int(lo), int(lo) + 1, x - lo}
	}
	if n.String("nearest_mode", "round_prefer_floor") == "floor" {
		x = math.Floor(x)
	} else {
		x = math.Ceil(x - 0.5)
	}
	return Tap{int(x), int(x), 0}
}

// resizeScale is the given scale, which out/in may only approximate, or out/in where sizes are given.
func resizeScale(n *Node, axis, in, out int) float64 {
	if s := n.Floats("scales", nil); len(s) > 0 {
		return float64(s[axis])
	}
	return float64(out) / float64(in)
}

// inferResize is the shape of a Resize of x. With scales an extent becomes floor(extent*scale), computed in float32 as
// ONNX Runtime does.
func inferResize(n *Node, x Shape) (Shape, error) {
	if err := wantRank("input", x, 4); err != nil {
		return nil, err
	}
	for _, choice := range []struct{ name, def, values string }{
		{"mode", "nearest", "nearest linear"},
		{"coordinate_transformation_mode", "half_pixel", "half_pixel align_corners asymmetric"},
		{"nearest_mode", "round_prefer_floor", "round_prefer_floor floor"},
	} {
		if err := oneOf(choice.name, n.String(choice.name, choice.def), choice.values); err != nil {
			return nil, err
		}
	}
	scales, sizes := n.Floats("scales", nil), n.Ints("sizes", nil)
	switch {
	case len(scales)+len(sizes) != 4 || len(scales)*len(sizes) != 0:
		return nil, fmt.Errorf("want 4 scales or 4 sizes, got scales %v and sizes %v", scales, sizes)
	case len(sizes) == 4:
		if sizes[0] != N || sizes[1] != x[1] {
			return nil, fmt.Errorf("sizes %v must begin with [%d %d] to keep N and C", sizes, N, x[1])
		}
		return append(Shape{}, sizes...), nil
	case scales[0] != 1 || scales[1] != 1:
		return nil, fmt.Errorf("scales %v must begin with 1, 1 to keep N and C", scales)
	}
	y := Shape{N, x[1], 0, 0}
	for a := 2; a < 4; a++ {
		extent := float32(x[a]) * scales[a]
		if !(extent >= 1 && extent <= MaxElements) {
			return nil, fmt.Errorf("scales %v turn an extent of %d into %g", scales, x[a], extent)
		}
		y[a] = int(extent)
	}
	return y, nil
}
