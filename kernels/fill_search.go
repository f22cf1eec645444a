package kernels

import (
	"fmt"
	"math"
)

// SearchRing is a ring of FillSearch: so many Pixels, at least one, on which Shifts of its image and Normals are compared with it. The
// image [Channels,H,W] begins at value Image of all images.
type SearchRing struct {
	Pixels, Shifts, Normals int
	Image, Channels, H, W   int
	MeanShare               float64
}

// FillSearch compares candidates for fills with images on rings of pixels (refine.Search). Of every ring, ring after ring, there are
// the Pixels, int32 indices y*W+x, the Candidates, int32, by how many pixels the image is moved and then the numbers of normal images,
// and the Costs, float32. Images are blurred already; each of the Normals covers the rings that it is a candidate for: they are blurred
// with Blur, the taps of a pixel.Gaussian. Table holds what TableOf returns.
type FillSearch struct {
	Rings   []SearchRing
	Normals []SearchNormal
	Blur    []float32

	Table, Pixels, Candidates, Images, Taps, Costs Ptr
}

// SearchNormal is a normal image [C,H,W] in 8 bits, wherever it lies.
type SearchNormal struct {
	C, H, W int
	Bytes   Ptr
}

// TableOf returns what Table holds: the rings', then the normal images'; see fill_search.cu.
func (k FillSearch) TableOf() []int32 {
	t := make([]int32, 0, 12*len(k.Rings)+5*len(k.Normals))
	pixels, candidates := 0, 0
	for _, r := range k.Rings {
		all := r.Shifts + r.Normals
		t = append(t, int32(pixels), int32(r.Pixels), int32(candidates), int32(r.Shifts), int32(all), int32(r.Image), int32(r.Channels),
			int32(r.H*r.W), int32(r.W), bits(r.MeanShare*(2-r.MeanShare)), bits(1/float64(r.Pixels)), bits(1/float64(r.Channels)))
		pixels, candidates = pixels+r.Pixels, candidates+all
	}
	for _, n := range k.Normals {
		t = append(t, int32(uint32(n.Bytes)), int32(n.Bytes>>32), int32(n.C), int32(n.H), int32(n.W))
	}
	return t
}

// bits is a value of a table as a float32.
func bits(v float64) int32 { return int32(math.Float32bits(float32(v))) }

// Enqueue launches the kernel.
func (k FillSearch) Enqueue(q Queue) error {
	const kernel = "fill_search"
	if len(k.Rings) < 1 || len(k.Rings) > MaxJobs {
		return fmt.Errorf("kernels: %s: %d rings, want 1 to %d", kernel, len(k.Rings), MaxJobs)
	}
	most, pixels, candidates, values := 0, 0, 0, 0
	for i, r := range k.Rings {
		if r.Pixels < 1 || r.Shifts < 0 || r.Normals < 0 || r.Image < 0 || r.Channels < 1 || r.H < 1 || r.H > maxExtent || r.W < 1 || r.W > maxExtent {
			return fmt.Errorf("kernels: %s: ring %d has %d pixels, %d shifts and %d normal images in [%d,%d,%d] at %d",
				kernel, i, r.Pixels, r.Shifts, r.Normals, r.Channels, r.H, r.W, r.Image)
		}
		all := r.Shifts + r.Normals
		most, pixels, candidates = max(most, all), pixels+r.Pixels, candidates+all
		values = max(values, r.Image+r.Channels*r.H*r.W)
	}
	for i, n := range k.Normals {
		if n.C < 1 || n.C > 3 || n.H < 1 || n.H > maxExtent || n.W < 1 || n.W > maxExtent || n.Bytes == 0 {
			return fmt.Errorf("kernels: %s: normal image %d is [%d,%d,%d] at %#x", kernel, i, n.C, n.H, n.W, uint64(n.Bytes))
		}
	}
	if max(pixels, candidates, values) > math.MaxInt32 {
		return fmt.Errorf("kernels: %s: %d pixels, %d candidates and %d values in all, at most 2^31-1 can be", kernel, pixels, candidates, values)
	}
	if most == 0 {
		return fmt.Errorf("kernels: %s: no candidates", kernel)
	}
	if len(k.Blur) < 1 || len(k.Blur) > MaxBlurRadius+1 {
		return fmt.Errorf("kernels: %s: %d taps, want 1 to %d", kernel, len(k.Blur), MaxBlurRadius+1)
	}
	ps := []named{{"table", k.Table}, {"pixels", k.Pixels}, {"candidates", k.Candidates}, {"images", k.Images}, {"taps", k.Taps}, {"costs", k.Costs}}
	if err := aligned(kernel, 4, ps...); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_search", Kernel: kernel, Grid: [3]int{ceil(most, 4), len(k.Rings)}, Block: 128,
		Args: []Arg{k.Table.Arg(), k.Pixels.Arg(), k.Candidates.Arg(), k.Images.Arg(), k.Table.Plus(12 * len(k.Rings)).Arg(),
			k.Taps.Arg(), Int(len(k.Blur) - 1), k.Costs.Arg()},
		Cost: k.Cost(),
	})
}

