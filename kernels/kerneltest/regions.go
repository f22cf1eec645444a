package kerneltest

import (
	"slices"
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Regions tests the kernels of regions: what is put comes back, and everything else stays as it is.
func Regions(t *testing.T, m kernels.Machine, seed uint64) {
	for _, s := range []struct{ n, h, w, count int }{{1, 1, 1, 1}, {3, 21, 34, 700}} {
		Case(t, m, seed, func(r *Rig) {
			hw := s.h * s.w
			at := make([]int32, 0, s.count)
			for _, p := range r.Rand.Perm(s.n * hw)[:s.count] {
				at = append(at, int32(p))
			}
			list := r.Normal(kernels.RegionsPut * s.count)
			mask := make([]uint8, s.n*hw)
			planes := [][]float32{r.Normal(s.n * hw), r.Normal(3 * s.n * hw), r.Normal(3 * s.n * hw), r.Normal(s.n * hw), r.Normal(s.n * hw)}
			ma, ml, mm := In(r, at), In(r, list), In(r, mask)
			k := kernels.Regions{N: s.n, H: s.h, W: s.w, Count: s.count, At: ma.Ptr, List: ml.Ptr, Mask: mm.Ptr}
			var ms []*Memory[float32]
			out := []Array{mm}
			for i, p := range []*kernels.Ptr{&k.Scale, &k.A, &k.M, &k.V, &k.Sum} {
				ms = append(ms, In(r, planes[i]))
				*p = ms[i].Ptr
				out = append(out, ms[i])
			}
			r.Run(k.Put, []Array{ma, ml}, out)
			for i, p := range at {
				mask[p] = 1
				line := 0
				for j, plane := range planes {
					for c := range len(plane) / s.n / hw {
						plane[(int(p)/hw*(len(plane)/s.n/hw)+c)*hw+int(p)%hw] = list[line*s.count+i]
						line++
					}
					require.Equal(r.T, len(planes[j]), ms[j].Len)
				}
			}
			require.Equal(r.T, mask, mm.Read())
			var held []Array
			for j, plane := range planes {
				require.Equal(r.T, plane, ms[j].Read(), "plane %d", j)
				held = append(held, In(r, plane))
				*[]*kernels.Ptr{&k.Scale, &k.A, &k.M, &k.V, &k.Sum}[j] = held[j].(*Memory[float32]).Ptr
			}
			back := Out[float32](r, kernels.RegionsGet*s.count)
			k.List = back.Ptr
			r.Run(k.Get, slices.Concat(held, []Array{ma}), []Array{back})
			require.Equal(r.T, list[s.count:], back.Read())
		}, "%d pixels of %d of %dx%d", s.count, s.n, s.h, s.w)
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Regions{N: 1, H: 4, W: 4, Count: 3, At: 4, List: 4, Mask: 4, Scale: 4, A: 4, M: 4, V: 4, Sum: 4}
		for what, change := range map[string]func(*kernels.Regions){
			"extents": func(k *kernels.Regions) { k.H = 0 }, "17 pixels": func(k *kernels.Regions) { k.Count = 17 },
			"at is null": func(k *kernels.Regions) { k.At = 0 }, "M is null": func(k *kernels.Regions) { k.M = 0 },
		} {
			k := good
			change(&k)
			require.ErrorContains(t, k.Put(m), what)
			require.ErrorContains(t, k.Get(m), what)
		}
		good.Mask = 0
		require.ErrorContains(t, good.Put(m), "mask is null")
	})
}

func init() {
	register("regions", Regions)
	const n, side, share = 32, 512, 8
	for _, put := range []bool{true, false} {
		name, values := "back", kernels.RegionsGet
		if put {
			name, values = "there", kernels.RegionsPut
		}
		registerBench(Bench{
			Kernel: "regions", Size: "an eighth of 32 x 512 x 512, " + name, Params: map[string]int{"n": n, "side": side},
			Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
				at := make([]int32, n*side*side/share)
				for i := range at {
					at[i] = int32(i/64*64*share + i%64)
				}
				k := kernels.Regions{N: n, H: side, W: side, Count: len(at)}
				planes := func(each int) func() (kernels.Ptr, error) {
					return func() (kernels.Ptr, error) { return b.Normal(each*n*side*side, 0, 1) }
				}
				return setUp(b, k.Cost(put), func() func(kernels.Queue) error {
					if put {
						return k.Put
					}
					return k.Get
				},
					memory{&k.At, func() (kernels.Ptr, error) { return Put(b, at) }},
					memory{&k.List, func() (kernels.Ptr, error) { return b.Normal(values*len(at), 0, 1) }},
					memory{&k.Mask, func() (kernels.Ptr, error) { return b.Alloc(n * side * side / 4) }},
					memory{&k.Scale, planes(1)}, memory{&k.A, planes(3)}, memory{&k.M, planes(3)}, memory{&k.V, planes(1)}, memory{&k.Sum, planes(1)})
			},
		})
	}
}
