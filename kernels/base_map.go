package kernels

import (
	"fmt"
	"math"
	"slices"
)

// Axis is how the pixels along one axis are made of cells: pixel i is the weighted sum of the cells from its first.
type Axis struct {
	Cells, Pixels int
	Width         int       // the most cells that a pixel is made of
	Weights       []float32 // [Pixels, Width], zeros past the pixel's own
	First, Count  []int32   // [Pixels]
}

// NewAxis returns the axis of n cells and N pixels, of which pixel i is made of the cells from first on, with weights, as
// method.MapOptions.Axis says it.
func NewAxis(n, N int, pixel func(i int) (first int, weights []float32)) (Axis, error) {
	if n < 1 || N < 1 || n > maxExtent || N > maxExtent {
		return Axis{}, fmt.Errorf("kernels: base_map: %d cells to %d pixels: extents must be 1 to %d", n, N, maxExtent)
	}
	a := Axis{Cells: n, Pixels: N, First: make([]int32, N), Count: make([]int32, N)}
	rows := make([][]float32, N)
	for i := range N {
		first, w := pixel(i)
		if first < 0 || len(w) < 1 || first+len(w) > n {
			return Axis{}, fmt.Errorf("kernels: base_map: pixel %d is made of cells %d to %d of %d", i, first, first+len(w), n)
		}
		a.First[i], a.Count[i], rows[i] = int32(first), int32(len(w)), w
		a.Width = max(a.Width, len(w))
	}
	a.Weights = make([]float32, N*a.Width)
	for i, r := range rows {
		copy(a.Weights[i*a.Width:], r)
	}
	return a, nil
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
		Cost: b.Cost(),
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
