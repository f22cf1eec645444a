package kernels

import (
	"fmt"
	"math"
	"slices"
)

// What a GPU's units give at most, for other kernels to be measured against. The kernels do no useful work, but work with a
// result that can be checked.

// CeilingCopy copies N values from In to Out, 16 bytes at a time; N is a multiple of 4096.
type CeilingCopy struct {
	N       int
	In, Out Ptr
}

// CeilingRead adds up each CeilingReadBlock values of In [N]: Out [N/CeilingReadBlock].
type CeilingRead struct {
	N       int
	In, Out Ptr
}

// CeilingReadBlock is how many values a sum of CeilingRead has.
const CeilingReadBlock = 1 << 14

// CeilingFMA replaces x by A x + B, Rounds times, 8 values a thread: In and Out are [256 Blocks], thread t starts from In[t],
// In[t]+1 ... In[t]+7, and Out[t] is the sum of what they become.
type CeilingFMA struct {
	Blocks, Rounds int
	A, B           float32
	In, Out        Ptr
}

// CeilingTensor adds the product of two matrices to an accumulator of float32, Rounds times, on the tensor cores. A [64,8]
// and B [32,8], transposed, are words of two bfloat16 (Precision "bf16"), two float16 ("f16") or one value as tf32 ("tf32"); each of
// a block's 8 warps writes Out [Blocks,8,64,32] = Rounds A B.
type CeilingTensor struct {
	Blocks, Rounds int
	Precision      string
	A, B, Out      Ptr
}

// Enqueue launches the kernel.
func (c CeilingCopy) Enqueue(q Queue) error {
	return ceilingStream(q, "ceiling_copy", c.N, 4096, 0, c.In, c.Out)
}

// Enqueue launches the kernel.
func (c CeilingRead) Enqueue(q Queue) error {
	return ceilingStream(q, "ceiling_read", c.N, CeilingReadBlock, 8*4, c.In, c.Out)
}

func ceilingStream(q Queue, kernel string, n, block, shared int, in, out Ptr) error {
	if n < 1 || n%block != 0 || n/block > math.MaxInt32 {
		return fmt.Errorf("kernels: %s: %d values, want a multiple of %d", kernel, n, block)
	}
	if err := aligned(kernel, 16, named{"in", in}, named{"out", out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "ceiling", Kernel: kernel, Grid: [3]int{n / block}, Block: 256, Shared: shared, Args: []Arg{in.Arg(), out.Arg()},
	})
}

// Enqueue launches the kernel.
func (c CeilingFMA) Enqueue(q Queue) error {
	if err := ceilingWork("ceiling_fma", c.Blocks, c.Rounds); err != nil {
		return err
	}
	if err := aligned("ceiling_fma", 16, named{"in", c.In}, named{"out", c.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "ceiling", Kernel: "ceiling_fma", Grid: [3]int{c.Blocks}, Block: 256,
		Args: []Arg{c.In.Arg(), Float(c.A), Float(c.B), Int(c.Rounds), c.Out.Arg()},
	})
}

// Enqueue launches the kernel.
func (c CeilingTensor) Enqueue(q Queue) error {
	kernel := "ceiling_" + c.Precision
	if !slices.Contains([]string{"bf16", "f16", "tf32"}, c.Precision) {
		return fmt.Errorf("kernels: ceiling: no products of precision %q", c.Precision)
	}
	if err := ceilingWork(kernel, c.Blocks, c.Rounds); err != nil {
		return err
	}
	if err := aligned(kernel, 16, named{"A", c.A}, named{"B", c.B}, named{"out", c.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "ceiling", Kernel: kernel, Grid: [3]int{c.Blocks}, Block: 256,
		Args: []Arg{c.A.Arg(), c.B.Arg(), Int(c.Rounds), c.Out.Arg()},
	})
}

func ceilingWork(kernel string, blocks, rounds int) error {
	if blocks < 1 || blocks > 1<<20 {
		return fmt.Errorf("kernels: %s: %d blocks, want 1 to %d", kernel, blocks, 1<<20)
	}
	if rounds < 1 || rounds > math.MaxInt32 {
		return fmt.Errorf("kernels: %s: %d rounds, want 1 to %d", kernel, rounds, math.MaxInt32)
	}
	return nil
}

// Cost is that of one launch.
func (c CeilingCopy) Cost() Cost { return Cost{Bytes: 8 * int64(c.N)} }

// Cost is that of one launch.
func (c CeilingRead) Cost() Cost {
	return Cost{Bytes: 4*int64(c.N) + 4*int64(c.N/CeilingReadBlock), Flops: int64(c.N)}
}

// Cost is that of one launch.
func (c CeilingFMA) Cost() Cost {
	threads := 256 * int64(c.Blocks)
	return Cost{Bytes: 8 * threads, Flops: threads * 16 * (int64(c.Rounds) + 1)}
}

// Cost is that of one launch.
func (c CeilingTensor) Cost() Cost {
	warps, deep := 8*int64(c.Blocks), int64(16)
	if c.Precision == "tf32" {
		deep = 8
	}
	return Cost{
		Bytes: 4*(64+32)*8 + 4*64*32*warps, TensorFlops: warps * 64 * 32 * 2 * deep * int64(c.Rounds), Tensor: c.Precision,
	}
}
