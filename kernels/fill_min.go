package kernels

import (
	"fmt"
	"math"
)

// FillWindow is a window h x w, in which a region of so many Pixels, at least one, is compared with K fills.
type FillWindow struct{ H, W, Pixels, K int }

// FillWindows are windows of different sizes that one launch works on. Of every window, window after window, there are the region's
// Pixels, int32 indices y*W+x, each once; what is told for each of them [P] lies in the same way, Y [3,P] and the Fills [K,3,P] likewise.
// FillAt says where planes of whole windows begin. Table holds what TableOf returns.
type FillWindows struct {
	Each          []FillWindow
	Table, Pixels Ptr
}

// FillAt is where a window's values begin: its plane [h,w] and its squares [K,h,w], each at a multiple of 4, its pixels, and its fills
// divided by 3.
type FillAt struct{ Plane, Squares, Pixels, Fills int }

// At is where every window begins, and behind the last the room that all of them need.
func (w FillWindows) At() []FillAt {
	all := make([]FillAt, len(w.Each)+1)
	for i, e := range w.Each {
		at, n := all[i], ceil(e.H*e.W, 4)*4
		all[i+1] = FillAt{Plane: at.Plane + n, Squares: at.Squares + ceil(e.K*e.H*e.W, 4)*4, Pixels: at.Pixels + e.Pixels, Fills: at.Fills + e.K*e.Pixels}
	}
	return all
}

// TableOf returns what Table holds; see fill_min.cu.
func (w FillWindows) TableOf() []int32 {
	t := make([]int32, 0, 8*len(w.Each))
	at := w.At()
	for i, e := range w.Each {
		a := at[i]
		t = append(t, int32(a.Plane), int32(e.H), int32(e.W), int32(a.Pixels), int32(e.Pixels), int32(e.K), int32(a.Fills), int32(a.Squares))
	}
	return t
}

// check also refuses squares past what the table can tell, where they are wanted.
func (w FillWindows) check(kernel string, squares bool, ps ...named) error {
	if len(w.Each) < 1 || len(w.Each) > MaxJobs {
		return fmt.Errorf("kernels: %s: %d windows, want 1 to %d", kernel, len(w.Each), MaxJobs)
	}
	for i, e := range w.Each {
		if e.H < 1 || e.H > maxExtent || e.W < 1 || e.W > maxExtent || e.Pixels < 1 || e.Pixels > e.H*e.W {
			return fmt.Errorf("kernels: %s: window %d is %dx%d with %d pixels: extents must be 1 to %d", kernel, i, e.H, e.W, e.Pixels, maxExtent)
		}
		if e.K < 1 || e.K > 1024 {
			return fmt.Errorf("kernels: %s: window %d has %d fills, want 1 to 1024", kernel, i, e.K)
		}
	}
	all := w.At()[len(w.Each)]
	if !squares {
		all.Squares = 0
	}
	if max(all.Plane, all.Fills, all.Squares) > math.MaxInt32 {
		return fmt.Errorf("kernels: %s: %d pixels of windows, %d squares and %d pixels of fills in all, at most 2^31-1 can be",
			kernel, all.Plane, all.Squares, all.Fills)
	}
	return aligned(kernel, 4, append(ps, named{"table", w.Table})...)
}

// regions is a grid with a thread for each pixel of the regions.
func (w FillWindows) regions() [3]int {
	most := 0
	for _, e := range w.Each {
		most = max(most, e.Pixels)
	}
	return [3]int{ceil(most, 256), len(w.Each)}
}

// cost is that of a launch which takes so many bytes and operations for a pixel of a region, and for that and a fill.
func (w FillWindows) cost(bytes, flops, bytesK, flopsK int) (c Cost) {
	for _, e := range w.Each {
		c.Bytes += int64(e.Pixels) * int64(bytes+bytesK*e.K)
		c.Flops += int64(e.Pixels) * int64(flops+flopsK*e.K)
	}
	return c
}

// FillWhere numbers the pixels of every region in Where, int32, which has the windows' planes and is -1 everywhere.
type FillWhere struct {
	FillWindows
	Where Ptr
}

// Enqueue launches the kernel.
func (f FillWhere) Enqueue(q Queue) error {
	const kernel = "fill_where"
	if err := f.check(kernel, false, named{"pixels", f.Pixels}, named{"where", f.Where}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Grid: f.regions(), Block: 256, Args: []Arg{f.Pixels.Arg(), f.Table.Arg(), f.Where.Arg()},
		Cost: f.Cost(),
	})
}

// Cost is that of one launch.
func (f FillWhere) Cost() Cost { return f.cost(8, 0, 0, 0) }

