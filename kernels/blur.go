package kernels

import "fmt"

// MaxBlurRadius is the largest radius of Blur.
const MaxBlurRadius = 32

// Blur convolves the planes In [N,H,W] with a symmetric kernel along rows, then columns, into Out [N,H,W], which must not
// overlap In. Taps[k] is the weight of the pixels at distance k, as pixel.Gaussian.Taps gives them, up to MaxBlurRadius; they
// are launched by value. Beyond an edge the plane is reflected, with the edge pixel repeated (pixel.Gaussian.Blur) or, if
// Reflect101, not; planes may be smaller than the radius.
type Blur struct {
	N, H, W    int
	Taps       []float32
	Reflect101 bool
	In, Out    Ptr
}

// Enqueue launches the kernel.
func (b Blur) Enqueue(q Queue) error {
	if b.H < 1 || b.H > maxExtent || b.W < 1 || b.W > maxExtent {
		return fmt.Errorf("kernels: blur: planes of %dx%d: extents must be 1 to %d", b.H, b.W, maxExtent)
	}
	if b.N < 1 || b.N > 65535 {
		return fmt.Errorf("kernels: blur: batch of %d, want 1 to 65535", b.N)
	}
	radius := len(b.Taps) - 1
	if radius < 0 || radius > MaxBlurRadius {
		return fmt.Errorf("kernels: blur: %d taps, want 1 to %d", len(b.Taps), MaxBlurRadius+1)
	}
	if err := aligned("blur", 16, named{"in", b.In}, named{"out", b.Out}); err != nil {
		return err
	}
	if n := Ptr(4 * b.N * b.H * b.W); b.In < b.Out+n && b.Out < b.In+n {
		return fmt.Errorf("kernels: blur: in and out overlap")
	}
	reach := 4 // of the kernel
	for reach < radius {
		reach *= 2
	}
	const height, width = 128, 64 // of a tile
	return q.Launch(Launch{
		Module: "blur", Kernel: fmt.Sprintf("blur%d", reach),
		Grid:  [3]int{ceil(b.W, width), ceil(b.H, height), b.N},
		Block: 256, Shared: 4 * (height + 2*reach) * (width + 2*reach + 4),
		Args: append([]Arg{b.In.Arg(), Int(b.H), Int(b.W), Bool(b.Reflect101), Int(radius), b.Out.Arg()},
			tapArgs(b.Taps, MaxBlurRadius)...),
		Cost: b.Cost(),
	})
}

// Cost is that of one launch: bytes are 8 per pixel; additions and multiplications those of symmetric taps.
func (b Blur) Cost() Cost {
	n := int64(b.N) * int64(b.H) * int64(b.W)
	return Cost{Bytes: 8 * n, Flops: 2 * n * int64(3*len(b.Taps)-2)}
}

// tapArgs are taps as parameters, with zeros up to the given radius.
func tapArgs(taps []float32, radius int) []Arg {
	args := make([]Arg, radius+1)
	for k, t := range taps {
		args[k] = Float(t)
	}
	return args
}
