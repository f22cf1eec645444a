package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"f2pad.example/cgo/cuda"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/device"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// The parts of an engine's work on a device.
const (
	partOnce      = "model"     // the network and the method, once
	partScores    = "scores"    // images as they were given
	partAsked     = "questions" // what the detector finds in fills and in moved images
	partPixels    = "fills"     // what compares fills
	partMaps      = "base maps"
	partOptimise  = "optimisation"
	partIteration = "an iteration" // of it, the first of each call left out
)

// parts lists them in the order of the page, but for the iteration, which is in the optimisation.
var parts = []string{partOnce, partScores, partMaps, partPixels, partOptimise, partAsked}

// shadow is a place where the host computes, and dry devices are asked for all that they would be asked for if they did. So counts are of
// what real values lead to, and cost what the host takes for the images.
type shadow struct {
	place.Host
	dry []*dryDevice
}

var _ place.Place = (*shadow)(nil)

// dryDevice is a device of a driver that computes nothing.
type dryDevice struct {
	*cuda.Device
	precision cuda.Precision

	turn       sync.Mutex // of calls: what is counted is the call's
	mu         sync.Mutex
	part       string
	counts     map[string]*tally
	iterations int
	since      *tally // the last step of the optimisation that goes on; nil: there was none
}

func openDry(ordinal int, p cuda.Precision, cache string) (*dryDevice, error) {
	d := &dryDevice{precision: p}
	d.reset()
	var err error
	d.Device, err = cuda.OpenWith(ordinal, p, gpu.Options{Watch: d.watch, Cache: cache})
	return d, err
}

func (d *dryDevice) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.part, d.iterations, d.counts = partOnce, 0, map[string]*tally{}
	for _, p := range append(slices.Clone(parts), partIteration) {
		d.counts[p] = newTally()
	}
}

// watch counts. A step of the pixels ends an iteration.
func (d *dryDevice) watch(g gpu.Given) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[d.part].given(g)
	if d.part != partOptimise {
		return
	}
	if d.since != nil {
		d.since.given(g)
	}
	if g.What == gpu.Launched && g.Launch.Kernel == "pixel_step_stats" {
		if d.since != nil {
			d.counts[partIteration].add(d.since)
			d.iterations++
		}
		d.since = newTally()
	}
}

// all asks the devices, one after the other.
func (s *shadow) all(part string, f func(d *dryDevice, i int) error) error {
	var errs []error
	for i, d := range s.dry {
		d.turn.Lock()
		d.mu.Lock()
		d.part, d.since = part, nil
		d.mu.Unlock()
		errs = append(errs, f(d, i))
		d.turn.Unlock()
	}
	return errors.Join(errs...)
}

// Info is a device's: the engine shall do what it does for one.
func (s *shadow) Info() device.Info { return s.dry[0].Info() }

func (s *shadow) Detector(spec sight.Spec) (sight.Detector, error) {
	host, err := s.Host.Detector(spec)
	if err != nil {
		return nil, err
	}
	d := &shadowDetector{Detector: host, s: s, dry: make([]sight.Detector, len(s.dry))}
	spec.Timer = nil // told by the host
	return d, s.all(partOnce, func(on *dryDevice, i int) (err error) {
		d.dry[i], err = on.Detector(spec)
		return err
	})
}

func (s *shadow) Smooth(z []float32, n, h, w, k int, g pixel.Gaussian, u []float32) error {
	err := s.all(partPixels, func(d *dryDevice, _ int) error { return d.Smooth(z, n, h, w, k, g, u) })
	return errors.Join(err, s.Host.Smooth(z, n, h, w, k, g, u))
}

func (s *shadow) Compare(c []refine.Comparison, smooth, start pixel.Gaussian) error {
	err := s.all(partPixels, func(d *dryDevice, _ int) error { return d.Compare(c, smooth, start) })
	return errors.Join(err, s.Host.Compare(c, smooth, start))
}

func (s *shadow) Offsets(o []refine.Offset) error {
	err := s.all(partPixels, func(d *dryDevice, _ int) error { return d.Offsets(o) })
	return errors.Join(err, s.Host.Offsets(o))
}

func (s *shadow) Spreads(o []refine.Spread) error {
	err := s.all(partPixels, func(d *dryDevice, _ int) error { return d.Spreads(o) })
	return errors.Join(err, s.Host.Spreads(o))
}

