package kerneltest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Compose tests the kernels of compose against pixel.Compose and the backbone's normalisation in Go.
func Compose(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ n, h, w int }{{1, 1, 1}, {2, 35, 71}, {3, 32, 64}, {64, 3, 5}} {
		Case(t, m, seed, func(r *Rig) {
			hw := s.h * s.w
			y, a := r.Normal(s.n*3*hw), r.off(s.n*3*hw)
			mask := make([]uint8, s.n*hw)
			scale, gain, shift := r.off(s.n*hw), r.Normal(3*s.n), r.Normal(3*s.n)
			plain := slices.Clone(y) // what pixel.Compose makes of it
			used := stepShares{}
			for n := range s.n {
				st := &pixel.State{
					Box: pixel.Box{Y1: s.h, X1: s.w}, C: scale[n*hw : (n+1)*hw], A: a[3*n*hw : 3*(n+1)*hw],
				}
				for p := range hw {
					if n%3 == 1 || r.Rand.IntN(2) == 0 { // image 1: nothing
						continue
					}
					mask[n*hw+p] = uint8(1 + r.Rand.IntN(255))
					st.Pixels = append(st.Pixels, int32(p))
					st.C[p] = 0.2 + r.Rand.Float32()
					for c := range 3 {
						st.A[c*hw+p] = float32(r.Rand.NormFloat64())
					}
				}
				pixel.Compose(st, y[3*n*hw:], s.h, s.w, plain[3*n*hw:3*(n+1)*hw])
			}
			list := kernels.ActiveTiles(mask, s.n, s.h, s.w)
			my, ma, mm, ms := In(r, y), In(r, a), In(r, mask), In(r, scale)
			mg, mb, mt := In(r, gain), In(r, shift), In(r, list)
			inputs := []Array{my, ma, mm, ms, mg, mb, mt}
			for _, packed := range []int{0, 3, 4} {
				for _, normalised := range []bool{false, true} {
					for _, only := range []bool{false, true} {
						k := kernels.Compose{
							N: s.n, H: s.h, W: s.w, Y: my.Ptr, A: ma.Ptr, Scale: ms.Ptr, Mask: mm.Ptr, Packed: packed,
						}
						before := r.off(s.n * hw * max(packed, 3))
						out := In(r, before)
						if !only {
							out = Out[float32](r, len(before))
						}
						k.Out = out.Ptr
						if normalised {
							k.Gain, k.Shift = mg.Ptr, mb.Ptr
						}
						if only {
							k.Tiles, k.Blocks = mt.Ptr, max(1, (len(list)-s.n-1)/2)
						}
						r.Run(k.Enqueue, inputs, []Array{out})

						got := out.Read()
						var written, want []float32
						for i, v := range got {
							n, c, p := i/(3*hw), i/hw%3, i%hw
							if packed > 0 {
								n, c, p = i/packed/hw, i%packed, i/packed%hw
							}
							if only && mask[n*hw+p] == 0 {
								require.Equal(r.T, math.Float32bits(before[i]), math.Float32bits(v), "value %d, off Omega", i)
								continue
							}
							written = append(written, v)
							switch {
							case c == 3:
								want = append(want, 0)
							case normalised:
								want = append(want, gain[3*n+c]*plain[(3*n+c)*hw+p]+shift[3*n+c])
							default:
								want = append(want, plain[(3*n+c)*hw+p])
							}
						}
						where := fmt.Sprintf("packed %d, normalised %t, only Omega %t", packed, normalised, only)
						used.require(r.T, "image", where, written, want, composeRounding)
					}
				}
			}
			r.T.Logf("share of the tolerance used:%s", used)
		}, "%dx%dx%d", s.n, s.h, s.w)
	}
	t.Run("start", func(t *testing.T) { composeStart(t, m, seed) })
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Compose{N: 1, H: 4, W: 4, Y: 256, A: 256, Scale: 256, Mask: 256, Out: 256}
		for what, change := range map[string]func(*kernels.Compose){
			"batch": func(c *kernels.Compose) { c.N = 70000 }, "extents": func(c *kernels.Compose) { c.H = 0 },
			"packed by 2": func(c *kernels.Compose) { c.Packed = 2 }, "blocks": func(c *kernels.Compose) { c.Tiles = 256 },
			"mask is null": func(c *kernels.Compose) { c.Mask = 0 }, "out is not aligned": func(c *kernels.Compose) { c.Out = 260 },
			"gain": func(c *kernels.Compose) { c.Gain = 2 }, "scale is null": func(c *kernels.Compose) { c.Scale = 0 },
		} {
			c := good
			change(&c)
			require.ErrorContains(t, c.Enqueue(m), what)
		}
		start := kernels.ComposeStart{
			N: 2, H: 9, W: 9, WindowH: 3, WindowW: 3, Count: 1, Pixels: 256, Best: 256, Fills: 256, Y: 256, A: 256,
		}
		for what, change := range map[string]func(*kernels.ComposeStart){
			"batch": func(s *kernels.ComposeStart) { s.N = 0 }, "image 2 of 2": func(s *kernels.ComposeStart) { s.Image = 2 },
			"window": func(s *kernels.ComposeStart) { s.Left = 7 }, "count": func(s *kernels.ComposeStart) { s.Count = 10 },
			"fills is null":    func(s *kernels.ComposeStart) { s.Fills = 0 },
			"A is not aligned": func(s *kernels.ComposeStart) { s.A = 258 },
			"scale":            func(s *kernels.ComposeStart) { s.Scale = 258 },
		} {
			s := start
			change(&s)
			require.ErrorContains(t, s.Enqueue(m), what)
		}
	})
}

