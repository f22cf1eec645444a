package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/engine/pixel"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// interpolated is for a few hundred products and their quotient in float32, on values around 1, against float64.
var interpolated = compare.Tolerance{Abs: 2e-5, Rel: 2e-5}

// NormConv tests the kernel norm_conv.
func NormConv(t *testing.T, m kernels.Machine, seed uint64) {
	for _, jobs := range [][]kernels.NormConvJob{
		{{N: 1, M: 1, C: 1, W: 50, Sigma: 3}},
		{{N: 150, M: 300, C: 18, W: 90, Sigma: 6}},
		// Many sizes; no samples; and samples so far away that float32 has no weights for them, or float64 has none.
		{{N: 129, M: 257, C: 7, W: 64, Sigma: 3}, {N: 0, M: 5, C: 3, W: 64, Sigma: 3}, {N: 7, M: 130, C: 6, W: 150, Sigma: 5},
			{N: 3, M: 9, C: 2, W: 1000, Sigma: 1}, {N: 256, M: 128, C: 12, W: 33, Sigma: 0.75}},
	} {
		Case(t, m, seed, func(r *Rig) {
			k := kernels.NormConv{Jobs: jobs}
			size, nv, nout := k.Sizes()
			pixels, v := make([]int32, 0, size), r.Normal(nv)
			for i, j := range jobs {
				for range j.N + j.M {
					pixels = append(pixels, int32(r.Rand.IntN(20*j.W)))
				}
				if i == 3 { // samples at the left, results in the middle and at the right
					for a := range j.N {
						pixels[len(pixels)-j.M-j.N+a] = int32(a * j.W)
					}
					for b := range j.M {
						pixels[len(pixels)-j.M+b] = int32(5*j.W + 20 + 40*b)
					}
				}
			}
			mt, mp, mv, out := In(r, k.TableOf()), In(r, pixels), In(r, v), Out[float32](r, nout)
			k.Table, k.Pixels, k.V, k.Out = mt.Ptr, mp.Ptr, mv.Ptr, out.Ptr
			r.Run(k.Enqueue, []Array{mt, mp, mv}, []Array{out})
			got, ats, vs := out.Read(), pixels, v
			for i, j := range jobs {
				want := make([]float32, j.M*j.C)
				pixel.NormConv(vs[:j.N*j.C], ats[:j.N], ats[j.N:j.N+j.M], j.W, j.C, j.Sigma, want)
				compare.Require(r.T, "out", got[:len(want)], want, interpolated)
				if i == 3 {
					require.NotZero(r.T, want[0])
					require.Zero(r.T, want[len(want)-1])
				}
				got, ats, vs = got[len(want):], ats[j.N+j.M:], vs[j.N*j.C:]
			}
		}, "%d jobs of up to %d samples", len(jobs), jobs[0].N)
	}
	// What is found for a job is the same whatever else is in the launch.
	Case(t, m, seed, func(r *Rig) {
		jobs := []kernels.NormConvJob{{N: 40, M: 200, C: 9, W: 40, Sigma: 4}, {N: 150, M: 20, C: 3, W: 40, Sigma: 2}}
		run := func(jobs []kernels.NormConvJob, pixels []int32, v []float32) []float32 {
			k := kernels.NormConv{Jobs: jobs}
			_, _, n := k.Sizes()
			out := Out[float32](r, n)
			k.Table, k.Pixels, k.V, k.Out = In(r, k.TableOf()).Ptr, In(r, pixels).Ptr, In(r, v).Ptr, out.Ptr
			require.NoError(r.T, k.Enqueue(r.M))
			return out.Read()
		}
		pixels, v := make([]int32, 240+170), r.Normal(40*9+150*3)
		for i := range pixels {
			pixels[i] = int32(r.Rand.IntN(1600))
		}
		both := run(jobs, pixels, v)
		require.Equal(r.T, kernels.Bytes(both[200*9:]), kernels.Bytes(run(jobs[1:], pixels[240:], v[40*9:])))
	}, "alone")
	t.Run("refuses", func(t *testing.T) {
		good := kernels.NormConv{Jobs: []kernels.NormConvJob{{N: 1, M: 2, C: 3, W: 4, Sigma: 5}}, Table: 256, Pixels: 256, V: 256, Out: 512}
		for what, change := range map[string]func(k *kernels.NormConv){
			"0 jobs": func(k *kernels.NormConv) { k.Jobs = nil }, "sigma of 0": func(k *kernels.NormConv) { k.Jobs[0].Sigma = 0 },
			"sigma of NaN":      func(k *kernels.NormConv) { k.Jobs[0].Sigma = math.NaN() },
			"for 0 pixels":      func(k *kernels.NormConv) { k.Jobs[0].M = 0 },
			"in all":            func(k *kernels.NormConv) { k.Jobs[0].M = 1 << 30 },
			"v is null":         func(k *kernels.NormConv) { k.V = 0 },
			"out is not aligne": func(k *kernels.NormConv) { k.Out = 2 },
		} {
			k := good
			k.Jobs = append([]kernels.NormConvJob(nil), good.Jobs...)
			change(&k)
			require.ErrorContains(t, k.Enqueue(m), what)
		}
	})
}

func init() {
	register("norm_conv", NormConv)
	const regions, n, pixels, c = 64, 150, 2500, 18
	registerBench(Bench{
		Kernel: "norm_conv", Size: "64 regions of 2500 pixels, 18 channels", Params: map[string]int{"regions": regions, "n": n, "m": pixels, "c": c},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			k := kernels.NormConv{}
			var at []int32
			for range regions {
				k.Jobs = append(k.Jobs, kernels.NormConvJob{N: n, M: pixels, C: c, W: 256, Sigma: 20})
				for range n + pixels {
					at = append(at, int32(b.Rand.IntN(256*256)))
				}
			}
			return setUp(b, k.Cost(), func() func(kernels.Queue) error { return k.Enqueue },
				memory{&k.Table, func() (kernels.Ptr, error) { return Put(b, k.TableOf()) }},
				memory{&k.Pixels, func() (kernels.Ptr, error) { return Put(b, at) }},
				memory{&k.V, func() (kernels.Ptr, error) { return b.Normal(regions*n*c, 0, 1) }},
				memory{&k.Out, func() (kernels.Ptr, error) { return b.Alloc(regions * pixels * c) }})
		},
	})
}
