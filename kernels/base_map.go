package kernels

import (
	"fmt"
	"math"
	"slices"
)

// MapOptions says how a grid of scores becomes a map; the fields are those of method.MapOptions, which converts to it.
type MapOptions struct {
	Nearest    bool    // the cell floor(i h/H) instead of bilinear between cell centres
	Sigma      float64 // of the Gaussian, pixels; 0: no blur
	Reflect101 bool    // beyond an edge, the edge pixel is not repeated
	Radius     int     // of the Gaussian, pixels
}

// Axis is how the pixels along one axis are made of cells: pixel i is the weighted sum of the cells from its first.
type Axis struct {
	Cells, Pixels int
	Width         int       // the most cells that a pixel is made of
	Weights       []float32 // [Pixels, Width], zeros past the pixel's own
	First, Count  []int32   // [Pixels]
}

// NewAxis returns the axis of n cells enlarged to N pixels and blurred, as method.BaseMap does it: summed in float64,
// rounded once. It takes O(N Radius) time.
func NewAxis(n, N int, o MapOptions) (Axis, error) {
	if n < 1 || N < 1 || n > maxExtent || N > maxExtent {
		return Axis{}, fmt.Errorf("kernels: base_map: %d cells to %d pixels: extents must be 1 to %d", n, N, maxExtent)
	}
	radius := o.Radius
	if !(o.Sigma > 0) {
		radius = 0
	}
	if radius < 0 || radius > maxExtent {
		return Axis{}, fmt.Errorf("kernels: base_map: radius %d", radius)
	}
	taps, total := make([]float64, radius+1), 0.0
	for k := range taps {
		if taps[k] = 1; k > 0 {
			taps[k] = math.Exp(-float64(k) * float64(k) / (2 * o.Sigma * o.Sigma))
			total += 2 * taps[k]
		}
	}
	total++

	a := Axis{Cells: n, Pixels: N, First: make([]int32, N), Count: make([]int32, N)}
	rows := make([][]float32, N)
	sum := make([]float64, n)
	for i := range N {
		lo, hi := n, 0
		add := func(cell int, w float64) {
			if w != 0 {
				sum[cell] += w
				lo, hi = min(lo, cell), max(hi, cell+1)
			}
		}
		for k := -radius; k <= radius; k++ {
			j, t := fold(i+k, N, o.Reflect101), taps[max(k, -k)]/total
			if o.Nearest {
				add(j*n/N, t)
				continue
			}
			twice := max((2*j+1)*n-N, 0) // position in units of 1/(2N) cell
			share := float64(twice%(2*N)) / float64(2*N)
			add(twice/(2*N), t*(1-share))
			add(min(twice/(2*N)+1, n-1), t*share)
		}
		a.First[i], a.Count[i] = int32(lo), int32(hi-lo)
		a.Width = max(a.Width, hi-lo)
		for c := lo; c < hi; c++ {
			rows[i] = append(rows[i], float32(sum[c]))
			sum[c] = 0
		}
	}
	a.Weights = make([]float32, N*a.Width)
	for i, r := range rows {
		copy(a.Weights[i*a.Width:], r)
	}
	return a, nil
}

// fold is gaussian.cuh's.
func fold(i, n int, reflect101 bool) int {
	period, far := 2*n, 2*n-1
	if reflect101 {
		period, far = max(2*n-2, 1), 2*n-2
	}
	i = ((i % period) + period) % period
	return min(i, far-i)
}

// baseMapTile is the pixels that a block makes.
const baseMapTileH, baseMapTileW = 64, 128

// spanned is the most cells that a tile of so many pixels is made of.
func (a Axis) spanned(tile int) int {
	most := 0
	for i := 0; i < a.Pixels; i += tile {
		last := min(i+tile, a.Pixels) - 1
		most = max(most, int(a.First[last]+a.Count[last]-a.First[i]))
	}
	return most
}

