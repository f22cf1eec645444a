package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/cflow"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// layered is what a network makes of images of the bench's size: channels and grid of each layer.
type layered struct {
	name   string
	layers [][3]int
}

var flowLayers = []layered{
	{"scatter", [][3]int{{48, 64, 64}}},
	{lite, [][3]int{{24, 64, 64}, {40, 32, 32}, {112, 16, 16}}},
}

const (
	flowSteps  = 100 // of a training, for each layer
	flowImages = 8   // that are trained on, and as many others that are scored
)

// Relative errors: float32 losses, whose differences grow from step to step, and scores.
const (
	lossLimit      = 1e-3
	flowScoreLimit = 1e-3
)

func flows() []job {
	var all []job
	for _, l := range flowLayers {
		all = append(all, job{
			name: fmt.Sprintf("flows on %s, %d training steps a layer", l.name, flowSteps),
			do:   func(m *meter, r *row) error { return m.flow(r, l, "PyTorch, training") },
		}, job{
			name: fmt.Sprintf("flows on %s, scoring %d images", l.name, flowImages),
			do:   func(m *meter, r *row) error { return m.flow(r, l, "PyTorch, scoring") },
		})
	}
	return all
}

// flow measures the training of CFLOW-AD's flows in the default profile, or the scores of images with them: what the peer calls
// that is named.
func (m *meter) flow(r *row, l layered, what string) error {
	ctx := context.Background()
	o, err := cflow.ProfileOptions("compact")
	if err != nil {
		return err
	}
	o.Seed, o.MaxSteps, o.Passes, o.HoldOut, o.Checks, o.Patience = 1, flowSteps, 1e6, 0, 0, 0
	train, test := l.features(1), l.features(100)
	var losses []float32
	var took float64
	fit := func() (*cflow.Model, error) {
		losses = losses[:0]
		var began time.Time
		c, err := cflow.Fit(ctx, o, method.Fitting{Features: oneByOne(train), Progress: func(p method.Progress) {
			if p.Phase != "training" {
				return
			}
			if losses = append(losses, float32(p.Loss)); p.Done == 1 {
				began = time.Now()
			}
			if p.Done == p.Total { // the first step is not seen to begin
				took = time.Since(began).Seconds() * float64(p.Total) / float64(p.Total-1)
			}
		}})
		return c, err
	}
	c, err := fit()
	if err != nil {
		return err
	}
	want := append([]float32(nil), losses...)
	params, err := m.flowState(c, l)
	if err != nil {
		return err
	}
	params["options"], params["seed"], params["steps"] = o, o.Seed, flowSteps
	for name, f := range map[string][]*tensor.Dense{"train": train, "score": test} {
		files := make([]string, len(f))
		for i, t := range f {
			if files[i], err = m.file(fmt.Sprintf("flow-%s%d", name, i), nd.Data(t)); err != nil {
				return err
			}
		}
		params[name] = files
	}
	ours := way{name: "f2pad", ours: "go", run: func() (float64, error) {
		_, err := fit()
		return took, err
	}}
	limit := lossLimit
	if what == "PyTorch, scoring" {
		s := nd.New(flowImages, l.layers[0][1], l.layers[0][2])
		score := func() error { return c.Score(ctx, test, &method.Result{S: s}) }
		if err := score(); err != nil {
			return err
		}
		want, limit, ours.run = nd.Data(s), flowScoreLimit, timed(score)
		r.Notes = append(r.Notes, fmt.Sprintf("%d locations", len(want)))
	}
	p, err := m.open(r, kernelsAuto, "flow", params)
	if err != nil {
		return err
	}
	ways := []way{ours}
	for _, name := range p.names() {
		if name != what {
			continue
		}
		got, err := p.result(name)
		if err != nil {
			return err
		}
		if err := r.check(name+" against f2pad", got, want, limit); err != nil {
			return err
		}
		ways = append(ways, p.way(name))
	}
	return m.race(r, ways...)
}

// features of images: smooth patterns with noise, of correlated channels.
func (l layered) features(seed uint64) []*tensor.Dense {
	all := make([]*tensor.Dense, len(l.layers))
	for i, s := range l.layers {
		d, h, w := s[0], s[1], s[2]
		x, mix := normal(seed+uint64(i), 1, flowImages, d, h, w), nd.Data(normal(uint64(7+i), 1, d, 3))
		for k := range nd.Data(x) {
			c, y, at := k/(h*w)%d, float32(k/w%h)/float32(h), float32(k%w)/float32(w)
			nd.Data(x)[k] += mix[3*c] + mix[3*c+1]*y + mix[3*c+2]*at
		}
		all[i] = x
	}
	return all
}

// oneByOne visits a batch of feature maps image by image.
func oneByOne(f []*tensor.Dense) method.Features {
	return func(_ context.Context, visit func([]*tensor.Dense) error) error {
		for n := range f[0].Shape()[0] {
			one := make([]*tensor.Dense, len(f))
			for l, t := range f {
				size := nd.Size(t.Shape()[1:]...)
				one[l] = nd.Wrap(nd.Data(t)[n*size:(n+1)*size], append([]int{1}, t.Shape()[1:]...)...)
			}
			if err := visit(one); err != nil {
				return err
			}
		}
		return nil
	}
}

// flowState writes what the peer needs of a model, and returns the parameters of its case that say so.
func (m *meter) flowState(c *cflow.Model, l layered) (map[string]any, error) {
	dir, err := filepath.Abs(filepath.Join(m.work(), "flow-"+l.name))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	w := artifact.NewWriter()
	if err := c.Save(w); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "model.f2pad")
	if _, err := w.WriteFile(path); err != nil {
		return nil, err
	}
	f, err := artifact.Open(path)
	if err != nil {
		return nil, err
	}
	var info struct {
		Revision int
		Method   string
		Options  cflow.Options
		Total    float64
		Layers   []struct {
			Width            int
			Grid             [2]int
			Largest, Average float64
		}
	}
	if err := f.JSON("method/info", &info); err != nil {
		return nil, err
	}
	var largest []float64
	for i, layer := range info.Layers {
		largest = append(largest, layer.Largest)
		d := l.layers[i][0]
		for name, shape := range map[string][]int{"parameters": {-1}, "mixes": {-1, d, d}, "mean": {d}, "whiten": {d, d}} {
			x, _, err := f.Float32(fmt.Sprintf("method/layer%02d/%s", i, name), shape...)
			if err != nil {
				return nil, err
			}
			if err := writeRaw(filepath.Join(dir, fmt.Sprintf("%s%d.bin", name, i)), x); err != nil {
				return nil, err
			}
		}
	}
	return map[string]any{"layers": l.layers, "state": dir, "largest": largest, "total": info.Total}, nil
}
