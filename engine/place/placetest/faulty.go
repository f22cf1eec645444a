// Package placetest is the suite that every place.Place must pass, and a place to test the engine with.
package placetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"

	"gorgonia.org/tensor"
)

// Faulty is the host under another name. Fault, if set, is asked before each operation ("detector", "begin", "score",
// "optimise", "maps", "smooth", "costs", "offsets", "spreads", "compare", "kcentre") and may fail it; n is how many images, regions or points it is
// about.
type Faulty struct {
	Number int // in its name
	Fault  func(op string, n int) error

	once sync.Once
	host place.Host
	open atomic.Int64
}

var _ place.Place = (*Faulty)(nil)

func (p *Faulty) fault(op string, n int) error {
	if p.Fault == nil {
		return nil
	}
	return p.Fault(op, n)
}

func (p *Faulty) there() place.Host {
	p.once.Do(func() { p.host = place.NewHost(nil) })
	return p.host
}

// Open is how many of its detectors and batches have not been closed.
func (p *Faulty) Open() int { return int(p.open.Load()) }

// Info says "faulty:N".
func (p *Faulty) Info() device.Info {
	return device.Info{Device: fmt.Sprintf("faulty:%d", p.Number), Name: "Faulty"}
}

// Executor implements place.Place.
func (p *Faulty) Executor() exec.Executor { return p.there().Executor() }

// Detector implements place.Place.
func (p *Faulty) Detector(s sight.Spec) (sight.Detector, error) {
	if err := p.fault("detector", 1); err != nil {
		return nil, err
	}
	d, err := p.there().Detector(s)
	if err == nil {
		p.open.Add(1)
	}
	return &detector{d, p}, err
}

// detector fails where its place does.
type detector struct {
	sight.Detector
	p *Faulty
}

func (d *detector) Begin(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) (sight.Batch, error) {
	if err := d.p.fault("begin", x.Shape()[0]); err != nil {
		return nil, err
	}
	b, err := d.Detector.Begin(ctx, x, norms, r)
	if err == nil {
		d.p.open.Add(1)
	}
	return &batch{b, d.p}, err
}

func (d *detector) Close() error {
	d.p.open.Add(-1)
	return d.Detector.Close()
}

func (d *detector) Maps(s []float32, n, h, w, H, W int, wanted []bool, dst []float32) error {
	if err := d.p.fault("maps", n); err != nil {
		return err
	}
	return d.Detector.Maps(s, n, h, w, H, W, wanted, dst)
}

// batch fails where its place does.
type batch struct {
	sight.Batch
	p *Faulty
}

func (b *batch) Optimise(ctx context.Context, problems []loop.Problem, s sight.Scale, o *loop.Options) ([][]loop.Iteration, error) {
	if err := b.p.fault("optimise", len(problems)); err != nil {
		return nil, err
	}
	return b.Batch.Optimise(ctx, problems, s, o)
}

func (b *batch) Score(ctx context.Context, x refine.Variants, r *method.Result) error {
	if err := b.p.fault("score", len(x.Of)); err != nil {
		return err
	}
	return b.Batch.Score(ctx, x, r)
}

func (b *batch) Costs(searches []refine.Search) error {
	if err := b.p.fault("costs", len(searches)); err != nil {
		return err
	}
	return b.Batch.Costs(searches)
}

func (b *batch) Close() {
	b.p.open.Add(-1)
	b.Batch.Close()
}

// Smooth implements refine.Pixels.
func (p *Faulty) Smooth(z []float32, n, h, w, s int, g pixel.Gaussian, u []float32) error {
	if err := p.fault("smooth", n); err != nil {
		return err
	}
	return p.there().Smooth(z, n, h, w, s, g, u)
}

// Offsets implements place.Place.
func (p *Faulty) Offsets(offsets []refine.Offset) error {
	if err := p.fault("offsets", len(offsets)); err != nil {
		return err
	}
	return p.there().Offsets(offsets)
}

// Spreads implements place.Place.
func (p *Faulty) Spreads(spreads []refine.Spread) error {
	if err := p.fault("spreads", len(spreads)); err != nil {
		return err
	}
	return p.there().Spreads(spreads)
}

// Compare implements refine.Pixels.
func (p *Faulty) Compare(comparisons []refine.Comparison, smooth, start pixel.Gaussian) error {
	if err := p.fault("compare", len(comparisons)); err != nil {
		return err
	}
	return p.there().Compare(comparisons, smooth, start)
}

// KCentre implements place.Place.
func (p *Faulty) KCentre(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) ([]int, error) {
	if err := p.fault("kcentre", len(x)/d); err != nil {
		return nil, err
	}
	return p.there().KCentre(ctx, x, d, want, starts, progress)
}
