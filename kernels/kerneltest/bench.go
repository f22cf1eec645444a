package kerneltest

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"f2pad.example/kernels"
)

// Bench is a kernel at a size worth measuring.
type Bench struct {
	Kernel string
	Size   string         // "3136 x 550, batch 16"
	Peer   string         // the function of bench/peers/gpu_torch.py that does the same; "" if there is none
	Params map[string]int // sizes, as the peer takes them
	// Setup puts random data on the machine and returns the work to time and its Cost. What it allocates belongs to the
	// caller of Setup, who frees all of it with Bed.Free.
	Setup func(b *Bed) (work func(q kernels.Queue) error, cost kernels.Cost, err error)
}

var benches []Bench // filled while the program starts, like suites

func registerBench(b ...Bench) { benches = append(benches, b...) }

// Benches lists them by kernel.
func Benches() []Bench {
	all := slices.Clone(benches)
	slices.SortStableFunc(all, func(a, b Bench) int { return cmp.Compare(a.Kernel, b.Kernel) })
	return all
}

// Bed is memory for benchmarks on a machine.
type Bed struct {
	M    kernels.Machine
	Rand *rand.Rand
	// Small asks Setup for sizes that an emulation is through with in a moment, where the case has such.
	Small bool
	// Check, where Setup sets it, tells whether what the work has written is right.
	Check   func() error
	all     []kernels.Ptr
	cleanup []func() error
}

// Alloc returns memory for n 4-byte values, undefined.
func (b *Bed) Alloc(n int) (kernels.Ptr, error) {
	p, err := b.M.Alloc(4 * n)
	if err == nil {
		b.all = append(b.all, p)
	}
	return p, err
}

// Normal returns n values of mean and spread, a block of random ones repeated with changing offsets: gigabytes are made in
// moments, and nothing that a cache or a compressor could take advantage of.
func (b *Bed) Normal(n int, mean, spread float32) (kernels.Ptr, error) {
	p, err := b.Alloc(n)
	if err != nil {
		return 0, err
	}
	return p, repeat(b.M, p, b.block(n, mean, spread), n)
}

// block is what Normal repeats.
func (b *Bed) block(n int, mean, spread float32) []float32 {
	block := make([]float32, min(n, 1<<20+17))
	for i := range block {
		block[i] = mean + spread*float32(b.Rand.NormFloat64())
	}
	return block
}

// repeat writes n values: value i is block[i%len(block)].
func repeat[T Value](m kernels.Machine, p kernels.Ptr, block []T, n int) error {
	for at := 0; at < n; at += len(block) {
		part := kernels.Bytes(block[:min(len(block), n-at)])
		if err := m.Write(p, part); err != nil {
			return err
		}
		p += kernels.Ptr(len(part))
	}
	return nil
}

// Cleanup has Free call f, too.
func (b *Bed) Cleanup(f func() error) { b.cleanup = append(b.cleanup, f) }

// Put puts 4-byte values on the machine.
func Put[T float32 | int32 | uint32](b *Bed, v []T) (kernels.Ptr, error) {
	p, err := b.Alloc(len(v))
	if err != nil {
		return 0, err
	}
	return p, b.M.Write(p, kernels.Bytes(v))
}

// Free frees all of it.
func (b *Bed) Free() error {
	var first error
	for _, p := range b.all {
		if err := b.M.Free(p); err != nil && first == nil {
			first = err
		}
	}
	for _, f := range b.cleanup {
		if err := f(); err != nil && first == nil {
			first = err
		}
	}
	b.all, b.cleanup = nil, nil
	return first
}
