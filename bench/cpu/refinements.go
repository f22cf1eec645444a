package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"gorgonia.org/tensor"
)

func refinements() []job {
	var all []job
	for _, method := range compared {
		for _, single := range []bool{true, false} {
			what := map[bool]string{true: "one iteration", false: "all steps"}[single]
			all = append(all, job{
				name: fmt.Sprintf("refinement, %s on %s, %s", method, arch, what),
				slow: method != "padim" && !single,
				do:   func(m *meter, r *row) error { return m.refinement(r, method, single) },
			})
		}
	}
	return all
}

// Limits of relative errors. The first iteration's energies and steps come out of one pass forward and back; the step
// follows the gradient, in which a ReLU or a maximum that is close takes either way (one did: 2.2e-4). Maps are the
// end of a chain of decisions (does a pixel vanish, which fill is nearest, is it a seed) that float32 takes either way where
// it is close, so that single pixels differ by much; the limit is far below what one wrong step would do. Windows are an
// approximation where the receptive field is wider than they are: how far they are off is told with the others.
const (
	diaryLimit  = 1e-4
	stepLimit   = 1e-3
	mapLimit    = 1e-2
	windowLimit = 1e-1
)

// plan is how much is refined: images at once, and the iterations whose difference is that of one. For that of one they are more than a
// model's: what else a refinement takes varies by as much as few of them.
type plan struct{ images, few, many int }

func (m *meter) plan(single bool) plan {
	p := plan{batch, 2, refine.DefaultOptions(1).Optimiser.Iterations}
	if m.quick {
		p.images, p.few = 2, 1
	}
	if single {
		p.many = 14
	}
	return p
}