// FillMin compares each region's pixels Y with its Fills: the windows' planes Residual become the least distance to the fills, and their
// squares Sq the squared distances (pixel.FillMin). Both are 0 off the regions already.
type FillMin struct {
	FillWindows
	Y, Fills, Sq, Residual Ptr
}

// Enqueue launches the kernel.
func (f FillMin) Enqueue(q Queue) error {
	const kernel = "fill_min"
	err := f.check(kernel, true, named{"y", f.Y}, named{"fills", f.Fills}, named{"pixels", f.Pixels}, named{"sq", f.Sq}, named{"residual", f.Residual})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Grid: f.regions(), Block: 256,
		Args: []Arg{f.Y.Arg(), f.Fills.Arg(), f.Pixels.Arg(), f.Table.Arg(), f.Sq.Arg(), f.Residual.Arg()},
		Cost: f.Cost(),
	})
}

// Cost is that of one launch.
func (f FillMin) Cost() Cost { return f.cost(12+4+4, 0, 12+4, 9) }

// FillLeast takes from planes what is wanted of the regions' pixels: Residual is the Plane's value, and Best, int32, the index of the
// smallest of the K values of Costs, which lie as FillMin's squares do, the first of equals (pixel.Least).
type FillLeast struct {
	FillWindows
	Costs, Plane, Residual, Best Ptr
}

// Enqueue launches the kernel.
func (f FillLeast) Enqueue(q Queue) error {
	const kernel = "fill_least"
	err := f.check(kernel, true,
		named{"costs", f.Costs}, named{"plane", f.Plane}, named{"pixels", f.Pixels}, named{"residual", f.Residual}, named{"best", f.Best})
	if err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Grid: f.regions(), Block: 256,
		Args: []Arg{f.Costs.Arg(), f.Plane.Arg(), f.Pixels.Arg(), f.Table.Arg(), f.Residual.Arg(), f.Best.Arg()},
		Cost: f.Cost(),
	})
}

// Cost is that of one launch.
func (f FillLeast) Cost() Cost { return f.cost(4+4+8, -1, 4, 1) }

// MaxFillRadius is the largest radius of FillCompare's Gaussians.
const MaxFillRadius = 8

// FillCompare is what the refiner asks of its fills, at once, of the regions' pixels: Residual is that of FillMin, blurred over the window
// with the taps Smooth, and Best, int32, the fill whose squared distances, blurred with the taps Start, are least, the first of equals.
// Off the regions, distances are 0. Where is that of FillWhere. Taps are those of pixel.Gaussian, edge pixels repeat, and radii go up to
// MaxFillRadius.
type FillCompare struct {
	FillWindows
	Smooth, Start                   []float32
	Y, Fills, Where, Residual, Best Ptr
}

// Enqueue launches the kernel. It needs no Pixels.
func (f FillCompare) Enqueue(q Queue) error {
	const kernel = "fill_compare"
	err := f.check(kernel, false, named{"y", f.Y}, named{"fills", f.Fills}, named{"where", f.Where}, named{"residual", f.Residual}, named{"best", f.Best})
	if err != nil {
		return err
	}
	for what, taps := range map[string][]float32{"smooth": f.Smooth, "start": f.Start} {
		if len(taps) < 1 || len(taps) > MaxFillRadius+1 {
			return fmt.Errorf("kernels: %s: %s has %d taps, want 1 to %d", kernel, what, len(taps), MaxFillRadius+1)
		}
	}
	const height, width = 32, 64 // of a tile
	args := []Arg{f.Y.Arg(), f.Fills.Arg(), f.Where.Arg(), f.Table.Arg(), Int(len(f.Smooth) - 1)}
	args = append(args, tapArgs(f.Smooth, MaxFillRadius)...)
	args = append(args, Int(len(f.Start)-1))
	args = append(args, tapArgs(f.Start, MaxFillRadius)...)
	most := 0
	for _, e := range f.Each {
		most = max(most, ceil(e.H, height)*ceil(e.W, width))
	}
	return q.Launch(Launch{
		Module: "fill_min", Kernel: kernel, Block: 128, Grid: [3]int{most, len(f.Each)},
		Shared: 2 * 4 * (height + 2*MaxFillRadius) * (width + 2*MaxFillRadius + 4),
		Args:   append(args, f.Residual.Arg(), f.Best.Arg()),
		Cost:   f.Cost(),
	})
}

// Cost is that of one launch.
func (f FillCompare) Cost() Cost {
	c := f.cost(12+8, 0, 12, 9)
	for _, e := range f.Each {
		n := int64(e.H) * int64(e.W)
		c.Bytes += 4 * n
		c.Flops += n * (2*int64(e.K)*int64(3*len(f.Start)-2) + 2*int64(3*len(f.Smooth)-2))
	}
	return c
}
