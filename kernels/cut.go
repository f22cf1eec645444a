package kernels

import (
	"fmt"
	"math"
)

// Cut makes the windows that a network runs on: Gain (Y - c A) + Shift on the region Omega and Gain Y + Shift elsewhere
// (pixel.Compose, then the backbone's normalisation), in the order that the network reads.
type Cut struct {
	N, H, W                int // images
	Windows, Rows, Columns int // windows, and the pixels of one

	Table Ptr // int32 [Windows,4]: image, its number among the M that have a region, first row, first column; what is beyond the image is its nearest pixel
	Y     Ptr // [N,3,H,W]
	Mask  Ptr // uint8 [M,H,W], not 0 on Omega; 0: no image has a region
	A     Ptr // [M,3,H,W] in units of c
	Scale Ptr // [M,H,W] c

	Gain, Shift Ptr // [N,3]

	Strides [4]int // of Out [Windows,3,Rows,Columns], in elements
	Half    bool   // Out is float16
	Out     Ptr
}

// Enqueue launches the kernel. That there are the images of its table is the caller's business.
func (c Cut) Enqueue(q Queue) error {
	if err := checkImages("cut", c.N, c.H, c.W); err != nil {
		return err
	}
	if c.Rows < 1 || c.Columns < 1 || c.Rows > c.H || c.Columns > c.W {
		return fmt.Errorf("kernels: cut: windows of %dx%d of images of %dx%d", c.Rows, c.Columns, c.H, c.W)
	}
	if err := checkElements("cut", c.Windows, 3*c.Rows*c.Columns); err != nil {
		return err
	}
	need := []named{{"table", c.Table}, {"Y", c.Y}, {"gain", c.Gain}, {"shift", c.Shift}}
	if c.Mask != 0 {
		need = append(need, named{"A", c.A}, named{"scale", c.Scale})
	}
	if err := aligned("cut", 4, need...); err != nil {
		return err
	}
	if err := aligned("cut", 2, named{"out", c.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "cut", Kernel: "cut", Grid: [3]int{ceil(c.Rows*c.Columns, 256), c.Windows}, Block: 256,
		Args: []Arg{c.Table.Arg(), Int(c.Rows), Int(c.Columns), Int(c.H), Int(c.W), c.Y.Arg(), c.A.Arg(), c.Scale.Arg(), c.Mask.Arg(), c.Gain.Arg(),
			c.Shift.Arg(), Int(c.Strides[0]), Int(c.Strides[1]), Int(c.Strides[2]), Int(c.Strides[3]), Bool(c.Half), c.Out.Arg()},
		Cost: c.Cost(0),
	})
}

// Cost is that of one launch with so many pixels of Omega.
func (c Cut) Cost(active int) Cost {
	written := int64(c.Windows) * int64(c.Rows) * int64(c.Columns)
	return Cost{Bytes: 25*written + 16*int64(active), Flops: 6 * (written + int64(active))}
}

// CutGather adds up the gradients of windows: DX = the sum over the windows of an image, in their order, of Gain times the gradient
// w.r.t. what Cut made of its pixels.
type CutGather struct {
	N, H, W int

	Bounds  Ptr // int32 [N+1]: image i has windows Bounds[i] to Bounds[i+1]
	Windows Ptr // CutWindows
	DW      Ptr // the windows' gradients, each [h,w,3]
	Gain    Ptr // [N,3]

	// Tiles (ActiveTiles) and Mask (uint8 [N,H,W]) restrict the work to Omega: only its pixels are written, by so many Blocks. 0:
	// everything is written.
	Tiles, Mask Ptr
	Blocks      int

	DX Ptr // [N,3,H,W]
}

// CutWindow is where a window lies in its image and, in values, among the gradients.
type CutWindow struct {
	Top, Left, H, W int
	At              int
}

// CutWindows is the table of windows as CutGather reads it.
func CutWindows(all []CutWindow) []int32 {
	words := make([]int32, 0, 6*len(all))
	for _, w := range all {
		words = append(words, int32(w.Top), int32(w.Left), int32(w.H), int32(w.W), int32(uint32(w.At)), int32(w.At>>32))
	}
	return words
}

// Enqueue launches the kernel.
func (c CutGather) Enqueue(q Queue) error {
	if err := checkImages("cut_gather", c.N, c.H, c.W); err != nil {
		return err
	}
	need := []named{{"bounds", c.Bounds}, {"windows", c.Windows}, {"dw", c.DW}, {"gain", c.Gain}, {"dx", c.DX}}
	blocks := c.N * StepTiles(c.H, c.W)
	if c.Tiles != 0 {
		blocks = c.Blocks
		need = append(need, named{"tiles", c.Tiles}, named{"mask", c.Mask})
	}
	if err := aligned("cut_gather", 4, need...); err != nil {
		return err
	}
	if blocks < 1 || blocks > math.MaxInt32 {
		return fmt.Errorf("kernels: cut_gather: %d blocks", blocks)
	}
	return q.Launch(Launch{
		Module: "cut", Kernel: "cut_gather", Grid: [3]int{blocks}, Block: 256,
		Args: []Arg{c.Tiles.Arg(), Int(c.N), Int(c.H), Int(c.W), c.Mask.Arg(), c.Bounds.Arg(), c.Windows.Arg(), c.DW.Arg(), c.Gain.Arg(),
			c.DX.Arg()},
	})
}

// Cost is that of one launch that writes so many pixels, which are in so many windows together.
func (c CutGather) Cost(active, covered int) Cost {
	return Cost{Bytes: 13*int64(active) + 12*int64(covered), Flops: 6 * int64(covered)}
}
