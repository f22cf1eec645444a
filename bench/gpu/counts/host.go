package main

import (
	"context"
	"sync"
	"time"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"

	"gorgonia.org/tensor"
)

// clocked is the host, and tells for how long it is asked for what a GPU would do: by the part that a shadow counts it under, in processor
// time of the calling thread.
type clocked struct {
	place.Host
	mu    sync.Mutex
	spent map[string]time.Duration
}

func (c *clocked) in(part string) (done func()) {
	began := peak.Thread()
	return func() {
		d := peak.Thread() - began
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spent[part] += d
	}
}

func (c *clocked) Detector(s sight.Spec) (sight.Detector, error) {
	d, err := c.Host.Detector(s)
	return &clockedDetector{d, c}, err
}

func (c *clocked) Smooth(z []float32, n, h, w, k int, g pixel.Gaussian, u []float32) error {
	defer c.in(partPixels)()
	return c.Host.Smooth(z, n, h, w, k, g, u)
}

func (c *clocked) Compare(all []refine.Comparison, smooth, start pixel.Gaussian) error {
	defer c.in(partPixels)()
	return c.Host.Compare(all, smooth, start)
}

func (c *clocked) Offsets(all []refine.Offset) error {
	defer c.in(partPixels)()
	return c.Host.Offsets(all)
}

func (c *clocked) Spreads(all []refine.Spread) error {
	defer c.in(partPixels)()
	return c.Host.Spreads(all)
}

type clockedDetector struct {
	sight.Detector
	c *clocked
}

func (d *clockedDetector) Begin(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) (sight.Batch, error) {
	defer d.c.in(partScores)()
	b, err := d.Detector.Begin(ctx, x, norms, r)
	return &clockedBatch{b, d.c}, err
}

func (d *clockedDetector) Maps(s []float32, n, h, w, H, W int, wanted []bool, dst []float32) error {
	defer d.c.in(partMaps)()
	return d.Detector.Maps(s, n, h, w, H, W, wanted, dst)
}

type clockedBatch struct {
	sight.Batch
	c *clocked
}

func (b *clockedBatch) Optimise(ctx context.Context, ps []loop.Problem, scale sight.Scale, o *loop.Options) ([][]loop.Iteration, error) {
	defer b.c.in(partOptimise)()
	return b.Batch.Optimise(ctx, ps, scale, o)
}

func (b *clockedBatch) Score(ctx context.Context, x refine.Variants, r *method.Result) error {
	defer b.c.in(partAsked)()
	return b.Batch.Score(ctx, x, r)
}

func (b *clockedBatch) Costs(searches []refine.Search) error {
	defer b.c.in(partPixels)()
	return b.Batch.Costs(searches)
}
