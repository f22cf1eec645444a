package kerneltest

import (
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Separable tests random maps of one to seven axes against nested loops, their results within a larger array.
func Separable(t *testing.T, m kernels.Machine, seed uint64) {
	for _, extents := range [][]int{{300}, {3, 40}, {5, 4, 30}, {2, 3, 4, 5}, {2, 1, 3, 2, 2, 3, 2}} {
		Case(t, m, seed, func(r *Rig) {
			const images, none = 3, 0.5
			axes := make([]kernels.SeparableAxis, len(extents))
			inImage, outImage := 1, 1
			for a := len(extents) - 1; a >= 0; a-- {
				axes[a].Stride = outImage
				reach := extents[a] + 2 // places along the axis, of which some are read several times
				for range extents[a] {
					var taps []kernels.AxisTap
					for range r.Rand.IntN(4) {
						taps = append(taps, kernels.AxisTap{Offset: r.Rand.IntN(reach) * inImage, Weight: r.Rand.Float32() - 0.5})
					}
					axes[a].Taps = append(axes[a].Taps, taps)
				}
				inImage *= reach
				outImage *= extents[a] + 1
			}
			f, err := kernels.PlanSeparable(axes)
			require.NoError(r.T, err)
			before := r.Normal(images * outImage)
			x := In(r, r.Normal(images*inImage))
			words, taps, out := In(r, f.Words), In(r, append(f.Taps, 0)), In(r, before)
			s := kernels.Separable{
				Images: images, Axes: f.Axes, Elements: f.Elements, Form: words.Ptr, Starts: words.Ptr.Plus(f.Starts), Taps: taps.Ptr,
				InImage: inImage, OutImage: outImage, None: none, X: x.Ptr, Out: out.Ptr,
			}
			r.Run(s.Enqueue, []Array{words, taps, x}, []Array{out})
			want := slices.Clone(before)
			values := x.Read()
			for image := range images {
				var fill func(a, at int, taps [][]kernels.AxisTap)
				var sum func(taps [][]kernels.AxisTap, at int) float64
				sum = func(taps [][]kernels.AxisTap, at int) (v float64) {
					if len(taps) == 0 {
						return float64(values[at])
					}
					for _, t := range taps[0] {
						v += float64(t.Weight) * sum(taps[1:], at+t.Offset)
					}
					return v
				}
				fill = func(a, at int, lists [][]kernels.AxisTap) {
					if a == len(axes) {
						want[at] = float32(sum(lists, image*inImage))
						for _, l := range lists {
							if len(l) == 0 {
								want[at] = none
							}
						}
						return
					}
					for c, list := range axes[a].Taps {
						fill(a+1, at+c*axes[a].Stride, append(lists, list))
					}
				}
				fill(0, image*outImage, nil)
			}
			compare.Require(r.T, "y", out.Read(), want, rounding)

			// From float16 and to it: what lies between the results is not touched.
			halved := func(v []float32) []uint16 {
				h := make([]uint16, len(v))
				for i := range v {
					h[i] = kernels.Float16(v[i])
				}
				return h
			}
			hx, hy := In(r, halved(values)), In(r, halved(before))
			exact := In(r, fromHalves(halved(values)))
			s.X, s.Out = exact.Ptr, out.Ptr
			r.Run(s.Enqueue, []Array{words, taps, exact}, []Array{out})
			full := out.Read()
			s.X, s.HalfX = hx.Ptr, true
			r.Run(s.Enqueue, []Array{words, taps, hx}, []Array{out})
			require.Equal(r.T, full, out.Read())
			s.Out, s.HalfOut = hy.Ptr, true
			r.Run(s.Enqueue, []Array{words, taps, hx}, []Array{hy})
			require.Equal(r.T, halved(full), hy.Read())
		}, "%v", extents)
	}
	t.Run("refuses", func(t *testing.T) {
		_, err := kernels.PlanSeparable(make([]kernels.SeparableAxis, 8))
		require.ErrorContains(t, err, "8 axes")
		good := kernels.Separable{Images: 1, Axes: 3, Elements: 1, Form: 4, Starts: 4, Taps: 4, InImage: 1, OutImage: 1, X: 4, Out: 4}
		for what, change := range map[string]func(*kernels.Separable){
			"batch": func(s *kernels.Separable) { s.Images = 0 }, "elements": func(s *kernels.Separable) { s.InImage = 0 },
			"of 4 axes": func(s *kernels.Separable) { s.Axes = 4 }, "taps is null": func(s *kernels.Separable) { s.Taps = 0 },
		} {
			s := good
			change(&s)
			require.ErrorContains(t, s.Enqueue(m), what)
		}
	})
}

func init() {
	register("separable", Separable)
	const n, channels, side = 32, 64, 128
	registerBench(Bench{
		Kernel: "separable", Size: "32 x 64 x 128 x 128, channels last", Params: map[string]int{"n": n, "channels": channels, "side": side},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			axis := func(extent, stride, from int) kernels.SeparableAxis {
				a := kernels.SeparableAxis{Stride: stride}
				for i := range extent {
					a.Taps = append(a.Taps, []kernels.AxisTap{{Offset: i * from, Weight: 1}})
				}
				return a
			}
			f, err := kernels.PlanSeparable([]kernels.SeparableAxis{
				axis(side, side*channels, side), axis(side, channels, 1), axis(channels, 1, side*side),
			})
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			s := kernels.Separable{Images: n, Axes: f.Axes, Elements: f.Elements, InImage: f.Elements, OutImage: f.Elements}
			return setUp(b, s.Cost(), func() func(kernels.Queue) error {
				s.Starts = s.Form.Plus(f.Starts)
				return s.Enqueue
			},
				memory{&s.Form, func() (kernels.Ptr, error) { return Put(b, f.Words) }},
				memory{&s.Taps, func() (kernels.Ptr, error) { return Put(b, f.Taps) }},
				memory{&s.X, func() (kernels.Ptr, error) { return b.Normal(n*f.Elements, 0, 1) }},
				memory{&s.Out, func() (kernels.Ptr, error) { return b.Alloc(n * f.Elements) }})
		},
	})
}
