package kernels

import "fmt"

// Windows are rectangles of different sizes that one launch works on. Table holds what TableOf returns. The planes of window i
// [h,w] begin at Offset(i), counted in pixels, times the planes that there are of a window.
type Windows struct {
	Sizes [][2]int // h, w
	Table Ptr
}

// Offset is where window i begins: the pixels of those before it, each rounded up to a multiple of 4. Offset(len(Sizes)) is
// the room, in pixels, that all of them need.
func (w Windows) Offset(i int) int {
	at := 0
	for _, s := range w.Sizes[:i] {
		at += ceil(s[0]*s[1], 4) * 4
	}
	return at
}

// TableOf returns what Table holds: offset, h and w of every window.
func (w Windows) TableOf() []int32 {
	t := make([]int32, 0, 3*len(w.Sizes))
	at := 0
	for _, s := range w.Sizes {
		t = append(t, int32(at), int32(s[0]), int32(s[1]))
		at += ceil(s[0]*s[1], 4) * 4
	}
	return t
}

func (w Windows) check(kernel string, fills int) error {
	if len(w.Sizes) < 1 || len(w.Sizes) > 65535 {
		return fmt.Errorf("kernels: %s: %d windows, want 1 to 65535", kernel, len(w.Sizes))
	}
	for i, s := range w.Sizes {
		if s[0] < 1 || s[0] > maxExtent || s[1] < 1 || s[1] > maxExtent {
			return fmt.Errorf("kernels: %s: window %d is %dx%d: extents must be 1 to %d", kernel, i, s[0], s[1], maxExtent)
		}
	}
	if all := w.Offset(len(w.Sizes)); all > 1<<31-1 {
		return fmt.Errorf("kernels: %s: windows of %d pixels in all, at most 2^31-1 can be", kernel, all)
	}
	if fills < 1 || fills > 1024 {
		return fmt.Errorf("kernels: %s: %d fills, want 1 to 1024", kernel, fills)
	}
	return aligned(kernel, 16, named{"table", w.Table})
}

// pixels is the sum over windows, and most the largest of f.
func (w Windows) pixels() int64 {
	n := int64(0)
	for _, s := range w.Sizes {
		n += int64(s[0]) * int64(s[1])
	}
	return n
}

func (w Windows) most(f func(h, w int) int) int {
	most := 0
	for _, s := range w.Sizes {
		most = max(most, f(s[0], s[1]))
	}
	return most
}

func (w Windows) blocksOfPixels() int {
	return w.most(func(h, w int) int { return ceil(h*w, 4*256) })
}

// FillMin compares each window of Y [3,h,w] with its K Fills [K,3,h,w]: Residual [h,w] is the least distance of a pixel to the
// fills, and Sq [K,h,w], unless it is null, the squared distances (pixel.FillMin).
type FillMin struct {
	Windows
	K                      int
	Y, Fills, Sq, Residual Ptr
}

// Enqueue launches the kernel.
func (f FillMin) Enqueue(q Queue) error {
	const kernel = "fill_min"
	if err := f.check(kernel, f.K); err != nil {
		return err
	}
	ps := []named{{"y", f.Y}, {"fills", f.Fills}, {"residual", f.Residual}}
	if f.Sq != 0 {
		ps = append(ps, named{"sq", f.Sq})
	}
	if err := aligned(kernel, 16, ps...); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Grid: [3]int{f.blocksOfPixels(), len(f.Sizes)}, Block: 256,
		Args: []Arg{f.Y.Arg(), f.Fills.Arg(), f.Table.Arg(), Int(f.K), f.Sq.Arg(), f.Residual.Arg()},
	})
}

// Cost is that of one launch.
func (f FillMin) Cost() Cost {
	n, K := f.pixels(), int64(f.K)
	c := Cost{Bytes: n * (12 + 12*K + 4), Flops: n * 9 * K}
	if f.Sq != 0 {
		c.Bytes += n * 4 * K
	}
	return c
}

// FillLeast is, per pixel of each window, the index of the smallest of the K values Cost [K,h,w], the first of equals, in Best
// [h,w], int32 (pixel.Least).
type FillLeast struct {
	Windows
	K           int
	Costs, Best Ptr
}

// Enqueue launches the kernel.
func (f FillLeast) Enqueue(q Queue) error {
	const kernel = "fill_least"
	if err := f.check(kernel, f.K); err != nil {
		return err
	}
	if err := aligned(kernel, 16, named{"costs", f.Costs}, named{"best", f.Best}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Grid: [3]int{f.blocksOfPixels(), len(f.Sizes)}, Block: 256,
		Args: []Arg{f.Costs.Arg(), f.Table.Arg(), Int(f.K), f.Best.Arg()},
	})
}

// Cost is that of one launch.
func (f FillLeast) Cost() Cost {
	n, K := f.pixels(), int64(f.K)
	return Cost{Bytes: n * (4*K + 4), Flops: n * (K - 1)}
}

// MaxFillRadius is the largest radius of FillCompare's Gaussians.
const MaxFillRadius = 8

// FillCompare is what the refiner asks of its fills, at once: Residual [h,w] is that of FillMin blurred with the taps Smooth,
// and Best [h,w], int32, the fill whose squared distances, blurred with the taps Start, are least, the first of equals. Taps
// are those of pixel.Gaussian, edge pixels repeat, and radii go up to MaxFillRadius.
type FillCompare struct {
	Windows
	K                        int
	Smooth, Start            []float32
	Y, Fills, Residual, Best Ptr
}

// Enqueue launches the kernel.
func (f FillCompare) Enqueue(q Queue) error {
	const kernel = "fill_compare"
	if err := f.check(kernel, f.K); err != nil {
		return err
	}
	for what, taps := range map[string][]float32{"smooth": f.Smooth, "start": f.Start} {
		if len(taps) < 1 || len(taps) > MaxFillRadius+1 {
			return fmt.Errorf("kernels: %s: %s has %d taps, want 1 to %d", kernel, what, len(taps), MaxFillRadius+1)
		}
	}
	err := aligned(kernel, 16, named{"y", f.Y}, named{"fills", f.Fills}, named{"residual", f.Residual}, named{"best", f.Best})
	if err != nil {
		return err
	}
	const height, width = 32, 64 // of a tile
	args := []Arg{f.Y.Arg(), f.Fills.Arg(), f.Table.Arg(), Int(f.K), Int(len(f.Smooth) - 1)}
	args = append(args, tapArgs(f.Smooth, MaxFillRadius)...)
	args = append(args, Int(len(f.Start)-1))
	args = append(args, tapArgs(f.Start, MaxFillRadius)...)
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Block: 128,
		Grid:   [3]int{f.most(func(h, w int) int { return ceil(h, height) * ceil(w, width) }), len(f.Sizes)},
		Shared: 2 * 4 * (height + 2*MaxFillRadius) * (width + 2*MaxFillRadius + 4),
		Args:   append(args, f.Residual.Arg(), f.Best.Arg()),
	})
}

// Cost is that of one launch.
func (f FillCompare) Cost() Cost {
	n, K := f.pixels(), int64(f.K)
	return Cost{
		Bytes: n * (12 + 12*K + 8),
		Flops: n * (9*K + 2*K*int64(3*len(f.Start)-2) + 2*int64(3*len(f.Smooth)-2)),
	}
}
