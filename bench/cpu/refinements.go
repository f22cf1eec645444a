package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"f2pad/engine"
	"f2pad/engine/dataset"
	"f2pad/engine/nd"
	"f2pad/engine/refine"

	"gorgonia.org/tensor"
)

func refinements() []job {
	var all []job
	for _, method := range engine.Methods() {
		for _, single := range []bool{true, false} {
			what := map[bool]string{true: "one iteration", false: "all steps"}[single]
			all = append(all, job{
				name: fmt.Sprintf("refinement, %s on %s, %s, batch %d", method, arch, what, batch),
				do:   func(m *meter, r *row) error { return m.refinement(r, method, single) },
			})
		}
	}
	return all
}

// Limits of relative errors. The first iteration's energies and steps come out of one pass forward and back. Maps are the
// end of a chain of decisions (does a pixel vanish, which fill is nearest, is it a seed) that float32 takes either way where
// it is close, so that single pixels differ by much; the limit is far below what one wrong step would do.
const (
	diaryLimit = 1e-3
	mapLimit   = 2e-2
)

// Iterations whose difference is timed.
const (
	fewIterations  = 2
	manyIterations = 12
)

// refinement measures the refinement of images with a defect: all steps, or one iteration of the optimisation.
func (m *meter) refinement(r *row, name string, single bool) (err error) {
	ctx := context.Background()
	f, err := m.model(ctx, name)
	if err != nil {
		return err
	}
	m.withoutORT(r)
	items, err := m.defects(ctx, f)
	if err != nil {
		return err
	}
	var y []*tensor.Dense
	var raw []float32
	var seeds []string
	for _, it := range items {
		t, err := pixels(it)
		if err != nil {
			return err
		}
		if f.backbone.Normalize(t) != f.norm {
			return errors.New("the backbone normalises each image by itself: the peer does not")
		}
		y, raw, seeds = append(y, t), append(raw, nd.Data(t)...), append(seeds, strconv.FormatUint(f.seed(t), 10))
	}
	params := map[string]any{"arch": arch, "state": f.state, "batch": batch, "size": size, "seeds": seeds}
	if params["images"], err = m.file("defects", raw); err != nil {
		return err
	}
	o, err := m.open(r, kernelsAuto, "f2pad", params)
	if err != nil {
		return err
	}
	ways, err := m.refiners(ctx, r, f, o, items, y, single)
	if err != nil {
		return err
	}
	for _, name := range o.names() {
		if single == (name == peerIteration) && name != peerOnce {
			ways = append(ways, o.way(name))
		}
	}
	return m.race(r, ways...)
}

// The peer's ways: peerIteration takes the time of one iteration of as many as the model has, peerOnce does one alone.
const (
	peerIteration = "PyTorch"
	peerOnce      = "PyTorch, one"
)

// defects are images in which something is suspicious, as many as a batch holds.
func (m *meter) defects(ctx context.Context, f *fitted) ([]dataset.Item, error) {
	e, err := f.engine(m.ours[0], 1, refine.F2PAD)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	var items []dataset.Item
	enough := errors.New("enough")
	err = e.Score(ctx, slices.Values(f.items), func(r *engine.Result) error {
		if r.Err != nil {
			return r.Err
		}
		if r.Item.Class != dataset.Good && r.Refined {
			items = append(items, r.Item)
		}
		if len(items) == batch {
			return enough
		}
		return nil
	})
	if len(items) < batch && err == nil {
		err = fmt.Errorf("something is suspicious in %d images with a defect, want %d", len(items), batch)
	}
	if errors.Is(err, enough) {
		err = nil
	}
	return items, err
}