// shadowDetector is a network and a method on the host and on the devices.
type shadowDetector struct {
	sight.Detector
	s   *shadow
	dry []sight.Detector
}

func (t *shadowDetector) Begin(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) (sight.Batch, error) {
	b := &shadowBatch{t: t, dry: make([]sight.Batch, len(t.dry))}
	err := t.s.all(partScores, func(_ *dryDevice, i int) (err error) {
		b.dry[i], err = t.dry[i].Begin(ctx, x, norms, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.Batch, err = t.Detector.Begin(ctx, x, norms, r)
	return b, err
}

func (t *shadowDetector) Maps(s []float32, n, h, w, H, W int, wanted []bool, dst []float32) error {
	err := t.s.all(partMaps, func(_ *dryDevice, i int) error { return t.dry[i].Maps(s, n, h, w, H, W, wanted, dst) })
	return errors.Join(err, t.Detector.Maps(s, n, h, w, H, W, wanted, dst))
}

func (t *shadowDetector) Close() error {
	err := t.s.all(partOnce, func(_ *dryDevice, i int) error { return t.dry[i].Close() })
	return errors.Join(err, t.Detector.Close())
}

// shadowBatch is images that all have scored.
type shadowBatch struct {
	sight.Batch
	t   *shadowDetector
	dry []sight.Batch
}

func (b *shadowBatch) Optimise(ctx context.Context, ps []loop.Problem, scale sight.Scale, o *loop.Options) ([][]loop.Iteration, error) {
	err := b.t.s.all(partOptimise, func(d *dryDevice, i int) error {
		_, err := b.dry[i].Optimise(ctx, copied(ps), scale, o)
		d.known(ps, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.Batch.Optimise(ctx, ps, scale, o)
}

// copied are problems whose states may change.
func copied(ps []loop.Problem) []loop.Problem {
	all := slices.Clone(ps)
	for i := range all {
		all[i].States = nil
		for _, s := range ps[i].States {
			c := *s
			c.A, c.M, c.V, c.Sum = slices.Clone(s.A), slices.Clone(s.M), slices.Clone(s.V), slices.Clone(s.Sum)
			all[i].States = append(all[i].States, &c)
		}
	}
	return all
}

// known charges an optimisation with what launches do not know: the pixels that are optimised, each in one window at least, and the
// cells.
func (d *dryDevice) known(ps []loop.Problem, o *loop.Options) {
	pixels, cells := 0, 0
	for i := range ps {
		if len(ps[i].States) == 0 {
			continue
		}
		pixels += ps[i].Area()
		for _, c := range ps[i].Cells {
			if c {
				cells++
			}
		}
	}
	if pixels == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	step := kernels.PixelStep{ShareRadius: len(o.Step.Share.Taps()) - 1, NormRadius: len(o.Step.Norm.Taps()) - 1}
	charge := func(t *tally, times int) {
		for range times {
			t.charge("pixel_step_gradient", step.Cost(pixels), 0) // and pixel_step_prox
			t.charge("cut", kernels.Cut{}.Cost(pixels), 0)
			t.charge("cut_gather", kernels.CutGather{}.Cost(pixels, pixels), 0)
			t.charge("energy", kernels.Energy{}.Cost(cells), 0)
		}
	}
	charge(d.counts[partOptimise], o.Iterations)
	charge(d.counts[partIteration], o.Iterations-1) // as the first is not counted there
}

func (b *shadowBatch) Score(ctx context.Context, x refine.Variants, r *method.Result) error {
	err := b.t.s.all(partAsked, func(_ *dryDevice, i int) error { return b.dry[i].Score(ctx, x, r) })
	return errors.Join(err, b.Batch.Score(ctx, x, r))
}

func (b *shadowBatch) Costs(searches []refine.Search) error {
	err := b.t.s.all(partPixels, func(_ *dryDevice, i int) error { return b.dry[i].Costs(searches) })
	return errors.Join(err, b.Batch.Costs(searches))
}

func (b *shadowBatch) Close() {
	_ = b.t.s.all(partScores, func(_ *dryDevice, i int) error { b.dry[i].Close(); return nil })
	b.Batch.Close()
}
