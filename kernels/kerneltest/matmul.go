package kerneltest

import (
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// MatMul tests the kernel matmul against loops in float64, with matrices that lie in all four ways and are shared.
func MatMul(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ images, batch, m, n, k int }{{1, 1, 1, 1, 1}, {2, 3, 70, 5, 17}, {3, 1, 9, 130, 33}, {1, 2, 64, 64, 16}} {
		Case(t, m, seed, func(r *Rig) {
			a, b, bias := r.Normal(s.images*s.batch*s.m*s.k), r.Normal(s.batch*s.k*s.n), r.Normal(s.n)
			places := make([]int32, 2*s.batch)
			for z := range s.batch {
				places[2*z], places[2*z+1] = int32(z*s.m*s.k), int32((s.batch-1-z)*s.k*s.n)
			}
			ma, mb, mp, mc := In(r, a), In(r, b), In(r, places), In(r, bias)
			out := Out[float32](r, s.images*s.batch*s.m*s.n)
			for _, turned := range []bool{false, true} {
				k := kernels.MatMul{
					Images: s.images, Batch: s.batch, M: s.m, N: s.n, K: s.k, A: ma.Ptr, B: mb.Ptr, AImage: s.batch * s.m * s.k,
					AM: s.k, AK: 1, BK: s.n, BN: 1, Places: mp.Ptr, Bias: mc.Ptr, Out: out.Ptr,
				}
				if turned {
					k.AM, k.AK, k.BK, k.BN, k.Bias = 1, s.m, 1, s.k, 0
				}
				r.Run(k.Enqueue, []Array{ma, mb, mp, mc}, []Array{out})
				want := make([]float64, s.images*s.batch*s.m*s.n)
				for o := range want {
					j, i, z, image := o%s.n, o/s.n%s.m, o/s.n/s.m%s.batch, o/s.n/s.m/s.batch
					if !turned {
						want[o] = float64(bias[j])
					}
					for l := range s.k {
						x := a[image*k.AImage+int(places[2*z])+i*k.AM+l*k.AK]
						want[o] += float64(x) * float64(b[int(places[2*z+1])+l*k.BK+j*k.BN])
					}
				}
				compare.Require(r.T, "y", out.Read(), want, convFloat32)
			}
		}, "%v", s)
	}
	t.Run("refuses", func(t *testing.T) {
		require.ErrorContains(t, kernels.MatMul{Images: 1, Batch: 1, M: 1, N: 1, A: 4, B: 4, Places: 4, Out: 4}.Enqueue(m), "1x0x1")
		require.ErrorContains(t, kernels.MatMul{Images: 1, Batch: 1, M: 1, N: 1, K: 1, A: 4, B: 4, Out: 4}.Enqueue(m), "places is null")
	})
}

func init() {
	register("matmul", MatMul)
	const images, heads, tokens, width = 32, 12, 197, 64
	registerBench(Bench{
		Kernel: "matmul", Size: "384 of 197 x 64 x 197", Params: map[string]int{"batch": images * heads, "m": tokens, "n": tokens, "k": width},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			const matrix = tokens * width
			k := kernels.MatMul{
				Images: images, Batch: heads, M: tokens, N: tokens, K: width, AImage: heads * matrix, BImage: heads * matrix,
				AM: width, AK: 1, BK: 1, BN: width,
			}
			places := make([]int32, 0, 2*heads)
			for z := range int32(heads) {
				places = append(places, z*matrix, z*matrix)
			}
			return setUp(b, k.Cost(), func() func(kernels.Queue) error { return k.Enqueue },
				memory{&k.A, func() (kernels.Ptr, error) { return b.Normal(images*heads*matrix, 0, 1) }},
				memory{&k.B, func() (kernels.Ptr, error) { return b.Normal(images*heads*matrix, 0, 1) }},
				memory{&k.Places, func() (kernels.Ptr, error) { return Put(b, places) }},
				memory{&k.Out, func() (kernels.Ptr, error) { return b.Alloc(images * heads * tokens * tokens) }})
		},
	})
}
