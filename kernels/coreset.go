package kernels

import "fmt"

// Coreset chooses Want of the points X [P,D] so that the farthest point from them is near, greedily, as patchcore's coreset
// does: each new centre is the point farthest from those before, the lowest of equals. With one start it is the first centre;
// with several, which are no centres, the mean distance to them stands in for the distance to the centres at first (Roth et
// al.'s approximate variant).
//
//	Begin, then Enqueue until State says that the search has ended; no result need be read in between.
//
// It works on Dist [P] (the squared distances to the nearest centre), Tops (CoresetTops values) and State, and fills
// Centres [Want], int32. State is CoresetState int32: the next centre, how many Centres there are so far, whether the search
// has ended (they are enough, or all points coincide with one), the bits of the next centre's squared distance, and a mark.
type Coreset struct {
	P, D, Want                    int
	Starts                        []int
	Steps                         int // centres per Enqueue
	Blocks                        int // of a launch; 0: 792, as many as CoresetTops makes room for. Results do not depend on it
	X, Dist, Tops, State, Centres Ptr
}

// CoresetState is the length of Coreset.State, and CoresetTops that of Coreset.Tops, in 4-byte values.
const (
	CoresetState = 5
	CoresetTops  = 2 * coresetBlocks

	coresetBlocks = 792       // an H200 runs 396 at once
	maxCoresetD   = 24 * 1024 // the centre lies in shared memory
)

func (c Coreset) check() error {
	const kernel = "coreset"
	if c.P < 1 || c.P > 1<<31-1 || c.D < 1 || c.D > maxCoresetD {
		return fmt.Errorf("kernels: %s: points [%d,%d], want 1 to 2^31-1 of width 1 to %d", kernel, c.P, c.D, maxCoresetD)
	}
	if c.Want < 1 || c.Want > c.P {
		return fmt.Errorf("kernels: %s: %d centres of %d points", kernel, c.Want, c.P)
	}
	if c.Blocks < 0 || c.Blocks > coresetBlocks {
		return fmt.Errorf("kernels: %s: %d blocks, at most %d can be", kernel, c.Blocks, coresetBlocks)
	}
	return aligned(kernel, 16, named{"points", c.X}, named{"dist", c.Dist}, named{"tops", c.Tops}, named{"state", c.State},
		named{"centres", c.Centres})
}

// lanes is how many lanes share a point.
func (c Coreset) lanes() int {
	each, lanes := 1, 1
	if c.D%4 == 0 {
		each = 4
	}
	for lanes < 32 && lanes*each < c.D {
		lanes *= 2
	}
	return lanes
}

func (c Coreset) blocks() int {
	most := c.Blocks
	if most == 0 {
		most = coresetBlocks
	}
	return min(ceil(c.P, 8*4*(32/c.lanes())), most)
}

// measure launches a measuring kernel; between are its own arguments.
func (c Coreset) measure(q Queue, kernel string, between ...Arg) error {
	args := append([]Arg{c.X.Arg(), Int(c.P), Int(c.D), Int(c.lanes())}, between...)
	return q.Launch(Launch{
		Module: "coreset", Kernel: kernel, Grid: [3]int{c.blocks()}, Block: 256, Shared: 64 + 4*c.D,
		Args: append(args, c.Dist.Arg(), c.Tops.Arg()), Cost: Coreset{P: c.P, D: c.D, Steps: 1}.Cost(),
	})
}

func (c Coreset) choose(q Queue, first bool) error {
	return q.Launch(Launch{
		Module: "coreset", Kernel: "coreset_choose", Block: 256, Shared: 64,
		Args: []Arg{c.Tops.Arg(), Int(c.blocks()), Bool(first), Int(c.Want), c.State.Arg(), c.Centres.Arg()},
	})
}

// Begin launches what starts the search: it empties State and chooses the first centre.
func (c Coreset) Begin(q Queue) error {
	if err := c.check(); err != nil {
		return err
	}
	if len(c.Starts) == 0 {
		return fmt.Errorf("kernels: coreset: no start")
	}
	for _, s := range c.Starts {
		if s < 0 || s >= c.P {
			return fmt.Errorf("kernels: coreset: start %d of %d points", s, c.P)
		}
	}
	err := q.Launch(Launch{
		Module: "coreset", Kernel: "coreset_begin", Block: 32, Args: []Arg{Int(c.Starts[0]), c.State.Arg()},
	})
	if err != nil || len(c.Starts) == 1 {
		return err
	}
	for nth, s := range c.Starts {
		if err := c.measure(q, "coreset_start", Int(s), Int(nth), Int(len(c.Starts))); err != nil {
			return err
		}
	}
	return c.choose(q, true)
}

// Enqueue launches the search for Steps more centres, two kernels each.
func (c Coreset) Enqueue(q Queue) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Steps < 1 {
		return fmt.Errorf("kernels: coreset: %d steps", c.Steps)
	}
	for range c.Steps {
		if err := c.measure(q, "coreset_measure", c.State.Arg()); err != nil {
			return err
		}
		if err := c.choose(q, false); err != nil {
			return err
		}
	}
	return nil
}

// Cost is that of one Enqueue in the midst of a search.
func (c Coreset) Cost() Cost {
	steps, P, D := int64(c.Steps), int64(c.P), int64(c.D)
	return Cost{Bytes: steps * (4*P*D + 8*P), Flops: steps * 3 * P * D}
}
