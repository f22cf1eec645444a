package kernels

import (
	"fmt"
	"math"
	"slices"
)

// PixelStep is one iteration of the optimiser (pixel.Step) for a batch of images whose state stays on the machine. Planes are
// dense and hold float32; off the region Omega nothing is used, and nothing but SQ changed. All memory is the caller's.
//
// Everything that differs between iterations is read from the machine's memory, so with a Counter the same launches,
// captured once, replay the whole loop; past its end they do nothing.
type PixelStep struct {
	N, H, W int

	// The constants of pixel.StepOptions. Share and Norm hold the Gaussians' taps [radius+1], radius at most 16.
	Share, Norm             Ptr
	ShareRadius, NormRadius int
	Momentum, Decay         float64
	Rate, Lambda            float64
	Eps                     float64 // of pixel.NewGroupLog

	Iterations int // of the loop
	Schedule   Ptr // [Iterations,4]: StepSchedule
	Counter    Ptr // int32: iterations done; 0: Iteration says which it is
	Iteration  int // 1, 2, ... without Counter

	Tiles  Ptr // int32: ActiveTiles
	Blocks int // of a launch, at least 1; any number is right, the number of active tiles is best
	Mask   Ptr // uint8 [N,H,W], not 0 on Omega

	DX    Ptr // [N,3,H,W] gradient of the data term w.r.t. the image
	Scale Ptr // [N,H,W] c: the unit of the anomaly at each pixel
	A     Ptr // [N,3,H,W] A/c: the anomaly in that unit
	M     Ptr // [N,3,H,W] first moment
	V     Ptr // [N,H,W] second moment
	Sum   Ptr // [N,H,W] sum of ||A/c|| over the iterations that count

	SQ      Ptr // [N,H,W] scratch
	Partial Ptr // [active tiles,3] scratch, 4-byte values
	Stats   Ptr // [Iterations,N,3] 4-byte values: DecodeStats; an iteration writes its own
}

const (
	stepTileW, stepTileH = 64, 32
	stepThreads          = 128
	stepMaxRadius        = 16
)

// StepTiles is the number of tiles of an h x w image: what a batch's list of active tiles may come to for each image.
func StepTiles(h, w int) int { return ceil(h, stepTileH) * ceil(w, stepTileW) }

// ActiveTiles lists the tiles with a pixel of Omega, as PixelStep and CutGather take them: n+1 bounds, image i's tiles being
// those from bound i to bound i+1, then the tiles' numbers in ascending order; there are len - n - 1. mask is [n,h,w], not 0
// on Omega.
func ActiveTiles(mask []uint8, n, h, w int) []int32 {
	list := make([]int32, n+1)
	for i := range n {
		plane := mask[i*h*w : (i+1)*h*w]
		for y := 0; y < h; y += stepTileH {
			for x := 0; x < w; x += stepTileW {
				if anyOf(plane, y, min(y+stepTileH, h), x, min(x+stepTileW, w), w) {
					number := (i*ceil(h, stepTileH)+y/stepTileH)*ceil(w, stepTileW) + x/stepTileW
					list = append(list, int32(number))
				}
			}
		}
		list[i+1] = int32(len(list) - n - 1)
	}
	return list
}

func anyOf(plane []uint8, y0, y1, x0, x1, w int) bool {
	for y := y0; y < y1; y++ {
		for _, on := range plane[y*w+x0 : y*w+x1] {
			if on != 0 {
				return true
			}
		}
	}
	return false
}

// StepSchedule is the table of what changes from iteration to iteration [iterations,4]: Adam's two bias corrections,
// 1/(1-momentum^t) and 1/(1-decay^t), 1 if the iteration adds to Sum (t >= from), 0.
func StepSchedule(momentum, decay float64, iterations, from int) []float32 {
	table := make([]float32, 0, 4*iterations)
	for t := 1; t <= iterations; t++ {
		counts := float32(0)
		if t >= from {
			counts = 1
		}
		correctM, correctV := 1/(1-math.Pow(momentum, float64(t))), 1/(1-math.Pow(decay, float64(t)))
		table = append(table, float32(correctM), float32(correctV), counts, 0)
	}
	return table
}

// StepStats are pixel.Stats of one image and iteration; the sums' relative error is some 1e-6.
type StepStats struct {
	Penalty float32
	Support int32
	Moved   float32
}

// DecodeStats reads PixelStep.Stats, or any whole lines of it.
func DecodeStats(words []uint32) []StepStats {
	stats := make([]StepStats, len(words)/3)
	for i := range stats {
		w := words[3*i:]
		stats[i] = StepStats{math.Float32frombits(w[0]), int32(w[1]), math.Float32frombits(w[2])}
	}
	return stats
}

// Clear launches what comes before the first iteration: A, M, V and Sum become 0 everywhere, and so does the counter.
func (s PixelStep) Clear(q Queue) error {
	if err := s.check(named{"A", s.A}, named{"M", s.M}, named{"V", s.V}, named{"sum", s.Sum}); err != nil {
		return err
	}
	pixels := s.N * s.H * s.W
	if pixels/256 >= math.MaxInt32 {
		return fmt.Errorf("kernels: pixel_step: batch of %d images of %dx%d is too large", s.N, s.H, s.W)
	}
	return q.Launch(Launch{
		Module: "pixel_step", Kernel: "pixel_step_clear", Grid: [3]int{ceil(pixels, 256)}, Block: 256,
		Args: []Arg{Uint64(uint64(pixels)), s.A.Arg(), s.M.Arg(), s.V.Arg(), s.Sum.Arg(), s.Counter.Arg()},
	})
}

