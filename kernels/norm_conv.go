package kernels

import (
	"fmt"
	"math"
)

// NormConvJob is one interpolation of NormConv: N samples of C channels to M pixels, on images of width W, with a Gaussian of Sigma
// pixels.
type NormConvJob struct {
	N, M, C, W int
	Sigma      float64
}

// NormConv interpolates scattered samples by normalised convolution (pixel.NormConv), job by job. Pixels, int32, are every job's N
// samples' and M results', indices y*W+x, job after job; so are the samples V [N,C] and the results Out [M,C]. Table holds what
// TableOf returns.
type NormConv struct {
	Jobs                  []NormConvJob
	Table, Pixels, V, Out Ptr
}

// Sizes are how many values the Pixels, V and Out of all jobs have.
func (k NormConv) Sizes() (pixels, v, out int) {
	for _, j := range k.Jobs {
		pixels, v, out = pixels+j.N+j.M, v+j.N*j.C, out+j.M*j.C
	}
	return pixels, v, out
}

// TableOf returns what Table holds; see norm_conv.cu.
func (k NormConv) TableOf() []int32 {
	t := make([]int32, 0, 9*len(k.Jobs))
	pixels, v, out := 0, 0, 0
	for _, j := range k.Jobs {
		t = append(t, int32(pixels), int32(j.N), int32(pixels+j.N), int32(j.M), int32(v), int32(j.C), int32(out), int32(j.W), bits(1/(2*j.Sigma*j.Sigma)))
		pixels, v, out = pixels+j.N+j.M, v+j.N*j.C, out+j.M*j.C
	}
	return t
}

// MaxJobs is how many jobs one launch works on.
const MaxJobs = 65535

// Enqueue launches the kernel.
func (k NormConv) Enqueue(q Queue) error {
	const kernel = "norm_conv"
	if len(k.Jobs) < 1 || len(k.Jobs) > MaxJobs {
		return fmt.Errorf("kernels: %s: %d jobs, want 1 to %d", kernel, len(k.Jobs), MaxJobs)
	}
	results, channels := 0, 0
	for i, j := range k.Jobs {
		if j.N < 0 || j.M < 1 || j.C < 1 || j.C > 6*65535 || j.W < 1 {
			return fmt.Errorf("kernels: %s: job %d has %d samples of %d channels for %d pixels of an image %d wide", kernel, i, j.N, j.C, j.M, j.W)
		}
		if !(j.Sigma > 0) || math.IsInf(1/(2*j.Sigma*j.Sigma), 0) {
			return fmt.Errorf("kernels: %s: job %d has a sigma of %g", kernel, i, j.Sigma)
		}
		results, channels = max(results, j.M), max(channels, j.C)
	}
	if pixels, v, out := k.Sizes(); max(pixels, v, out) > math.MaxInt32 {
		return fmt.Errorf("kernels: %s: jobs of %d pixels, %d and %d values in all, at most 2^31-1 can be", kernel, pixels, v, out)
	}
	err := aligned(kernel, 4, named{"table", k.Table}, named{"pixels", k.Pixels}, named{"v", k.V}, named{"out", k.Out})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: kernel, Kernel: kernel, Grid: [3]int{ceil(results, 128), len(k.Jobs), ceil(channels, 6)}, Block: 128, Shared: 4 * 128 * (2 + 6),
		Args: []Arg{k.Table.Arg(), k.Pixels.Arg(), k.V.Arg(), k.Out.Arg()},
		Cost: k.Cost(),
	})
}

// Cost is that of one launch.
func (k NormConv) Cost() Cost {
	pixels, v, out := k.Sizes()
	c := Cost{Bytes: 4 * int64(pixels+v+out)}
	for _, j := range k.Jobs {
		c.Flops += int64(j.N) * int64(j.M) * int64(6*ceil(j.C, 6)+20*ceil(j.C, 6)+2*j.C)
	}
	return c
}
