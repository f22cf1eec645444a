package graph_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/exec/naive"
	"f2pad.example/engine/graph"

	"github.com/stretchr/testify/require"
)

// local are networks of bounded receptive field for images of any extents that the stride divides.
var local = []struct {
	name   string
	radius int
	make   func(b *graph.Builder, r *rand.Rand, x string) []string
}{
	{"pointwise", 0, func(b *graph.Builder, r *rand.Rand, x string) []string {
		return []string{b.Op(graph.Mul, nil, b.Op(graph.Softmax, attrs{"axis": 1}, x), random(b, r, 1, 2, 1, 1))}
	}},
	{"conv 3x3", 1, func(b *graph.Builder, r *rand.Rand, x string) []string {
		return []string{b.Conv(x, random(b, r, 0.5, 2, 2, 3, 3), "", attrs{"pads": ints(1, 1, 1, 1)})}
	}},
	{"rows only, dilated", 4, func(b *graph.Builder, r *rand.Rand, x string) []string {
		return []string{b.Conv(x, random(b, r, 0.5, 2, 2, 5, 1), "", attrs{"pads": ints(4, 0, 4, 0), "dilations": ints(2, 1)})}
	}},
	{"columns only, one-sided", 3, func(b *graph.Builder, r *rand.Rand, x string) []string {
		return []string{b.Conv(x, random(b, r, 0.5, 2, 2, 1, 4), "", attrs{"pads": ints(0, 3, 0, 0)})}
	}},
	// Cell o covers pixels 2o and 2o+1, its centre is 2o+0.5; it reads 2o-1 ... 2o+1 and the next conv 2o-3 ... 2o+3.
	{"stride 2, conv", 4, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Conv(x, random(b, r, 0.5, 2, 2, 3, 3), "", attrs{"pads": ints(1, 1, 1, 1), "strides": ints(2, 2)})
		return []string{b.Conv(y, random(b, r, 0.5, 2, 2, 3, 3), "", attrs{"pads": ints(1, 1, 1, 1)})}
	}},
	{"pools", 2, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Op(graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, x)
		return []string{b.Op(graph.AveragePool, attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, y)}
	}},
	{"reflected, stride 2", 5, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Op(graph.Pad, attrs{"pads": ints(0, 0, 4, 4, 0, 0, 4, 4), "mode": "reflect"}, x)
		y = b.Conv(y, random(b, r, 0.5, 2, 2, 9, 9), "", nil)
		return []string{b.Op(graph.AveragePool, attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, y)}
	}},
	{"decimation by slicing", 3, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Op(graph.Pad, attrs{"pads": ints(0, 0, 2, 2, 0, 0, 2, 2), "mode": "reflect"}, x)
		y = b.Conv(y, random(b, r, 0.5, 2, 2, 5, 5), "", nil)
		even := attrs{"starts": ints(0, 0), "ends": ints(99, 99), "axes": ints(2, 3), "steps": ints(2, 2)}
		return []string{b.Op(graph.Slice, even, y)}
	}},
	{"edge, then stride", 4, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Op(graph.Pad, attrs{"pads": ints(0, 0, 3, 2, 0, 0, 2, 3), "mode": "edge"}, x)
		return []string{b.Conv(y, random(b, r, 0.5, 2, 2, 6, 6), "", attrs{"strides": ints(2, 2)})}
	}},
	{"down and up, skip", 2, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Op(graph.AveragePool, attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, x)
		y = b.Op(graph.Resize, attrs{"scales": []float32{1, 1, 2, 2}, "mode": "linear"}, y)
		return []string{b.Op(graph.Concat, attrs{"axis": 1}, y, x)}
	}},
	{"nearest up", 2, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Conv(x, random(b, r, 0.5, 2, 2, 3, 3), "", attrs{"strides": ints(3, 3)})
		return []string{b.Op(graph.Resize, attrs{"scales": []float32{1, 1, 3, 3}}, y)}
	}},
	{"transposed", 3, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Conv(x, random(b, r, 0.5, 2, 2, 4, 4), "", attrs{"strides": ints(2, 2), "pads": ints(1, 1, 1, 1)})
		y = b.Op(graph.Relu, nil, b.Op(graph.Add, nil, y, b.Op(graph.ReduceMean, attrs{"axes": ints(1)}, y)))
		w := random(b, r, 0.5, 2, 2, 4, 4)
		return []string{b.Op(graph.ConvTranspose, attrs{"strides": ints(2, 2), "pads": ints(1, 1, 1, 1)}, y, w)}
	}},
	{"branches, mostly to the left", 3, func(b *graph.Builder, r *rand.Rand, x string) []string {
		left := b.Conv(x, random(b, r, 0.5, 2, 2, 1, 4), "", attrs{"pads": ints(0, 3, 0, 0)})
		right := b.Conv(x, random(b, r, 0.5, 2, 2, 1, 2), "", attrs{"pads": ints(0, 0, 0, 1)})
		return []string{b.Op(graph.Add, nil, right, left)}
	}},
	{"branches, mostly to the right", 3, func(b *graph.Builder, r *rand.Rand, x string) []string {
		right := b.Conv(x, random(b, r, 0.5, 2, 2, 4, 1), "", attrs{"pads": ints(0, 0, 3, 0)})
		left := b.Conv(x, random(b, r, 0.5, 2, 2, 2, 1), "", attrs{"pads": ints(1, 0, 0, 0)})
		return []string{b.Op(graph.Add, nil, left, right)}
	}},
	// At a border the mirror turns the second convolution's reach round, and the first one's adds to it.
	{"mirrored on the left", 6, func(b *graph.Builder, r *rand.Rand, x string) []string {
		right := b.Conv(x, random(b, r, 0.5, 2, 2, 1, 4), "", attrs{"pads": ints(0, 0, 0, 3)})
		padded := b.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 3, 0, 0, 0, 0), "mode": "reflect"}, right)
		return []string{b.Conv(padded, random(b, r, 0.5, 2, 2, 1, 4), "", nil)}
	}},
	{"mirrored below", 6, func(b *graph.Builder, r *rand.Rand, x string) []string {
		up := b.Conv(x, random(b, r, 0.5, 2, 2, 4, 1), "", attrs{"pads": ints(3, 0, 0, 0)})
		padded := b.Op(graph.Pad, attrs{"pads": ints(0, 0, 0, 0, 0, 0, 3, 0), "mode": "reflect"}, up)
		return []string{b.Conv(padded, random(b, r, 0.5, 2, 2, 4, 1), "", nil)}
	}},
	{"two outputs", 3, func(b *graph.Builder, r *rand.Rand, x string) []string {
		y := b.Conv(x, random(b, r, 0.5, 2, 2, 7, 1), "", attrs{"pads": ints(3, 0, 3, 0)})
		return []string{y, b.Op(graph.MaxPool, attrs{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}, x)}
	}},
}