// refinement measures the refinement of images with a defect: all steps, or one iteration of the optimisation.
func (m *meter) refinement(r *row, name string, single bool) (err error) {
	ctx := context.Background()
	f, err := m.model(ctx, name)
	if err != nil {
		return err
	}
	m.withoutORT(r)
	p := m.plan(single)
	items, err := m.defects(ctx, f, p.images)
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
	params := map[string]any{"arch": arch, "state": f.state, "batch": p.images, "size": size, "iterations": p.many, "seeds": seeds}
	r.Notes = append(r.Notes, fmt.Sprintf("%d images of %d pixels at once, %d iterations", p.images, size, p.many))
	if params["images"], err = m.file("defects", raw); err != nil {
		return err
	}
	o, err := m.open(r, kernelsAuto, "f2pad", params)
	if err != nil {
		return err
	}
	ways, err := m.refiners(ctx, r, f, o, items, y, p, single)
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

// The peer's ways: peerIteration takes the time of one iteration of many, peerOnce does one alone.
const (
	peerIteration = "PyTorch"
	peerOnce      = "PyTorch, one"
)

// defects are n images with a defect in which something is suspicious.
func (m *meter) defects(ctx context.Context, f *fitted, n int) ([]dataset.Item, error) {
	e, err := m.engine(f, m.ours[0], 1, 0, refine.F2PAD)
	if err != nil {
		return nil, err
	}
	var items []dataset.Item
	enough := errors.New("enough")
	err = e.Score(ctx, slices.Values(f.items), func(r *engine.Result) error {
		if r.Err != nil {
			return r.Err
		}
		if r.Item.Class != dataset.Good && r.Refined {
			items = append(items, r.Item)
		}
		if len(items) == n {
			return enough
		}
		return nil
	})
	switch {
	case errors.Is(err, enough):
		return items, nil
	case err == nil:
		err = fmt.Errorf("something is suspicious in %d images with a defect, want %d", len(items), n)
	}
	return nil, err
}

// refiners checks ours against the peer and returns them: each executor in the engine's windows, the first on whole images,
// too.
func (m *meter) refiners(ctx context.Context, r *row, f *fitted, o *opened, items []dataset.Item, y []*tensor.Dense, p plan, single bool) ([]way, error) {
	peer, err := o.refined(len(y))
	if err != nil {
		return nil, err
	}
	if peer != nil {
		if err := m.checkDiary(ctx, r, f, y, peer.first); err != nil {
			return nil, err
		}
	}
	var ways []way
	var whole []float32 // maps after all iterations on whole images
	add := func(w way, e executor, context int) error {
		engines := map[int]*engine.Engine{}
		maps := map[int][]float32{}
		for _, n := range slices.Compact([]int{1, p.few, p.many}) {
			g, err := m.engine(f, e, n, context, refine.F2PAD)
			if err != nil {
				return err
			}
			if maps[n], _, err = scored(ctx, g, items); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			engines[n] = g
		}
		var checks []error
		if whole == nil {
			whole = maps[p.many]
			checks = append(checks, finite(w.name, whole))
			if peer != nil {
				checks = append(checks,
					r.check(w.name+" against PyTorch: map after 1 iteration", maps[1], peer.once, mapLimit),
					r.check(fmt.Sprintf("%s against PyTorch: map after %d", w.name, p.many), whole, peer.many, mapLimit))
			}
		} else {
			checks = append(checks, r.check(w.name+" against whole images: map", maps[p.many], whole, windowLimit))
		}
		refined := func(n int) (float64, error) {
			_, s, err := scored(ctx, engines[n], items)
			return s, err
		}
		w.run = func() (float64, error) { return refined(p.many) }
		if single {
			w.run = func() (float64, error) {
				few, err := refined(p.few)
				if err != nil {
					return 0, err
				}
				many, err := refined(p.many)
				return (many - few) / float64(p.many-p.few), err
			}
		}
		ways = append(ways, w)
		return errors.Join(checks...)
	}
	first := m.ours[0]
	if err := add(way{name: first.name + ", whole images", note: "the engine with context as wide as the image"}, first, size); err != nil {
		return nil, err
	}
	for _, e := range m.ours {
		if err := add(way{name: e.name, ours: e.column, note: "the engine, in windows around the region"}, e, 0); err != nil {
			return nil, err
		}
	}
	return ways, nil
}

// checkDiary compares the energies, the support and the step of the first iteration, by image.
func (m *meter) checkDiary(ctx context.Context, r *row, f *fitted, y []*tensor.Dense, first []float32) error {
	diary, err := firstIterations(ctx, f, m.ours[0], y)
	if err != nil {
		return err
	}
	for k, part := range diaryParts(diary) {
		want := first[k*len(y) : (k+1)*len(y)]
		if err := r.check(m.ours[0].name+" against PyTorch: first iteration's "+part.name, part.values, want, part.limit); err != nil {
			return err
		}
	}
	return nil
}

// peerMaps is what the peer computes: maps [N,H,W] after many iterations and after one, and the first iteration's figures.
type peerMaps struct{ many, once, first []float32 }

// refined asks the peer for the maps of n images; nil without a peer.
func (o *opened) refined(n int) (*peerMaps, error) {
	if _, ok := o.ways[peerIteration]; !ok {
		return nil, nil
	}
	var p peerMaps
	for name, maps := range map[string]*[]float32{peerIteration: &p.many, peerOnce: &p.once} {
		all, err := o.result(name)
		if err != nil {
			return nil, err
		}
		cells := n * size * size
		if want := cells + 4*n; len(all) != want {
			return nil, fmt.Errorf("%s: %d values, want %d", name, len(all), want)
		}
		*maps, p.first = all[:cells], all[cells:]
	}
	return &p, nil
}

// diaryPart is one figure of all images' first iterations, in the peer's order.
type diaryPart struct {
	name   string
	limit  float64
	values []float32
}

func diaryParts(diary []loop.Iteration) []diaryPart {
	parts := []diaryPart{
		{name: "data term", limit: diaryLimit}, {name: "penalty", limit: diaryLimit}, {name: "support", limit: diaryLimit},
		{name: "step", limit: stepLimit},
	}
	for _, d := range diary {
		for k, v := range []float64{d.Data, d.Penalty, float64(d.Support), d.Step} {
			parts[k].values = append(parts[k].values, float32(v))
		}
	}
	return parts
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
