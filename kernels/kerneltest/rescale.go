package kerneltest

import (
	"math"
	"slices"
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Rescale tests the kernels of rescale against math.Frexp, to the bit: powers of two are exact.
func Rescale(t *testing.T, m kernels.Machine, seed uint64) {
	const images = 8
	for _, elements := range [][]int{{1}, {5000, 300}, {4096, 1, 9000}} {
		for _, limit := range []int{-4, 3} {
			Case(t, m, seed, func(r *Rig) {
				var values [][]float32
				for _, n := range elements {
					values = append(values, r.Normal(images*n))
				}
				last := values[len(values)-1]
				n := len(last) / images
				image := func(i int) []float32 { return last[i*n:][:n] }
				zero := func(i int) {
					for k, v := range values {
						clear(v[i*elements[k]:][:elements[k]])
					}
				}
				zero(1)
				image(2)[n-1] = float32(math.Inf(-1))
				image(3)[n-1] = float32(math.NaN())
				zero(4)
				image(4)[n-1] = 0x1p-149 // subnormal
				image(5)[n-1] = -math.MaxFloat32
				zero(6)
				image(6)[n-1] = -0x1p5                                 // a power of two itself
				values[0][7*elements[0]+min(elements[0], 4096)-1] = 77 // the last of a block
				k := kernels.Rescale{Images: images, Limit: limit}
				powers := Out[float32](r, images)
				magnitudes := Out[uint32](r, images*kernels.RescaleBlocks(elements...))
				k.Magnitudes, k.Powers = magnitudes.Ptr, powers.Ptr
				var arrays []Array
				for i, v := range values {
					a := In(r, v)
					arrays = append(arrays, a)
					k.Arrays = append(k.Arrays, kernels.RescaleArray{X: a.Ptr, Elements: elements[i]})
				}
				r.Run(k.Enqueue, nil, append(slices.Clone(arrays), powers))
				got := powers.Read()
				for i := range images {
					most := 0.0
					for j, v := range values {
						for _, x := range v[i*elements[j]:][:elements[j]] {
							most = max(most, math.Abs(float64(x))) // NaN stays
						}
					}
					want := 1.0
					if most-most != 0 {
						want = 0
					} else if most > 0 {
						_, e := math.Frexp(math.Ldexp(1, limit) / most)
						want = math.Ldexp(1, min(max(e-1, -126), 126))
					}
					require.EqualValues(r.T, want, got[i], "image %d, whose largest is %g", i, most)
					for j, v := range values {
						now := arrays[j].(*Memory[float32]).Read()
						for e := i * elements[j]; e < (i+1)*elements[j]; e++ {
							scaled := v[e]
							if want != 0 {
								scaled *= float32(want)
							}
							require.Equal(r.T, math.Float32bits(scaled), math.Float32bits(now[e]))
						}
					}
				}
				// And back, where nothing was too small for float32.
				first := arrays[0].(*Memory[float32])
				scaled := In(r, first.Read())
				held := In(r, got)
				k.Powers = held.Ptr
				back := func(q kernels.Queue) error {
					return k.Back(q, kernels.RescaleArray{X: scaled.Ptr, Elements: elements[0]})
				}
				r.Run(back, []Array{held}, []Array{scaled})
				for i, v := range scaled.Read() {
					if i/elements[0] != 5 {
						require.Equal(r.T, math.Float32bits(values[0][i]), math.Float32bits(v), "value %d", i)
					}
				}
			}, "%v to 2^%d", elements, limit)
		}
	}
	t.Run("refuses", func(t *testing.T) {
		good := kernels.Rescale{Images: 1, Arrays: []kernels.RescaleArray{{X: 4, Elements: 1}}, Magnitudes: 4, Powers: 4}
		for what, change := range map[string]func(*kernels.Rescale){
			"0 arrays": func(k *kernels.Rescale) { k.Arrays = nil }, "to 2^200": func(k *kernels.Rescale) { k.Limit = 200 },
			"batch": func(k *kernels.Rescale) { k.Images = 0 }, "x is null": func(k *kernels.Rescale) { k.Arrays = []kernels.RescaleArray{{Elements: 1}} },
			"powers is null": func(k *kernels.Rescale) { k.Powers = 0 }, "magnitudes is null": func(k *kernels.Rescale) { k.Magnitudes = 0 },
		} {
			k := good
			change(&k)
			require.ErrorContains(t, k.Enqueue(m), what)
		}
		require.ErrorContains(t, good.Back(m, kernels.RescaleArray{Elements: 3}), "x is null")
	})
}

func init() {
	register("rescale", Rescale)
	const images, elements = 64, 1 << 18
	registerBench(Bench{
		Kernel: "rescale", Size: "64 x 262144", Params: map[string]int{"images": images, "elements": elements},
		Setup: func(b *Bed) (func(kernels.Queue) error, kernels.Cost, error) {
			k := kernels.Rescale{Images: images, Arrays: []kernels.RescaleArray{{Elements: elements}}, Limit: -4}
			return setUp(b, k.Cost(), func() func(kernels.Queue) error { return k.Enqueue },
				memory{&k.Arrays[0].X, func() (kernels.Ptr, error) { return b.Normal(images*elements, 0, 1) }},
				memory{&k.Magnitudes, func() (kernels.Ptr, error) { return b.Alloc(images * kernels.RescaleBlocks(elements)) }},
				memory{&k.Powers, func() (kernels.Ptr, error) { return b.Alloc(images) }})
		},
	})
}
