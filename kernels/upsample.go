package kernels

import "fmt"

// Upsample enlarges the grids Grid [N,h,w] to the maps Out [N,H,W]: bilinear between cell centres (pixel.Upsample), or by
// the nearest cell.
type Upsample struct {
	N, GridH, GridW, H, W int
	Nearest               bool
	Grid, Out             Ptr
}

// maxExtent bounds heights and widths so that products of two fit an int32 with room.
const maxExtent = 1 << 14

// Enqueue launches the kernel.
func (u Upsample) Enqueue(q Queue) error {
	for _, n := range []int{u.GridH, u.GridW, u.H, u.W} {
		if n < 1 || n > maxExtent {
			return fmt.Errorf("kernels: upsample: [%d,%d,%d] to %dx%d: extents must be 1 to %d", u.N, u.GridH, u.GridW, u.H, u.W,
				maxExtent)
		}
	}
	if u.N < 1 || u.N > 65535 {
		return fmt.Errorf("kernels: upsample: batch of %d, want 1 to 65535", u.N)
	}
	if err := aligned("upsample", 16, named{"grid", u.Grid}, named{"out", u.Out}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "upsample", Kernel: "upsample",
		Grid: [3]int{ceil(u.W, 4*128), ceil(u.H, 8), u.N}, Block: 128,
		Args: []Arg{u.Grid.Arg(), Int(u.GridH), Int(u.GridW), Int(u.H), Int(u.W), Bool(u.Nearest), u.Out.Arg()},
		Cost: u.Cost(),
	})
}

// Cost is that of one launch.
func (u Upsample) Cost() Cost {
	out := int64(u.N) * int64(u.H) * int64(u.W)
	return Cost{Bytes: 4 * (out + int64(u.N)*int64(u.GridH)*int64(u.GridW)), Flops: 10 * out}
}
