package kerneltest

import (
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// compared is for the mean of some hundred squares of values around 1 less the square of their mean, in float32.
var compared = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

// FillSearch tests the kernels of fill_search against refine's host.
func FillSearch(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct {
		name          string
		n, h, w, c    int
		smooth        float64
		rings, shifts int
		normals       [][3]int
	}{
		{"one pixel", 1, 1, 1, 1, 1, 1, 1, nil},
		{"grey", 2, 40, 52, 1, 1, 3, 37, [][3]int{{1, 40, 52}, {1, 44, 60}}},
		{"colour", 3, 33, 47, 3, 1.3, 2, 130, [][3]int{{3, 33, 47}, {1, 33, 47}, {3, 61, 49}}},
		{"not blurred", 1, 24, 24, 3, 0, 2, 5, [][3]int{{3, 24, 24}}},
		{"normal images alone", 1, 24, 24, 3, 1, 1, 0, [][3]int{{3, 24, 24}, {1, 30, 24}}},
	} {
		Case(t, m, seed, func(r *Rig) {
			g := pixel.NewGaussian(s.smooth)
			k := kernels.FillSearch{Blur: g.Taps()}
			var bytes []Array
			var normals []*refine.Normal
			for _, n := range s.normals {
				data := make([]uint8, n[0]*n[1]*n[2])
				for i := range data {
					data[i] = uint8(r.Rand.IntN(256))
				}
				normal, err := refine.NewNormal(data, n[0], n[1], n[2])
				require.NoError(r.T, err)
				mb := In(r, data)
				normals, bytes = append(normals, normal), append(bytes, mb)
				k.Normals = append(k.Normals, kernels.SearchNormal{C: n[0], H: n[1], W: n[2], Bytes: mb.Ptr})
			}
			searches := make([]refine.Search, s.n)
			var pixels, candidates []int32
			var images []float32
			for i := range searches {
				search := refine.Search{Y: r.Normal(s.c * s.h * s.w), H: s.h, W: s.w, Blur: g, MeanShare: 0.7 + float64(i)/10}
				blurred := slices.Clone(search.Y)
				for c := range s.c {
					g.Blur(blurred[c*s.h*s.w:(c+1)*s.h*s.w], s.h, s.w, make([]float32, g.Scratch(s.h, s.w)))
				}
				for j := range s.rings {
					ring := refine.Ring{Box: pixel.Box{Y1: s.h, X1: s.w}}
					lo, hi := int32(s.h*s.w/3), int32(s.h*s.w*2/3) // shifts of up to a third of the image stay within it
					for range min(1+37*j+100*i, s.h*s.w) {
						ring.Pixels = append(ring.Pixels, lo+r.Rand.Int32N(max(hi-lo, 1)))
					}
					slices.Sort(ring.Pixels)
					for range s.shifts + j {
						ring.Shifts = append(ring.Shifts, r.Rand.Int32N(2*lo+1)-lo)
					}
					one := kernels.SearchRing{
						Pixels: len(ring.Pixels), Shifts: len(ring.Shifts), Image: len(images), Channels: s.c, H: s.h, W: s.w, MeanShare: search.MeanShare,
					}
					pixels, candidates = append(pixels, ring.Pixels...), append(candidates, ring.Shifts...)
					for i, normal := range normals {
						if j != 1 || i != 0 { // not all of them for every ring
							ring.Normals = append(ring.Normals, normal)
							candidates = append(candidates, int32(i))
						}
					}
					one.Normals = len(ring.Normals)
					ring.Costs = make([]float64, len(ring.Shifts)+len(ring.Normals))
					k.Rings, search.Rings = append(k.Rings, one), append(search.Rings, ring)
				}
				searches[i], images = search, append(images, blurred...)
			}
			require.NoError(r.T, refine.Host{}.Costs(searches))
			mt, mp, mc, mi, mg := In(r, k.TableOf()), In(r, pixels), In(r, candidates), In(r, images), In(r, k.Blur)
			costs := Out[float32](r, len(candidates))
			k.Table, k.Pixels, k.Candidates, k.Images, k.Taps, k.Costs = mt.Ptr, mp.Ptr, mc.Ptr, mi.Ptr, mg.Ptr, costs.Ptr
			r.Run(k.Enqueue, append(bytes, mt, mp, mc, mi, mg), []Array{costs})
			got := costs.Read()
			whole := got
			for _, search := range searches {
				for _, ring := range search.Rings {
					compare.Require(r.T, "costs", got[:len(ring.Costs)], ring.Costs, compared)
					got = got[len(ring.Costs):]
				}
			}
			// The last ring's costs are the same whatever else is in the launch.
			last := k
			last.Rings = k.Rings[len(k.Rings)-1:]
			l := last.Rings[0]
			last.Table = In(r, last.TableOf()).Ptr
			last.Pixels, last.Candidates = mp.Ptr.Plus(len(pixels)-l.Pixels), mc.Ptr.Plus(len(candidates)-l.Shifts-l.Normals)
			alone := Out[float32](r, l.Shifts+l.Normals)
			last.Costs = alone.Ptr
			require.NoError(r.T, last.Enqueue(r.M))
			require.Equal(r.T, kernels.Bytes(whole[len(whole)-alone.Len:]), kernels.Bytes(alone.Read()))
		}, "%s", s.name)
	}
	fillSpread(t, m, seed)
	t.Run("refuses", func(t *testing.T) {
		good := kernels.FillSearch{
			Rings: []kernels.SearchRing{{Pixels: 3, Shifts: 1, Channels: 1, H: 5, W: 6}}, Blur: []float32{1},
			Normals: []kernels.SearchNormal{{C: 1, H: 5, W: 6, Bytes: 256}},
			Table:   256, Pixels: 256, Candidates: 256, Images: 256, Taps: 256, Costs: 512,
		}
		for what, change := range map[string]func(k *kernels.FillSearch){
			"0 rings": func(k *kernels.FillSearch) { k.Rings = nil }, "0 pixels": func(k *kernels.FillSearch) { k.Rings[0].Pixels = 0 },
			"no candidates":             func(k *kernels.FillSearch) { k.Rings[0].Shifts = 0 },
			"normal image 0 is [4,5,6]": func(k *kernels.FillSearch) { k.Normals[0].C = 4 },
			"in all":                    func(k *kernels.FillSearch) { k.Rings[0].Image = math.MaxInt32 },
			"0 taps":                    func(k *kernels.FillSearch) { k.Blur = nil }, "images is null": func(k *kernels.FillSearch) { k.Images = 0 },
			"[1,5,6] at 0x0": func(k *kernels.FillSearch) { k.Normals[0].Bytes = 0 }, "costs is not aligned": func(k *kernels.FillSearch) { k.Costs = 2 },
		} {
			k := good
			k.Rings, k.Normals = slices.Clone(good.Rings), slices.Clone(good.Normals)
			change(&k)
			require.ErrorContains(t, k.Enqueue(m), what)
		}
		spread := kernels.FillSpread{Jobs: []kernels.SpreadJob{{N: 4, K: 2, Share: 0.5}}, Table: 256, Fills: 256, Out: 512}
		for what, change := range map[string]func(k *kernels.FillSpread){
			"0 regions": func(k *kernels.FillSpread) { k.Jobs = nil }, "0 pixels": func(k *kernels.FillSpread) { k.Jobs[0].N = 0 },
			"500 fills": func(k *kernels.FillSpread) { k.Jobs[0].K = 500 }, "at NaN": func(k *kernels.FillSpread) { k.Jobs[0].Share = math.NaN() },
			"in all": func(k *kernels.FillSpread) { k.Jobs[0].N = 1 << 29 }, "fills is null": func(k *kernels.FillSpread) { k.Fills = 0 },
			"out is not aligned": func(k *kernels.FillSpread) { k.Out = 2 },
		} {
			k := spread
			k.Jobs = slices.Clone(spread.Jobs)
			change(&k)
			require.ErrorContains(t, k.Enqueue(m), what)
		}
	})
}

func fillSpread(t *testing.T, m kernels.Machine, seed uint64) {
	Case(t, m, seed, func(r *Rig) {
		var k kernels.FillSpread
		var spreads []refine.Spread
		var all []float32
		for i, j := range []kernels.SpreadJob{
			{N: 1, K: 2, Share: 0.9}, {N: 130, K: 6, Share: 0.9}, {N: 64, K: 3, Share: 0}, {N: 65, K: 5, Share: 1}, {N: 7, K: 1, Share: 0.9},
			{N: 3, K: 0, Share: 0.9}, {N: 20, K: 64, Share: 0.5}, {N: 9, K: 2, Share: 0.3},
		} {
			s := refine.Spread{Share: j.Share, Out: make([]float32, j.N)}
			for a := range j.K {
				fill := r.Normal(3 * j.N)
				for p := range fill {
					fill[p] *= 0.3 // some are farther apart than counts
				}
				if a > 0 && i%2 == 1 && a%2 == 0 {
					copy(fill, s.Fills[0]) // equals
				}
				s.Fills, all = append(s.Fills, fill), append(all, fill...)
			}
			k.Jobs, spreads = append(k.Jobs, j), append(spreads, s)
		}
		require.NoError(r.T, refine.Host{}.Spreads(spreads))
		var want []float32
		capped := 0
		for _, s := range spreads {
			want = append(want, s.Out...)
			for _, v := range s.Out {
				if v == 1 && len(s.Fills) > 1 {
					capped++
				}
			}
		}
		require.Positive(r.T, capped)
		mt, mf, out := In(r, k.TableOf()), In(r, all), Out[float32](r, len(want))
		k.Table, k.Fills, k.Out = mt.Ptr, mf.Ptr, out.Ptr
		r.Run(k.Enqueue, []Array{mt, mf}, []Array{out})
		compare.Require(r.T, "spread", out.Read(), want, rounding)
	}, "spread")
}

func init() {
	register("fill_search", FillSearch)
	const n, h, w, c, rings, ring, shifts, normals = 32, 256, 256, 3, 2, 150, 500, 32
	k := kernels.FillSearch{Blur: pixel.NewGaussian(1).Taps(), Normals: slices.Repeat([]kernels.SearchNormal{{C: c, H: h, W: w}}, normals)}
	for i := range n * rings {
		k.Rings = append(k.Rings, kernels.SearchRing{
			Pixels: ring, Shifts: shifts, Normals: normals, Image: i / rings * c * h * w, Channels: c, H: h, W: w, MeanShare: 0.7,
		})
	}
	spread := kernels.FillSpread{Jobs: slices.Repeat([]kernels.SpreadJob{{N: 2500, K: 6, Share: 0.9}}, n*rings)}
	registerBench(Bench{
		Kernel: "fill_search", Size: "64 rings, 500 shifts, 32 normal images", Params: map[string]int{"rings": n * rings, "shifts": shifts, "normals": normals},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			var pixels, candidates []int32
			for range k.Rings {
				for range ring {
					pixels = append(pixels, int32(h*w/3+b.Rand.IntN(h*w/3)))
				}
				for range shifts {
					candidates = append(candidates, int32(b.Rand.IntN(2*h*w/3)-h*w/3))
				}
				for i := range normals {
					candidates = append(candidates, int32(i))
				}
			}
			k := k
			bytes, err := b.Normal(normals*c*h*w/4, 0, 1)
			if err != nil {
				return nil, kernels.Cost{}, err
			}
			k.Normals = slices.Clone(k.Normals)
			for i := range k.Normals {
				k.Normals[i].Bytes = bytes + kernels.Ptr(i*c*h*w)
			}
			return setUp(b, k.Cost(), func() func(kernels.Queue) error { return k.Enqueue },
				memory{&k.Table, func() (kernels.Ptr, error) { return Put(b, k.TableOf()) }},
				memory{&k.Pixels, func() (kernels.Ptr, error) { return Put(b, pixels) }},
				memory{&k.Candidates, func() (kernels.Ptr, error) { return Put(b, candidates) }},
				memory{&k.Images, func() (kernels.Ptr, error) { return b.Normal(n*c*h*w, 0, 1) }},
				memory{&k.Taps, func() (kernels.Ptr, error) { return Put(b, k.Blur) }},
				memory{&k.Costs, func() (kernels.Ptr, error) { return b.Alloc(len(candidates)) }})
		},
	}, Bench{
		Kernel: "fill_search", Size: "spread of 64 regions of 2500 pixels, 6 fills", Params: map[string]int{"regions": n * rings, "n": 2500, "k": 6},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			k := spread
			return setUp(b, k.Cost(), func() func(kernels.Queue) error { return k.Enqueue },
				memory{&k.Table, func() (kernels.Ptr, error) { return Put(b, k.TableOf()) }},
				memory{&k.Fills, func() (kernels.Ptr, error) { return b.Normal(n*rings*2500*3*6, 0, 1) }},
				memory{&k.Out, func() (kernels.Ptr, error) { return b.Alloc(n * rings * 2500) }})
		},
	})
}