// Enqueue launches one iteration: three kernels.
func (s PixelStep) Enqueue(q Queue) error {
	err := s.check(named{"tiles", s.Tiles}, named{"mask", s.Mask}, named{"share", s.Share}, named{"norm", s.Norm},
		named{"schedule", s.Schedule}, named{"dx", s.DX}, named{"scale", s.Scale}, named{"A", s.A}, named{"M", s.M},
		named{"V", s.V}, named{"sum", s.Sum}, named{"SQ", s.SQ}, named{"partial", s.Partial}, named{"stats", s.Stats})
	if err != nil {
		return err
	}
	if err := s.checkConstants(); err != nil {
		return err
	}
	grid := [3]int{s.Blocks}
	rate, lambda := Float(float32(s.Rate)), Float(float32(s.Lambda))
	counter, index, iterations := s.Counter.Arg(), Int(s.Iteration-1), Int(s.Iterations)
	images := []Arg{s.Tiles.Arg(), Int(s.N), Int(s.H), Int(s.W), counter, index, s.Schedule.Arg(), iterations}
	gradient := Launch{
		Module: "pixel_step", Kernel: "pixel_step_gradient", Grid: grid, Block: stepThreads, Shared: stepWindow(3, s.ShareRadius),
		Args: slices.Concat(images, []Arg{
			s.Share.Arg(), Int(s.ShareRadius), Float(float32(s.Momentum)), Float(float32(s.Decay)), rate, lambda,
			s.Scale.Arg(), s.Mask.Arg(), s.DX.Arg(), s.A.Arg(), s.M.Arg(), s.V.Arg(), s.SQ.Arg(),
		}),
	}
	prox := Launch{
		Module: "pixel_step", Kernel: "pixel_step_prox", Grid: grid, Block: stepThreads,
		Shared: stepWindow(1, s.NormRadius) + stepThreads/32*12,
		Args: slices.Concat(images, []Arg{
			s.Norm.Arg(), Int(s.NormRadius), rate, lambda,
			Float(float32(s.Eps)), Float(float32(1 / s.Eps)), Float(float32(1 / math.Log1p(1/s.Eps))),
			s.Mask.Arg(), s.SQ.Arg(), s.M.Arg(), s.V.Arg(), s.A.Arg(), s.Sum.Arg(), s.Partial.Arg(),
		}),
	}
	stats := Launch{
		Module: "pixel_step", Kernel: "pixel_step_stats", Block: 1024,
		Args: []Arg{s.Tiles.Arg(), Int(s.N), counter, index, iterations, s.Partial.Arg(), s.Stats.Arg()},
	}
	for _, l := range []Launch{gradient, prox, stats} {
		if err := q.Launch(l); err != nil {
			return err
		}
	}
	return nil
}

// stepWindow is the shared memory of a tile and its halo, and the taps.
func stepWindow(planes, radius int) int {
	reach := ceil(radius, 4) * 4
	return 4 * (planes*(stepTileH+2*radius)*(stepTileW+2*reach) + 2*reach + 8)
}

func (s PixelStep) check(ps ...named) error {
	if err := checkImages("pixel_step", s.N, s.H, s.W); err != nil {
		return err
	}
	if s.Counter%4 != 0 {
		return fmt.Errorf("kernels: pixel_step: counter is not aligned to 4 bytes")
	}
	return aligned("pixel_step", 16, ps...)
}

func (s PixelStep) checkConstants() error {
	for _, r := range []int{s.ShareRadius, s.NormRadius} {
		if r < 0 || r > stepMaxRadius {
			return fmt.Errorf("kernels: pixel_step: radius %d, want 0 to %d", r, stepMaxRadius)
		}
	}
	if !(s.Momentum >= 0 && s.Momentum < 1 && s.Decay >= 0 && s.Decay < 1) {
		return fmt.Errorf("kernels: pixel_step: momentum %g and decay %g, want 0 to less than 1", s.Momentum, s.Decay)
	}
	for _, v := range []float64{s.Rate, s.Lambda, s.Eps} {
		if !(v > 0 && v <= 1e6) {
			return fmt.Errorf("kernels: pixel_step: rate %g, lambda %g, eps %g: want more than 0, at most 1e6", s.Rate, s.Lambda, s.Eps)
		}
	}
	if s.Iterations < 1 || s.Iterations > 1<<20 || s.Counter == 0 && (s.Iteration < 1 || s.Iteration > s.Iterations) {
		return fmt.Errorf("kernels: pixel_step: iteration %d of %d", s.Iteration, s.Iterations)
	}
	if s.Blocks < 1 || s.Blocks > math.MaxInt32 {
		return fmt.Errorf("kernels: pixel_step: %d blocks", s.Blocks)
	}
	return nil
}

// checkImages refuses batches whose planes' or tiles' numbers do not fit an int32.
func checkImages(kernel string, n, h, w int) error {
	if h < 1 || h > maxExtent || w < 1 || w > maxExtent {
		return fmt.Errorf("kernels: %s: [%d,3,%d,%d]: extents must be 1 to %d", kernel, n, h, w, maxExtent)
	}
	if n < 1 || n > 65535 || n*StepTiles(h, w) > math.MaxInt32 {
		most := min(65535, math.MaxInt32/StepTiles(h, w))
		return fmt.Errorf("kernels: %s: batch of %d images of %dx%d, want 1 to %d", kernel, n, h, w, most)
	}
	return nil
}

// Cost is that of one iteration that counts, with so many pixels of Omega: what its two passes cannot do without.
func (s PixelStep) Cost(active int) Cost {
	return Cost{
		Bytes: int64(active) * (65 + 53),
		Flops: int64(active) * int64(12*(2*s.ShareRadius+1)+40+4*(2*s.NormRadius+1)+110),
	}
}
