package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/backbone"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/padim"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/synth"

	"gorgonia.org/tensor"
)

// arch is the network that models sit on.
const arch = "resnet18"

// fitted is a model with what it was made of.
type fitted struct {
	*engine.Model
	state string // folder with the model's state, for the peer
	items []dataset.Item

	backbone backbone.Backbone
	method   method.Method
	memory   []*refine.Normal
	norm     backbone.Affine
}

// images of the synthetic set.
const (
	trainImages      = 24
	trainImagesQuick = 8
	testImages       = 40
)

// data makes the images.
func (m *meter) data(ctx context.Context) (*dataset.Dataset, error) {
	train := trainImages
	if m.quick {
		train = trainImagesQuick
	}
	dir := filepath.Join(m.work(), fmt.Sprintf("weave-%d", train))
	o := synth.Options{Texture: "weave", Train: train, Test: testImages, Size: size, Seed: 1}
	if err := synth.Write(ctx, dir, o, nil); err != nil {
		return nil, err
	}
	return dataset.MVTec(dir)
}

// model fits a model by anomalib's conventions, which anomalib can score with, too. One of each method is made per run.
func (m *meter) model(ctx context.Context, name string) (*fitted, error) {
	if f := m.models[name]; f != nil {
		return f, nil
	}
	onnx, err := m.onnxFile(arch)
	if err != nil {
		return nil, err
	}
	data, err := m.data(ctx)
	if err != nil {
		return nil, err
	}
	made, err := engine.Fit(ctx, data.Train, engine.FitOptions{
		Method: name, Profile: "anomalib", Backbone: onnx, Layers: layers, Size: engine.Size{Px: size}, Seed: 1,
		Options: engine.Options{Places: []place.Place{place.NewHost(m.ours[0])}},
	}, nil)
	if err != nil {
		return nil, err
	}
	// The loop is measured on every region, whatever its fills explain.
	made.Info.Refine.Optimiser.ExplainedFrom, made.Info.Refine.Optimiser.ExplainedTo = 0, 1
	path := filepath.Join(m.work(), name+".f2pad")
	if _, err := made.Save(path); err != nil {
		return nil, err
	}
	f := &fitted{Model: made, items: data.Test, state: filepath.Join(m.work(), name)}
	if err := f.open(path); err != nil {
		return nil, err
	}
	if m.models == nil {
		m.models = map[string]*fitted{}
	}
	m.models[name] = f
	return f, nil
}

// open reads the parts of the model file, which the engine keeps to itself, and writes them for the peer.
func (f *fitted) open(path string) error {
	file, err := artifact.Open(path)
	if err != nil {
		return err
	}
	if f.backbone, err = backbone.Load(file); err != nil {
		return err
	}
	if b, ok := f.backbone.(backbone.External); ok {
		if err := b.Bind(b.File()); err != nil {
			return err
		}
	}
	switch f.Info.Method {
	case "padim":
		f.method, err = padim.Load(file)
	case "patchcore":
		f.method, err = patchcore.Load(file)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.state, 0o777); err != nil {
		return err
	}
	arrays := map[string]array{}
	for _, name := range []string{"mean", "factor", "bank"} {
		if section := "method/" + name; file.Has(section) {
			values, shape, err := file.Float32(section, -1, -1)
			if err != nil {
				return err
			}
			arrays[name] = array{"float32", shape}
			if err := writeRaw(f.file(name), values); err != nil {
				return err
			}
		}
	}
	if section := "method/channels"; file.Has(section) {
		values, shape, err := file.Int32(section, -1)
		if err != nil {
			return err
		}
		arrays["channels"] = array{"int32", shape}
		if err := writeRaw(f.file("channels"), values); err != nil {
			return err
		}
	}
	for i := 0; ; i++ {
		section := fmt.Sprintf("memory/%03d", i)
		if !file.Has(section) {
			break
		}
		values, shape, err := file.Uint8(section, -1, -1, -1)
		if err != nil {
			return err
		}
		n, err := refine.NewNormal(values, shape[0], shape[1], shape[2])
		if err != nil {
			return err
		}
		f.memory = append(f.memory, n)
		name := fmt.Sprintf("memory%03d", i)
		arrays[name] = array{"uint8", shape}
		if err := writeRaw(f.file(name), values); err != nil {
			return err
		}
	}
	y, err := pixels(f.items[0])
	if err != nil {
		return err
	}
	f.norm = f.backbone.Normalize(y)
	c, m := f.Info.Calibration, f.method.Map()
	text, err := json.Marshal(map[string]any{
		"method": f.Info.Method, "scale": f.norm.Scale, "shift": f.norm.Shift, "refine": f.Info.Refine, "arrays": arrays,
		"q50": c.Q50, "q995": c.Q995, "map": map[string]any{
			"nearest": m.Nearest, "sigma": m.Sigma, "radius": m.Radius, "reflect101": m.Reflect101, "q50": c.MapQ50, "q995": c.MapQ995,
		},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(f.state, "model.json"), text, 0o666)
}

// array describes a raw file of the state.
type array struct {
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
}

func (f *fitted) file(name string) string { return filepath.Join(f.state, name+".bin") }

// engine opens an engine on one of ours, with so many iterations of the optimisation (0: as many as the model says) and so
// many pixels of context (0: as many as the engine takes) until the row is done.
func (m *meter) engine(f *fitted, e executor, iterations, context int, maps ...refine.Kind) (*engine.Engine, error) {
	model := *f.Model
	model.Info.Refine = f.options(iterations)
	g, err := engine.New(&model, engine.Options{Places: []place.Place{place.NewHost(e)}, Maps: maps, Batch: batch, Context: context})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.name, err)
	}
	m.closers = append(m.closers, g.Close)
	return g, nil
}

// options are the model's with another number of iterations.
func (f *fitted) options(iterations int) refine.Options {
	o := f.Info.Refine
	if iterations > 0 {
		o.Optimiser.Iterations = iterations
		o.Optimiser.Averaged = min(o.Optimiser.Averaged, iterations)
	}
	return o
}

// batch is how many images are in work at once.
const batch = 8

// pixels decodes an image of the bench's size: [3,H,W].
func pixels(it dataset.Item) (*tensor.Dense, error) {
	im, err := imageio.Decode(it.Path, imageio.Limits{})
	if err != nil {
		return nil, err
	}
	y := im.RGB()
	return y, nd.Check(it.Path, y, 3, size, size)
}

// seed is that of an image's random choices in the engine.
func (f *fitted) seed(y *tensor.Dense) uint64 { return (&sight.Frame{Y: y}).Seed(f.Info.Seed) }
