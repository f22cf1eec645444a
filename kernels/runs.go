package kernels

import (
	"fmt"
	"math"
)

// Run is pixels of an image that follow each other, in a row and from its end to the next: indices y*W+x from From up to, but not
// including, To.
type Run struct{ Image, From, To int }

// Runs brings pixels between Planes [N,C,H,W] and a List of them [C,pixels], which is shorter. Each pixel is in one run.
type Runs struct {
	N, C, H, W int
	Each       []Run

	Table        Ptr // what TableOf returns
	Planes, List Ptr
}

// runMost is how many pixels of a run one warp takes.
const runMost = 128

// Pixels is how many the list has.
func (r Runs) Pixels() int {
	n := 0
	for _, e := range r.Each {
		n += e.To - e.From
	}
	return n
}

// TableOf returns what Table holds; see runs.cu.
func (r Runs) TableOf() []int32 {
	t, pixels := make([]int32, 0, 2*len(r.Each)+2), 0
	for _, e := range r.Each {
		for at := e.From; at < e.To; at += runMost {
			t = append(t, int32(e.Image*r.H*r.W+at), int32(pixels))
			pixels += min(runMost, e.To-at)
		}
	}
	return append(t, 0, int32(pixels))
}

// pieces is how many runs the table has.
func (r Runs) pieces() int {
	n := 0
	for _, e := range r.Each {
		n += ceil(e.To-e.From, runMost)
	}
	return n
}

// Put launches the kernel that fills the planes at the pixels.
func (r Runs) Put(q Queue) error { return r.enqueue(q, "runs_put") }

// Get launches the kernel that fills the list.
func (r Runs) Get(q Queue) error { return r.enqueue(q, "runs_get") }

func (r Runs) enqueue(q Queue, kernel string) error {
	if err := checkImages("runs", r.N, r.H, r.W); err != nil {
		return err
	}
	if r.N > math.MaxInt32/(r.H*r.W) || r.C < 1 || r.C > 65535 {
		return fmt.Errorf("kernels: runs: %d images of %d channels of %dx%d", r.N, r.C, r.H, r.W)
	}
	if len(r.Each) < 1 {
		return fmt.Errorf("kernels: runs: there are none")
	}
	for i, e := range r.Each {
		if e.Image < 0 || e.Image >= r.N || e.From < 0 || e.From >= e.To || e.To > r.H*r.W {
			return fmt.Errorf("kernels: runs: run %d is pixels %d to %d of image %d of %d, of %dx%d", i, e.From, e.To, e.Image, r.N, r.H, r.W)
		}
	}
	if n := r.Pixels(); n > math.MaxInt32 {
		return fmt.Errorf("kernels: runs: %d pixels, at most 2^31-1 can be", n)
	}
	if err := aligned("runs", 4, named{"table", r.Table}, named{"planes", r.Planes}, named{"list", r.List}); err != nil {
		return err
	}
	n := r.pieces()
	return q.Launch(Launch{
		Module: "runs", Kernel: kernel, Grid: [3]int{ceil(n, 8)}, Block: 256,
		Args: []Arg{r.Table.Arg(), Int(n), Int(r.H * r.W), Int(r.C), r.List.Arg(), r.Planes.Arg()},
		Cost: r.Cost(),
	})
}

// Cost is that of Put, or of Get.
func (r Runs) Cost() Cost { return Cost{Bytes: 8*int64(r.C)*int64(r.Pixels()) + 8*int64(r.pieces())} }
