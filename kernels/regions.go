package kernels

import (
	"fmt"
	"math"
)

// Regions brings the optimiser's state of the pixels of a region Omega between PixelStep's planes and lists of them, which are
// shorter.
type Regions struct {
	N, H, W int
	Count   int // pixels
	At      Ptr // int32 [Count]: n H W + y W + x, each once
	List    Ptr // Put: [9,Count], c, A (3), M (3), V, Sum. Get: [8,Count], without c

	Mask, Scale, A, M, V, Sum Ptr // PixelStep's
}

// Values that Put and Get move for a pixel.
const (
	RegionsPut = 9
	RegionsGet = 8
)

// Put launches the kernel that fills the planes on Omega, Mask with 1.
func (r Regions) Put(q Queue) error {
	if err := r.check(named{"mask", r.Mask}, named{"scale", r.Scale}); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "regions", Kernel: "regions_put", Grid: [3]int{ceil(r.Count, 256)}, Block: 256,
		Args: []Arg{r.At.Arg(), Int(r.Count), Int(r.H * r.W), r.List.Arg(), r.Mask.Arg(), r.Scale.Arg(), r.A.Arg(), r.M.Arg(), r.V.Arg(), r.Sum.Arg()},
		Cost: r.Cost(true),
	})
}

// Get launches the kernel that fills the list.
func (r Regions) Get(q Queue) error {
	if err := r.check(); err != nil {
		return err
	}
	return q.Launch(Launch{
		Module: "regions", Kernel: "regions_get", Grid: [3]int{ceil(r.Count, 256)}, Block: 256,
		Args: []Arg{r.At.Arg(), Int(r.Count), Int(r.H * r.W), r.List.Arg(), r.A.Arg(), r.M.Arg(), r.V.Arg(), r.Sum.Arg()},
		Cost: r.Cost(false),
	})
}

func (r Regions) check(more ...named) error {
	if err := checkImages("regions", r.N, r.H, r.W); err != nil {
		return err
	}
	if r.N > math.MaxInt32/(r.H*r.W) || r.Count < 1 || r.Count > r.N*r.H*r.W {
		return fmt.Errorf("kernels: regions: %d pixels of %d images of %dx%d", r.Count, r.N, r.H, r.W)
	}
	return aligned("regions", 4, append(more, named{"at", r.At}, named{"list", r.List}, named{"A", r.A}, named{"M", r.M}, named{"V", r.V},
		named{"sum", r.Sum})...)
}

// Cost is that of Put, or of Get.
func (r Regions) Cost(put bool) Cost {
	if put {
		return Cost{Bytes: 77 * int64(r.Count)}
	}
	return Cost{Bytes: 68 * int64(r.Count)}
}
