package kernels

import "fmt"

// Cells copies rectangles of cells between feature maps with their channels innermost: Out = A, A + B or A - B.
type Cells struct {
	Rectangles, Rows, Columns int
	D                         int // values of a cell
	Table                     Ptr // int32 [Rectangles,3]: the first cell in Out, in A, and in B

	// How many cells further on the next row is.
	OutPitch, APitch, BPitch int

	A, B     Ptr // B is 0 for a copy
	Subtract bool
	Out      Ptr // overlaps neither
}

// Enqueue launches the kernel. That the rectangles lie within their arrays is the caller's business.
func (c Cells) Enqueue(q Queue) error {
	if c.Rows < 1 || c.Columns < 1 || c.D < 1 || c.Rows > maxElements/c.Columns/c.D {
		return fmt.Errorf("kernels: cells: rectangles of %dx%d cells of %d values", c.Rows, c.Columns, c.D)
	}
	if err := checkElements("cells", c.Rectangles, c.Rows*c.Columns*c.D); err != nil {
		return err
	}
	kernel, d, at := "cells1", c.D, 4
	if c.D%4 == 0 {
		kernel, d, at = "cells4", c.D/4, 16
	}
	arrays := []named{{"a", c.A}, {"out", c.Out}}
	if c.B != 0 {
		arrays = append(arrays, named{"b", c.B})
	}
	if err := aligned("cells", at, arrays...); err != nil {
		return err
	}
	if err := aligned("cells", 4, named{"table", c.Table}); err != nil {
		return err
	}
	sign := float32(1)
	if c.Subtract {
		sign = -1
	}
	return q.Launch(Launch{
		Module: "cells", Kernel: kernel, Grid: [3]int{ceil(c.Rows*c.Columns*d, 256), c.Rectangles}, Block: 256,
		Args: []Arg{c.Table.Arg(), Int(c.Rows), Int(c.Columns), Int(d), Int(c.OutPitch), Int(c.APitch), Int(c.BPitch), Float(sign), c.A.Arg(),
			c.B.Arg(), c.Out.Arg()},
		Cost: c.Cost(),
	})
}

// Cost is that of one launch.
func (c Cells) Cost() Cost {
	arrays := int64(2)
	if c.B != 0 {
		arrays++
	}
	return Cost{Bytes: 4 * arrays * int64(c.Rectangles) * int64(c.Rows) * int64(c.Columns) * int64(c.D)}
}
