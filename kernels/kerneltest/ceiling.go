package kerneltest

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"
	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

// Tolerances of what only measures a GPU's units.
var (
	// ceilingSum: sums of 16384 values of either sign around 1, a few hundred, in 64 parts a thread and then by threads.
	ceilingSum = compare.Tolerance{Abs: 1e-3, Rel: 1e-6}
	// ceilingFMA: 8 values up to 10 whose error shrinks in every round.
	ceilingFMA = compare.Tolerance{Abs: 2e-5, Rel: 1e-6}
	// ceilingTensor: the products are exact in float32, each of up to 13 rounds adds 16 of size 1 to 8 by the hardware's own
	// rounding.
	ceilingTensor = compare.Tolerance{Abs: 2e-4, Rel: 1e-5}
)

// Ceiling tests the kernels of ceiling.
func Ceiling(t *testing.T, m kernels.Machine, seed uint64) {
	for _, blocks := range []int{1, 3, 64} {
		Case(t, m, seed, func(r *Rig) {
			v := r.Normal(blocks * 4096)
			in, out := In(r, v), Out[float32](r, len(v))
			r.Run(kernels.CeilingCopy{N: len(v), In: in.Ptr, Out: out.Ptr}.Enqueue, []Array{in}, []Array{out})
			require.Equal(r.T, v, out.Read())
		}, "copy %d blocks", blocks)
	}
	for _, blocks := range []int{1, 5} {
		Case(t, m, seed, func(r *Rig) {
			v, want := r.Normal(blocks*kernels.CeilingReadBlock), make([]float32, blocks)
			for b := range want {
				sum := 0.0
				for _, x := range v[b*kernels.CeilingReadBlock:][:kernels.CeilingReadBlock] {
					sum += float64(x)
				}
				want[b] = float32(sum)
			}
			in, out := In(r, v), Out[float32](r, blocks)
			r.Run(kernels.CeilingRead{N: len(v), In: in.Ptr, Out: out.Ptr}.Enqueue, []Array{in}, []Array{out})
			compare.Require(r.T, "sums", out.Read(), want, ceilingSum)
		}, "read %d blocks", blocks)
	}
	for _, c := range []struct{ blocks, rounds int }{{1, 1}, {1, 16}, {3, 37}} {
		Case(t, m, seed, func(r *Rig) {
			const a, b = -0.9, 0.3
			v, want := r.Normal(256*c.blocks), make([]float32, 256*c.blocks)
			for i, x := range v {
				sum := 0.0
				for k := range 8 {
					y := float64(x) + float64(k)
					for range c.rounds {
						y = float64(float32(a))*y + float64(float32(b))
					}
					sum += y
				}
				want[i] = float32(sum)
			}
			in, out := In(r, v), Out[float32](r, len(v))
			f := kernels.CeilingFMA{Blocks: c.blocks, Rounds: c.rounds, A: a, B: b, In: in.Ptr, Out: out.Ptr}
			r.Run(f.Enqueue, []Array{in}, []Array{out})
			compare.Require(r.T, "sums", out.Read(), want, ceilingFMA)
		}, "fma %d blocks %d rounds", c.blocks, c.rounds)
	}
	for _, precision := range []string{"bf16", "f16", "tf32"} {
		for _, c := range []struct{ blocks, rounds int }{{1, 1}, {2, 13}} {
			Case(t, m, seed, func(r *Rig) {
				a, av := operands(r, 64, precision)
				b, bv := operands(r, 32, precision)
				deep, want := len(av)/64, make([]float32, c.blocks*8*64*32)
				for i := range want {
					row, col, sum := i/32%64, i%32, 0.0
					for k := range deep {
						sum += av[row*deep+k] * bv[col*deep+k]
					}
					want[i] = float32(float64(c.rounds) * sum)
				}
				A, B, out := In(r, a), In(r, b), Out[float32](r, len(want))
				p := kernels.CeilingTensor{Blocks: c.blocks, Rounds: c.rounds, Precision: precision, A: A.Ptr, B: B.Ptr, Out: out.Ptr}
				r.Run(p.Enqueue, []Array{A, B}, []Array{out})
				compare.Require(r.T, "product", out.Read(), want, ceilingTensor)
			}, "%s %d blocks %d rounds", precision, c.blocks, c.rounds)
		}
	}
	t.Run("refuses", func(t *testing.T) {
		for what, enqueue := range map[string]func(kernels.Queue) error{
			"multiple of 4096":  kernels.CeilingCopy{N: 4095, In: 256, Out: 512}.Enqueue,
			"multiple of 16384": kernels.CeilingRead{N: 0, In: 256, Out: 512}.Enqueue,
			"in is null":        kernels.CeilingCopy{N: 4096, Out: 512}.Enqueue,
			"out is not":        kernels.CeilingRead{N: 16384, In: 256, Out: 516}.Enqueue,
			"0 blocks":          kernels.CeilingFMA{Rounds: 1, In: 256, Out: 512}.Enqueue,
			"0 rounds":          kernels.CeilingTensor{Precision: "f16", Blocks: 1, A: 256, B: 256, Out: 512}.Enqueue,
			"B is not":          kernels.CeilingTensor{Precision: "tf32", Blocks: 1, Rounds: 1, A: 256, B: 260, Out: 512}.Enqueue,
			`precision "fp8"`:   kernels.CeilingTensor{Precision: "fp8", Blocks: 1, Rounds: 1, A: 256, B: 256, Out: 512}.Enqueue,
		} {
			require.ErrorContains(t, enqueue(m), what)
		}
	})
}

// operands returns 8 words a row for the tensor cores, and the values in them.
func operands(r *Rig, rows int, precision string) (words []uint32, values []float64) {
	words = make([]uint32, 8*rows)
	for i := range words {
		if precision == "tf32" {
			words[i] = math.Float32bits(float32(r.Rand.NormFloat64())) &^ (1<<13 - 1)
			values = append(values, float64(math.Float32frombits(words[i])))
			continue
		}
		for half := range 2 {
			v := float32(r.Rand.NormFloat64())
			bits := math.Float32bits(v) >> 16
			value := math.Float32frombits(bits << 16)
			if precision == "f16" {
				bits = uint32(kernels.Float16(v))
				value = kernels.FromFloat16(uint16(bits))
			}
			words[i] |= bits << (16 * half)
			values = append(values, float64(value))
		}
	}
	return words, values
}

func init() { register("ceiling", Ceiling) }