func localGraph(t *testing.T, i, h, w int) *graph.Graph {
	b := graph.NewBuilder(local[i].name)
	g, err := b.Graph(local[i].make(b, rand.New(rand.NewPCG(1, 2)), b.Input("x", n, 2, h, w))...)
	require.NoError(t, err)
	return g
}

// image is a random one between 0 and 1.
func image(h, w int) *naive.Array {
	x := naive.New(1, 2, h, w)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range x.Data {
		x.Data[i] = r.Float64()
	}
	return x
}

// TestMargin perturbs single pixels: no cell further away than the radius changes, and some cell within the last pixel of
// it does.
func TestMargin(t *testing.T) {
	for i, c := range local {
		t.Run(c.name, func(t *testing.T) {
			const h, w = 24, 12
			g := localGraph(t, i, h, w)
			radius, ok := g.Margin()
			require.True(t, ok)
			require.Equal(t, c.radius, radius)
			x := image(h, w)
			base, err := naive.Run(g, map[string]*naive.Array{"x": x})
			require.NoError(t, err)
			furthest := 0.0
			for _, row := range []int{0, 1, 2, 10, 11, 12, 13, h - 7, h - 2, h - 1} {
				for _, col := range []int{0, 1, 5, 6, w - 1} {
					at := row*w + col
					was := x.Data[at]
					x.Data[at] = 100
					got, err := naive.Run(g, map[string]*naive.Array{"x": x})
					require.NoError(t, err)
					x.Data[at] = was
					for _, out := range g.Outputs {
						furthest = max(furthest, reached(base[out], got[out], h, w, row, col))
					}
				}
			}
			require.LessOrEqual(t, furthest, float64(radius))
			require.Greater(t, furthest, float64(radius)-1)
		})
	}
}

// reached is the distance, in pixels along the further axis, from a pixel to the furthest cell that differs between a
// and b.
func reached(a, b *naive.Array, h, w, row, col int) float64 {
	rows, cols := a.Shape[2], a.Shape[3]
	far := 0.0
	for i := range a.Data {
		if a.Data[i] != b.Data[i] {
			distance := func(cell, cells, extent, pixel int) float64 {
				pitch := float64(extent) / float64(cells)
				return math.Abs((float64(cell)+0.5)*pitch - 0.5 - float64(pixel))
			}
			far = max(far, distance(i/cols%rows, rows, h, row), distance(i%cols, cols, w, col))
		}
	}
	return far
}