// refiners checks ours, each executor with the engine's windows and with whole images, against the peer, and returns them.
func (m *meter) refiners(ctx context.Context, r *row, f *fitted, o *opened, items []dataset.Item, y []*tensor.Dense, single bool) ([]way, error) {
	many, once, first, err := o.refined(len(y))
	if err != nil {
		return nil, err
	}
	var ways []way
	for _, e := range m.ours {
		maps := map[int][]float32{}
		for _, n := range []int{1, manyIterations} {
			if maps[n], _, err = engineRefined(ctx, f, e, items, n); err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
		}
		w, err := newWhole(f, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		m.closers = append(m.closers, w.net.Close)
		whole, _, diary, err := w.refined(ctx, f, y, manyIterations)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		checks := []error{r.check(e.name+": map of windows against whole images", maps[manyIterations], whole, mapLimit)}
		if many != nil {
			checks = append(checks,
				r.check(e.name+" against PyTorch: map after 1 iteration", maps[1], once, mapLimit),
				r.check(fmt.Sprintf("%s against PyTorch: map after %d iterations", e.name, manyIterations), maps[manyIterations], many, mapLimit))
			for k, part := range diaryParts(diary) {
				checks = append(checks, r.check(e.name+" against PyTorch: first iteration's "+part.name, part.values, first[k*len(y):(k+1)*len(y)], diaryLimit))
			}
		}
		if err := errors.Join(checks...); err != nil {
			return nil, err
		}
		run := func(refined func(n int) (float64, error)) func() (float64, error) {
			if !single {
				return func() (float64, error) { return refined(manyIterations) }
			}
			return func() (float64, error) {
				few, err := refined(fewIterations)
				if err != nil {
					return 0, err
				}
				many, err := refined(manyIterations)
				return (many - few) / (manyIterations - fewIterations), err
			}
		}
		engines := map[int]*engine.Engine{}
		for _, n := range []int{fewIterations, manyIterations} {
			if engines[n], err = f.engine(e, n, refine.F2PAD); err != nil {
				return nil, err
			}
			m.closers = append(m.closers, engines[n].Close)
		}
		ways = append(ways,
			way{name: e.name, ours: e.column, note: "the engine, in windows around the region", run: run(func(n int) (float64, error) {
				_, s, err := scored(ctx, engines[n], items)
				return s, err
			})},
			way{name: e.name + ", whole images", note: "every iteration on whole images", run: run(func(n int) (float64, error) {
				_, s, _, err := w.refined(ctx, f, y, n)
				return s, err
			})})
	}
	return ways, nil
}

// refined are the peer's maps after many iterations and after one, and the first iteration's diary; nil without a peer.
func (o *opened) refined(n int) (many, once, first []float32, err error) {
	if _, ok := o.ways[peerIteration]; !ok {
		return nil, nil, nil, nil
	}
	parts := [2][]float32{}
	for i, name := range []string{peerIteration, peerOnce} {
		if parts[i], err = o.result(name); err != nil {
			return nil, nil, nil, err
		}
		if want := n*size*size + 4*n; len(parts[i]) != want {
			return nil, nil, nil, fmt.Errorf("%s: %d values, want %d", name, len(parts[i]), want)
		}
	}
	cells := n * size * size
	return parts[0][:cells], parts[1][:cells], parts[0][cells:], nil
}

// diaryPart is one figure of all images' first iterations, in the peer's order.
type diaryPart struct {
	name   string
	values []float32
}

func diaryParts(diary []refine.Iteration) []diaryPart {
	parts := []diaryPart{{name: "data term"}, {name: "penalty"}, {name: "support"}, {name: "step"}}
	for _, d := range diary {
		for k, v := range []float64{d.Data, d.Penalty, float64(d.Support), d.Step} {
			parts[k].values = append(parts[k].values, float32(v))
		}
	}
	return parts
}

// engineRefined refines items with an engine of its own.
func engineRefined(ctx context.Context, f *fitted, e executor, items []dataset.Item, iterations int) ([]float32, float64, error) {
	g, err := f.engine(e, iterations, refine.F2PAD)
	if err != nil {
		return nil, 0, err
	}
	defer g.Close()
	return scored(ctx, g, items)
}

// scored refines items and returns their maps, one after another, and the engine's own seconds from features to maps.
func scored(ctx context.Context, e *engine.Engine, items []dataset.Item) (maps []float32, seconds float64, err error) {
	err = e.Score(ctx, slices.Values(items), func(r *engine.Result) error {
		if r.Err != nil {
			return r.Err
		}
		maps = append(maps, nd.Data(r.Maps[refine.F2PAD])...)
		seconds += r.Seconds[refine.F2PAD]
		return nil
	})
	return maps, seconds, err
}
