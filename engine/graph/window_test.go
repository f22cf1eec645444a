package graph_test

import (
	"testing"

	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// TestWindow compares Out, Taps and Divisor with windows laid out one by one.
func TestWindow(t *testing.T) {
	for _, ceil := range []bool{false, true} {
		for code := range 3 * 3 * 3 * 3 * 3 * 8 {
			digit := func(base int) int { d := code % base; code /= base; return d }
			kernel, stride, dilation := 1+digit(3), 1+digit(3), 1+digit(3)
			begin, end, in := digit(3), digit(3), 1+digit(8)
			w := graph.Window{
				Kernel: [2]int{1, kernel}, Stride: [2]int{1, stride}, Dilation: [2]int{1, dilation},
				Begin: [2]int{0, begin}, End: [2]int{0, end}, Ceil: ceil,
			}
			count, last := 0, dilation*(kernel-1)
			require.Equal(t, last+1, w.Extent(1))
			for start := -begin; start+last < in+end; start += stride {
				count++
			}
			if ceil && count > 0 {
				if w.Start(1, count-1)+last < in+end-1 {
					count++ // one more reaches past the padding
				}
				if w.Start(1, count-1) >= in {
					count-- // it would begin behind the input
				}
			}
			require.Equal(t, count, w.Out(1, in), "%+v over %d", w, in)
			for o := range count {
				require.Equal(t, o*stride-begin, w.Start(1, o))
				var inside []int
				padded := 0
				for k := range kernel {
					i := o*stride - begin + k*dilation
					if i >= 0 && i < in {
						inside = append(inside, k)
					}
					if i < in+end {
						padded++
					}
				}
				lo, hi := w.Taps(1, o, in)
				require.Equal(t, len(inside), hi-lo, "%+v over %d at %d", w, in, o)
				if len(inside) > 0 {
					require.Equal(t, inside[0], lo)
				}
				if dilation == 1 {
					require.Equal(t, len(inside), w.Divisor(1, o, in, false))
					require.Equal(t, padded, w.Divisor(1, o, in, true))
				}
			}
			if !ceil && count > 0 {
				// The transposed window gives the input's extent back, but for what the stride skipped.
				room := (in + begin + end - last - 1) % stride
				require.Equal(t, in, w.TransposedOut(1, count, room))
			}
		}
	}
}

func TestPadSource(t *testing.T) {
	for mode, want := range map[string][]int{
		"constant": {-1, -1, 0, 1, 2, -1, -1},
		"edge":     {0, 0, 0, 1, 2, 2, 2},
		"reflect":  {2, 1, 0, 1, 2, 1, 0},
	} {
		var got []int
		for o := range want {
			got = append(got, graph.PadSource(mode, o, 2, 3))
		}
		require.Equal(t, want, got, mode)
	}
}

// TestResizeTaps: the taps lie inside, their weights too, and linear ones meet the point that the mode asks for.
func TestResizeTaps(t *testing.T) {
	linear := func(mode, how string, v any) attrs {
		return attrs{"mode": "linear", "coordinate_transformation_mode": mode, how: v}
	}
	scales := func(columns float32) []float32 { return []float32{1, 1, 1, columns} }
	for _, c := range []struct {
		attr    attrs
		in, out int
		want    [][3]float64 // Lo, Hi, W
	}{
		{linear("half_pixel", "sizes", ints(n, 1, 1, 4)), 2, 4,
			[][3]float64{{0, 0, 0.75}, {0, 1, 0.25}, {0, 1, 0.75}, {1, 1, 0.25}}},
		{linear("align_corners", "sizes", ints(n, 1, 1, 3)), 5, 3, [][3]float64{{0, 1, 0}, {2, 3, 0}, {4, 4, 0}}},
		{linear("align_corners", "sizes", ints(n, 1, 1, 1)), 5, 1, [][3]float64{{0, 1, 0}}},
		{linear("asymmetric", "scales", scales(2)), 2, 4, [][3]float64{{0, 1, 0}, {0, 1, 0.5}, {1, 1, 0}, {1, 1, 0.5}}},
		{attrs{"scales": scales(0.5)}, 5, 2, [][3]float64{{0, 0, 0}, {2, 2, 0}}},
		{attrs{"scales": scales(2), "nearest_mode": "floor"}, 2, 4, [][3]float64{{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {1, 1, 0}}},
		// The given scale counts, not 3/4 that the rounded extent would suggest.
		{linear("asymmetric", "scales", scales(0.875)), 4, 3, [][3]float64{{0, 1, 0}, {1, 2, 1.0 / 7}, {2, 3, 2.0 / 7}}},
	} {
		got := graph.ResizeTaps(&graph.Node{Op: graph.Resize, Attr: c.attr}, 3, c.in, c.out)
		require.Len(t, got, len(c.want))
		for o, tap := range got {
			require.Equal(t, c.want[o][:2], []float64{float64(tap.Lo), float64(tap.Hi)}, "%v at %d", c.attr, o)
			require.InDelta(t, c.want[o][2], tap.W, 1e-15)
		}
	}
}