// TestMarginWindows: cells of a window whose centres are further than the radius inside its edges equal, to the last bit,
// those of the whole image.
func TestMarginWindows(t *testing.T) {
	for i, c := range local {
		t.Run(c.name, func(t *testing.T) {
			const h, w, top, left, height, width = 48, 48, 12, 12, 24, 24 // multiples of every stride
			whole, part := localGraph(t, i, h, w), localGraph(t, i, height, width)
			radius, _ := part.Margin()
			x, cut := image(h, w), naive.New(1, 2, height, width)
			for j := range cut.Data {
				cut.Data[j] = x.At(0, j/(height*width), j/width%height+top, j%width+left)
			}
			all, err := naive.Run(whole, map[string]*naive.Array{"x": x})
			require.NoError(t, err)
			some, err := naive.Run(part, map[string]*naive.Array{"x": cut})
			require.NoError(t, err)
			for o, out := range part.Outputs {
				y, z := all[whole.Outputs[o]], some[out]
				s := h / y.Shape[2]
				inside := func(cell, extent int) bool {
					centre := (float64(cell)+0.5)*float64(s) - 0.5
					return centre-float64(radius) > -0.5 && centre+float64(radius) < float64(extent)-0.5
				}
				compared := 0
				for ch := range z.Shape[1] {
					for r := range z.Shape[2] {
						for k := range z.Shape[3] {
							if inside(r, height) && inside(k, width) {
								compared++
								require.Equal(t, y.At(0, ch, r+top/s, k+left/s), z.At(0, ch, r, k))
							}
						}
					}
				}
				require.Positive(t, compared)
			}
		})
	}
}

// TestNoMargin: what sees everything, or knows where it is, has no radius.
func TestNoMargin(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, make := range map[string]func(b *graph.Builder, x string) string{
		"pool": func(b *graph.Builder, x string) string { return b.Op(graph.GlobalAveragePool, nil, x) },
		"gate": func(b *graph.Builder, x string) string {
			return b.Op(graph.Mul, nil, x, b.Op(graph.GlobalAveragePool, nil, x))
		},
		"mean":        func(b *graph.Builder, x string) string { return b.Op(graph.ReduceMean, attrs{"axes": ints(1, 2)}, x) },
		"softmax":     func(b *graph.Builder, x string) string { return b.Op(graph.Softmax, nil, x) },
		"matmul":      func(b *graph.Builder, x string) string { return b.Op(graph.MatMul, nil, x, random(b, r, 0, 8, 8)) },
		"rows joined": func(b *graph.Builder, x string) string { return b.Op(graph.Concat, attrs{"axis": 2}, x, x) },
		"transpose": func(b *graph.Builder, x string) string {
			return b.Op(graph.Transpose, attrs{"perm": ints(0, 1, 3, 2)}, x)
		},
		"reshape": func(b *graph.Builder, x string) string {
			return b.Op(graph.Reshape, attrs{"shape": ints(0, 2, 4, 16)}, x)
		},
		"flat": func(b *graph.Builder, x string) string { return b.Op(graph.Reshape, attrs{"shape": ints(0, -1)}, x) },
		"through flat": func(b *graph.Builder, x string) string {
			return b.Op(graph.Reshape, attrs{"shape": ints(0, 2, 8, 8)}, b.Op(graph.Reshape, attrs{"shape": ints(0, -1)}, x))
		},
		"corners": func(b *graph.Builder, x string) string {
			return b.Op(graph.Resize, attrs{"sizes": ints(n, 2, 16, 16), "coordinate_transformation_mode": "align_corners"}, x)
		},
		"position":        func(b *graph.Builder, x string) string { return b.Op(graph.Add, nil, random(b, r, 0, 1, 8), x) },
		"row position":    func(b *graph.Builder, x string) string { return b.Op(graph.Add, nil, x, random(b, r, 0, 8, 1)) },
		"pitches differ":  func(b *graph.Builder, x string) string { return b.Op(graph.Add, nil, x, halved(b, x)) },
		"repeated column": func(b *graph.Builder, x string) string { return b.Op(graph.Add, nil, x, b.Input("c", n, 2, 8, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := graph.NewBuilder("global")
			g, err := b.Graph(make(b, b.Input("x", n, 2, 8, 8)))
			require.NoError(t, err)
			_, ok := g.Margin()
			require.False(t, ok)
		})
	}
	g := chain()
	g.Nodes[0].Op = "Nonsense"
	_, ok := g.Margin()
	require.False(t, ok, "an invalid graph")
}

// halved keeps the first half of x in rows and columns' even elements in both, padded to x's extents.
func halved(b *graph.Builder, x string) string {
	y := b.Op(graph.Slice, attrs{"starts": ints(0, 0), "ends": ints(8, 8), "axes": ints(2, 3), "steps": ints(2, 2)}, x)
	return b.Op(graph.Pad, attrs{"pads": ints(0, 0, 2, 2, 0, 0, 2, 2)}, y)
}
