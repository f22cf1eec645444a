package kernels

import (
	"fmt"
	"math"
)

// Compose makes the images that a backbone sees, Gain (Y - c A) + Shift on the region Omega and Gain Y + Shift elsewhere
// (pixel.Compose, then the backbone's normalisation).
type Compose struct {
	N, H, W int

	Y, A  Ptr // [N,3,H,W]; A in units of c
	Scale Ptr // [N,H,W] c
	Mask  Ptr // uint8 [N,H,W], not 0 on Omega

	Gain, Shift Ptr // [N,3]; 0: 1 and 0

	// Tiles (ActiveTiles) restricts the work to Omega: only its pixels are written, by so many Blocks (any number is right, that
	// of active tiles is best). 0: everything is written.
	Tiles  Ptr
	Blocks int

	// Packed is 0 for Out [N,3,H,W], 3 or 4 for Out [N,H,W,Packed], whose fourth value is 0.
	Packed int
	Out    Ptr
}

// Enqueue launches the kernel.
func (c Compose) Enqueue(q Queue) error {
	if err := checkImages("compose", c.N, c.H, c.W); err != nil {
		return err
	}
	err := aligned("compose", 16, named{"Y", c.Y}, named{"A", c.A}, named{"scale", c.Scale}, named{"mask", c.Mask},
		named{"out", c.Out})
	if err != nil {
		return err
	}
	if (c.Gain|c.Shift|c.Tiles)%4 != 0 {
		return fmt.Errorf("kernels: compose: gain, shift or tiles is not aligned to 4 bytes")
	}
	shared := 0
	switch c.Packed {
	case 0, 4:
	case 3:
		shared = 8 * 96 * 4
	default:
		return fmt.Errorf("kernels: compose: pixels packed by %d, want 0, 3 or 4", c.Packed)
	}
	blocks := c.Blocks
	if c.Tiles == 0 {
		blocks = c.N * StepTiles(c.H, c.W)
	}
	if blocks < 1 || blocks > math.MaxInt32 {
		return fmt.Errorf("kernels: compose: %d blocks", blocks)
	}
	return q.Launch(Launch{
		Module: "compose", Kernel: "compose", Grid: [3]int{blocks}, Block: 256, Shared: shared,
		Args: []Arg{c.Tiles.Arg(), Int(c.N), Int(c.H), Int(c.W), c.Y.Arg(), c.A.Arg(), c.Scale.Arg(), c.Mask.Arg(), c.Gain.Arg(),
			c.Shift.Arg(), Int(c.Packed), c.Out.Arg()},
		Cost: c.Cost(0),
	})
}

// Cost is that of one launch with so many pixels of Omega.
func (c Compose) Cost(active int) Cost {
	written := int64(active)
	if c.Tiles == 0 {
		written = int64(c.N) * int64(c.H) * int64(c.W)
	}
	return Cost{Bytes: written*int64(13+4*max(c.Packed, 3)) + 16*int64(active), Flops: 6 * (written + int64(active))}
}

// ComposeStart sets the anomaly that the optimisation starts from on some pixels of one image: A = (Y - N*)/c, N* being the
// fill that Best chooses. Pixels lie in a window of the image, h x w from (Top, Left); the rest of A is left alone.
type ComposeStart struct {
	N, H, W int
	Image   int // of N

	Top, Left, WindowH, WindowW int

	Count  int
	Pixels Ptr // int32 [Count]: indices into the window, each once (pixel.State.Pixels)
	Best   Ptr // int32 [h,w], each the number of a fill
	Fills  Ptr // [K,3,h,w]
	Y, A   Ptr // [N,3,H,W]
	Scale  Ptr // [N,H,W] c; 0: 1
}

// Enqueue launches the kernel.
func (s ComposeStart) Enqueue(q Queue) error {
	if err := checkImages("compose_start", s.N, s.H, s.W); err != nil {
		return err
	}
	if s.Image < 0 || s.Image >= s.N {
		return fmt.Errorf("kernels: compose_start: image %d of %d", s.Image, s.N)
	}
	if s.Top < 0 || s.Left < 0 || s.WindowH < 1 || s.WindowW < 1 || s.Top > s.H-s.WindowH || s.Left > s.W-s.WindowW {
		return fmt.Errorf("kernels: compose_start: window of %dx%d at (%d,%d) of an image of %dx%d",
			s.WindowH, s.WindowW, s.Top, s.Left, s.H, s.W)
	}
	if s.Count < 1 || s.Count > s.WindowH*s.WindowW {
		return fmt.Errorf("kernels: compose_start: count of %d pixels in %dx%d", s.Count, s.WindowH, s.WindowW)
	}
	err := aligned("compose_start", 4, named{"pixels", s.Pixels}, named{"best", s.Best}, named{"fills", s.Fills},
		named{"Y", s.Y}, named{"A", s.A})
	if err != nil {
		return err
	}
	if s.Scale%4 != 0 {
		return fmt.Errorf("kernels: compose_start: scale is not aligned to 4 bytes")
	}
	return q.Launch(Launch{
		Module: "compose", Kernel: "compose_start", Grid: [3]int{ceil(s.Count, 256)}, Block: 256,
		Args: []Arg{s.Pixels.Arg(), Int(s.Count), s.Best.Arg(), s.Fills.Arg(), Int(s.WindowH), Int(s.WindowW), s.Y.Arg(),
			s.Scale.Arg(), Int(s.Image), Int(s.Top), Int(s.Left), Int(s.H), Int(s.W), s.A.Arg()},
		Cost: s.Cost(),
	})
}

// Cost is that of one launch.
func (s ComposeStart) Cost() Cost {
	bytes := 44
	if s.Scale != 0 {
		bytes += 4
	}
	return Cost{Bytes: int64(bytes) * int64(s.Count), Flops: 6 * int64(s.Count)}
}