// composeRounding is for four float32 operations on values up to some 10, with fused multiply-adds or without.
var composeRounding = compare.Tolerance{Abs: 4e-6, Rel: 2e-6}

// composeStart: A on a window's pixels is what the twin's lines in engine/refine make it, and subtracting it leaves the fill.
func composeStart(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ n, image, H, W, top, left, h, w, k int }{
		{1, 0, 1, 1, 0, 0, 1, 1, 1}, {3, 2, 40, 53, 7, 11, 33, 29, 6},
	} {
		Case(t, m, seed, func(r *Rig) {
			hw, plane := s.h*s.w, s.H*s.W
			y, fills, scale := r.Normal(s.n*3*plane), r.Normal(s.k*3*hw), r.off(s.n*plane)
			before := r.off(s.n * 3 * plane)
			best := make([]int32, hw)
			var pixels []int32
			for p := range hw {
				best[p] = int32(r.Rand.IntN(s.k))
				if p%3 != 1 {
					pixels = append(pixels, int32(p))
					scale[s.image*plane+(s.top+p/s.w)*s.W+s.left+p%s.w] = 0.2 + r.Rand.Float32()
				}
			}
			mp, mb, mf, my, ms, a := In(r, pixels), In(r, best), In(r, fills), In(r, y), In(r, scale), In(r, before)
			k := kernels.ComposeStart{
				N: s.n, H: s.H, W: s.W, Image: s.image, Top: s.top, Left: s.left, WindowH: s.h, WindowW: s.w,
				Count: len(pixels), Pixels: mp.Ptr, Best: mb.Ptr, Fills: mf.Ptr, Y: my.Ptr, A: a.Ptr,
			}
			for _, k.Scale = range []kernels.Ptr{0, ms.Ptr} {
				r.Run(k.Enqueue, []Array{mp, mb, mf, my, ms}, []Array{a})
				got := a.Read()
				var set, want []float32
				for _, p := range pixels {
					inImage, c := (s.top+int(p)/s.w)*s.W+s.left+int(p)%s.w, float32(1)
					if k.Scale != 0 {
						c = scale[s.image*plane+inImage]
					}
					for ch := range 3 {
						at := (3*s.image+ch)*plane + inImage
						set, want = append(set, got[at]), append(want, (y[at]-fills[(int(best[p])*3+ch)*hw+int(p)])/c)
						got[at] = before[at]
					}
				}
				compare.Require(r.T, "A", set, want, rounding)
				require.Equal(r.T, kernels.Bytes(before), kernels.Bytes(got), "the rest of A")
			}
		}, "%dx%d of %dx%d", s.h, s.w, s.H, s.W)
	}
}

func init() {
	register("compose", Compose)
	registerBench(composeBenchmark("NCHW", 0), composeBenchmark("NHWC", 3), composeBenchmark("NHWC, 4 values", 4))
}

func composeBenchmark(name string, packed int) Bench {
	const n, h, w = 32, 512, 512
	return Bench{
		Kernel: "compose", Size: "32 x 3 x 512 x 512, all active, " + name, Peer: "compose",
		Params: map[string]int{"n": n, "h": h, "w": w, "packed": packed},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			c := kernels.Compose{N: n, H: h, W: w, Packed: packed}
			for _, a := range []struct {
				p   *kernels.Ptr
				put func() (kernels.Ptr, error)
			}{
				{&c.Y, func() (kernels.Ptr, error) { return b.Normal(3*n*h*w, 0, 1) }},
				{&c.A, func() (kernels.Ptr, error) { return b.Normal(3*n*h*w, 0, 1) }},
				{&c.Scale, func() (kernels.Ptr, error) { return b.Normal(n*h*w, 1, 0.1) }},
				{&c.Mask, func() (kernels.Ptr, error) { return stepMask(b, stepSquares(n, h, w, h)) }},
				{&c.Gain, func() (kernels.Ptr, error) { return b.Normal(3*n, 1, 0.1) }},
				{&c.Shift, func() (kernels.Ptr, error) { return b.Normal(3*n, 0, 1) }},
				{&c.Out, func() (kernels.Ptr, error) { return b.Alloc(n * h * w * max(packed, 3)) }},
			} {
				var err error
				if *a.p, err = a.put(); err != nil {
					return nil, kernels.Cost{}, err
				}
			}
			return c.Enqueue, c.Cost(n * h * w), nil
		},
	}
}
