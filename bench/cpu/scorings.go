package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"f2pad.example/engine"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
)

// compared are the methods that the peers' scripts know, too.
var compared = []string{"padim", "patchcore"}

func scorings() []job {
	var all []job
	for _, method := range compared {
		all = append(all, job{
			name: fmt.Sprintf("scoring files, %s on %s, batch %d", method, arch, batch),
			do:   func(m *meter, r *row) error { return m.scoring(r, method) },
		})
	}
	return all
}

// scoreLimit bounds the relative error of image scores and of the detector's maps: distances of float32 features, which
// anomalib takes from products that cancel.
const scoreLimit = 1e-3

// quickFiles is how many images a quick run scores; otherwise it is all test images.
const quickFiles = 16

// scoring measures what f2pad score does, from file to image score and the detector's map, without starting a program,
// loading a model or writing results.
func (m *meter) scoring(r *row, name string) (err error) {
	ctx := context.Background()
	f, err := m.model(ctx, name)
	if err != nil {
		return err
	}
	m.withoutORT(r)
	items := f.items
	if m.quick {
		items = items[:quickFiles]
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%d images a run", len(items)))
	var ways []way
	var want []float32
	var wantName string
	agree := func(name string, got []float32) error {
		if want == nil {
			want, wantName = got, name
			return finite(name, got)
		}
		if len(got) != len(want) {
			return fmt.Errorf("%s: %d values, want %d", name, len(got), len(want))
		}
		n, what := len(items), name+" against "+wantName
		return errors.Join(
			r.check(what+": image scores", got[:n], want[:n], scoreLimit),
			r.check(what+": maps", got[n:], want[n:], scoreLimit))
	}
	for _, e := range m.ours {
		g, err := m.engine(f, e, 0, 0, refine.Base)
		if err != nil {
			return err
		}
		score := func() (scores, maps []float32, err error) {
			err = g.Score(ctx, slices.Values(items), func(r *engine.Result) error {
				if r.Err != nil {
					return r.Err
				}
				scores, maps = append(scores, float32(r.Score)), append(maps, nd.Data(r.Maps[refine.Base])...)
				return nil
			})
			return scores, maps, err
		}
		scores, maps, err := score()
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if err := agree(e.name, append(scores, maps...)); err != nil {
			return err
		}
		ways = append(ways, way{name: e.name, ours: e.column, run: timed(func() error {
			_, _, err := score()
			return err
		})})
	}
	files := make([]string, len(items))
	for i, it := range items {
		if files[i], err = filepath.Abs(it.Path); err != nil {
			return err
		}
	}
	o, err := m.open(r, kernelsAuto, "anomalib", map[string]any{
		"arch": arch, "state": f.state, "files": files, "batch": batch, "size": size,
	})
	if err != nil {
		return err
	}
	for _, name := range o.names() {
		got, err := o.result(name)
		if err != nil {
			return err
		}
		if err := agree(name, got); err != nil {
			return err
		}
		ways = append(ways, o.way(name))
	}
	return m.race(r, ways...)
}