// baseMapWidths are those of the kernels.
var baseMapWidths = []int{4, 6, 10, 18, 34}

// BaseMap makes maps Out [N,H,W] of grids Grid [N,h,w]: enlarged, then blurred, in one pass, as method.BaseMap does and as
// pixel.Upsample followed by pixel.Gaussian.Blur. Rows has h cells and H pixels, Columns w and W; RowTable and ColumnTable
// hold what Tables returns. At most 34 cells make a pixel: enough to blur with radius 16 without enlargement.
type BaseMap struct {
	N                     int
	Rows, Columns         Axis
	RowTable, ColumnTable Ptr
	Grid, Out             Ptr
}

// kernel is the width of the kernel that serves both axes; 0 if none does.
func (b BaseMap) kernel() int {
	for _, k := range baseMapWidths {
		if max(b.Rows.Width, b.Columns.Width) <= k {
			return k
		}
	}
	return 0
}

// Tables returns what RowTable and ColumnTable hold, in words; base_map.cu says how.
func (b BaseMap) Tables() (rows, columns []uint32, err error) {
	k := b.kernel()
	if k == 0 {
		return nil, nil, b.tooWide()
	}
	return b.Rows.table(k), b.Columns.table(k), nil
}

func (b BaseMap) tooWide() error {
	return fmt.Errorf("kernels: base_map: %d and %d cells make a pixel, at most %d can", b.Rows.Width, b.Columns.Width,
		slices.Max(baseMapWidths))
}

func (a Axis) table(k int) []uint32 {
	record := 4 + ceil(k, 4)*4
	t := make([]uint32, a.Pixels*record)
	for i := range a.Pixels {
		r := t[i*record:]
		r[0], r[1] = uint32(a.First[i]), uint32(a.Count[i])
		for j, w := range a.Weights[i*a.Width:][:a.Width] {
			r[4+j] = math.Float32bits(w)
		}
	}
	return t
}

// Enqueue launches the kernel.
func (b BaseMap) Enqueue(q Queue) error {
	if b.N < 1 || b.N > 65535 {
		return fmt.Errorf("kernels: base_map: batch of %d, want 1 to 65535", b.N)
	}
	if b.Rows.Pixels < 1 || b.Columns.Pixels < 1 {
		return fmt.Errorf("kernels: base_map: no pixels: make the axes with NewAxis")
	}
	k := b.kernel()
	if k == 0 {
		return b.tooWide()
	}
	shared := 4 * b.Rows.spanned(baseMapTileH) * baseMapTileW
	if shared > MaxShared {
		return fmt.Errorf("kernels: base_map: %d cells to %d pixels reduce too much", b.Rows.Cells, b.Rows.Pixels)
	}
	if err := aligned("base_map", 16, named{"row table", b.RowTable}, named{"column table", b.ColumnTable},
		named{"grid", b.Grid}, named{"out", b.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "base_map", Kernel: fmt.Sprintf("base_map%d", k),
		Grid:  [3]int{ceil(b.Columns.Pixels, baseMapTileW), ceil(b.Rows.Pixels, baseMapTileH), b.N},
		Block: 256, Shared: shared,
		Args: []Arg{b.Grid.Arg(), Int(b.Rows.Cells), Int(b.Columns.Cells), b.RowTable.Arg(), b.ColumnTable.Arg(),
			Int(b.Rows.Pixels), Int(b.Columns.Pixels), b.Out.Arg()},
	})
}

// Cost is that of one launch.
func (b BaseMap) Cost() Cost {
	n, h, H, W := int64(b.N), int64(b.Rows.Cells), int64(b.Rows.Pixels), int64(b.Columns.Pixels)
	return Cost{
		Bytes: 4 * n * (H*W + h*int64(b.Columns.Cells)),
		Flops: 2 * n * (h*W*int64(b.Columns.Width) + H*W*int64(b.Rows.Width)),
	}
}
