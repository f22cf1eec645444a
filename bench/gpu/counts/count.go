package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"f2pad.example/cgo/cuda"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	enginerun "f2pad.example/engine/run"
)

// precisions are those of the dry devices, a device each.
var precisions = []cuda.Precision{cuda.Float32, cuda.Float16}

// counted is what a device was given to do for the images.
type counted struct {
	method     string
	precision  cuda.Precision
	batch      int
	images     int
	refined    int     // of these
	suspect    float64 // share of the pixels
	counts     map[string]*tally
	iterations int // that are in counts[partIteration]
}

// fit is a model and what to count it on.
type fit struct {
	o      options
	method string
	model  *engine.Model
	items  []dataset.Item
}

// fitted fits a model on the host.
func fitted(ctx context.Context, o options, method string, data *dataset.Dataset) (*fit, error) {
	m, err := engine.Fit(ctx, data.Train, engine.FitOptions{
		Method: method, Backbone: o.backbone, Layers: o.layers, Size: engine.Size{Px: o.side}, Seed: 1, Paintings: 16,
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("fit of %s: %w", method, err)
	}
	return &fit{o, method, m, data.Test}, nil
}

// count refines the images, so many at once, and returns what each device was given to do; warm, once more than is counted: what is brought
// and made for the first time is not in it.
func (f *fit) count(ctx context.Context, batch int, warm bool, cache string) (all []counted, err error) {
	s := &shadow{Host: place.NewHost(nil)}
	defer func() {
		for _, d := range s.dry {
			err = errors.Join(err, d.Close())
		}
	}()
	for i, p := range precisions {
		d, err := openDry(i, p, filepath.Join(cache, "cubin"))
		if err != nil {
			return nil, err
		}
		s.dry = append(s.dry, d)
	}
	e, err := engine.New(f.model, engine.Options{Maps: []refine.Kind{refine.F2PAD}, Places: []place.Place{s}, Batch: batch})
	if err != nil {
		return nil, err
	}
	sum := counted{method: f.method, batch: batch, images: len(f.items)}
	if warm {
		if err := e.Score(ctx, slices.Values(f.items), func(r *engine.Result) error { return r.Err }); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	for _, d := range s.dry {
		d.reset()
	}
	err = e.Score(ctx, slices.Values(f.items), func(r *engine.Result) error {
		if r.Refined {
			sum.refined++
		}
		sum.suspect += r.Suspect / float64(len(f.items))
		return r.Err
	})
	for _, d := range s.dry {
		c := sum
		d.mu.Lock()
		c.precision, c.counts, c.iterations = d.precision, d.counts, d.iterations
		d.mu.Unlock()
		d.reset() // what closing does is not counted
		all = append(all, c)
	}
	return all, errors.Join(err, e.Close())
}

// share is what images cost one core of the host, in seconds of processor time an image.
type share struct {
	method string
	images int
	stages []engine.StageTime // each with its parts
	places map[string]float64 // by part: what a GPU would do of it
	all    float64
}

// share refines the images once more, on one core, with everything written.
func (f *fit) share(ctx context.Context, out string) (sh share, err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := &clocked{Host: place.NewHost(nil), spent: map[string]time.Duration{}}
	var spent engine.Spent
	e, err := engine.New(f.model, engine.Options{Maps: []refine.Kind{refine.F2PAD}, Places: []place.Place{c}, Batch: 1, Timer: spent.Add, Fingerprints: true})
	if err != nil {
		return sh, err
	}
	defer func() { err = cmp.Or(err, e.Close()) }()
	began := peak.Clock()
	sum, err := enginerun.Run(ctx, e, enginerun.Options{
		Dir: out, Kind: refine.F2PAD, Timer: spent.Add, Info: enginerun.Info{Maps: true, Masks: true, Overlays: true},
	}, enginerun.Inputs{Items: valid(f.items)})
	if err != nil {
		return sh, err
	}
	if sum.Failed > 0 {
		return sh, fmt.Errorf("%d images failed", sum.Failed)
	}
	n := float64(len(f.items))
	sh = share{method: f.method, images: len(f.items), stages: spent.Times(), places: map[string]float64{}, all: (peak.Clock() - began) / n}
	for i := range sh.stages {
		sh.stages[i].Seconds, sh.stages[i].CPU = sh.stages[i].Seconds/n, sh.stages[i].CPU/n
	}
	for part, d := range c.spent {
		sh.places[part] = d.Seconds() / n
	}
	return sh, nil
}

func valid(items []dataset.Item) iter.Seq2[dataset.Item, error] {
	return func(yield func(dataset.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}