// Cost is that of one launch.
func (k FillSearch) Cost() Cost {
	var c Cost
	side := int64(2*len(k.Blur) - 1)
	for _, r := range k.Rings {
		ring := int64(r.Channels) * int64(r.Pixels)
		c.Bytes += 4*int64(r.Pixels) + 4*ring + 8*int64(r.Shifts+r.Normals)
		c.Flops += ring * (4*int64(r.Shifts) + (4+3*side*side)*int64(r.Normals))
	}
	for _, n := range k.Normals {
		c.Bytes += int64(n.C) * int64(n.H) * int64(n.W)
	}
	return c
}

// SpreadJob is a region of FillSpread: N pixels with K fills, and the quantile's Share in [0,1].
type SpreadJob struct {
	N, K  int
	Share float64
}

// FillSpread is how much the fills of regions differ (refine.Spread). Fills [K,3,N] and Out [N] lie region after region. Table holds
// what TableOf returns.
type FillSpread struct {
	Jobs              []SpreadJob
	Table, Fills, Out Ptr
}

// TableOf returns what Table holds; see fill_search.cu.
func (k FillSpread) TableOf() []int32 {
	t := make([]int32, 0, 6*len(k.Jobs))
	fills, out := 0, 0
	for _, j := range k.Jobs {
		at := j.Share * float64(max(j.K-1, 0))
		lo := int(at)
		t = append(t, int32(fills), int32(j.N), int32(j.K), int32(out), int32(lo), bits(at-float64(lo)))
		fills, out = fills+3*j.K*j.N, out+j.N
	}
	return t
}

// Enqueue launches the kernel.
func (k FillSpread) Enqueue(q Queue) error {
	const kernel = "fill_spread"
	if len(k.Jobs) < 1 || len(k.Jobs) > MaxJobs {
		return fmt.Errorf("kernels: %s: %d regions, want 1 to %d", kernel, len(k.Jobs), MaxJobs)
	}
	n, fills, values := 0, 0, 0
	for i, j := range k.Jobs {
		if j.N < 1 || j.K < 0 || j.K > MaxShared/(4*64) || !(j.Share >= 0 && j.Share <= 1) {
			return fmt.Errorf("kernels: %s: region %d of %d pixels has %d fills and a quantile at %g", kernel, i, j.N, j.K, j.Share)
		}
		n, fills, values = max(n, j.N), max(fills, j.K), values+max(3*j.K, 1)*j.N
	}
	if values > math.MaxInt32 {
		return fmt.Errorf("kernels: %s: fills of %d values in all, at most 2^31-1 can be", kernel, values)
	}
	if err := aligned(kernel, 4, named{"table", k.Table}, named{"fills", k.Fills}, named{"out", k.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_search", Kernel: kernel, Grid: [3]int{ceil(n, 64), len(k.Jobs)}, Block: 64, Shared: 4 * 64 * max(fills, 1),
		Args: []Arg{k.Table.Arg(), k.Fills.Arg(), k.Out.Arg()},
		Cost: k.Cost(),
	})
}

// Cost is that of one launch.
func (k FillSpread) Cost() Cost {
	var c Cost
	for _, j := range k.Jobs {
		n, K := int64(j.N), int64(j.K)
		c.Bytes += n * (12*K + 4)
		c.Flops += n * K * (9*(K-1) + 2*K)
	}
	return c
}
