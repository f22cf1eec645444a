package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/pretrained"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// realSets are the data sets whose features are searched, by their folders in realData.
var realSets = []string{"ball-screw", "magnetic-tile"}

var realData = filepath.Join("..", "shared", "data")

// Beyond coresetLimit members the choice would take minutes.
const (
	coresetLimit = 4_000
	coresetFrom  = 20_000
)

// patches are vectors of PatchCore's.
type patches struct {
	set     string
	embed   int
	d       int
	normal  []float32 // [,d], of training images
	queries []float32 // [,d], of a normal and of a defective image
}

// patches computes those of a data set, with the embedding of so many values, 0: the default one; limit of the normal ones.
func (m *meter) patches(set string, embed, limit int) (*patches, error) {
	if m.vectors != nil && m.vectors.set == set && m.vectors.embed == embed {
		return m.vectors, nil
	}
	data, err := dataset.MVTec(filepath.Join(realData, set))
	if err != nil {
		return nil, missing{fmt.Errorf("f2pad: no data: %w", err)}
	}
	known, ok := pretrained.Find(pretrained.Networks(), lite)
	if !ok {
		return nil, fmt.Errorf("no network %q", lite)
	}
	folder, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	path, err := known.Locate(filepath.Join(folder, "f2pad", "backbones"))
	if err != nil {
		return nil, missing{fmt.Errorf("f2pad: %w", err)}
	}
	b, err := backbone.OpenONNX(path, known.Layers, known.Preprocess)
	if err != nil {
		return nil, err
	}
	defective := slices.IndexFunc(data.Test, func(it dataset.Item) bool { return !it.Normal() })
	whole := slices.IndexFunc(data.Test, dataset.Item.Normal)
	if defective < 0 || whole < 0 {
		return nil, fmt.Errorf("%s has no normal or no defective test image", set)
	}
	p := &patches{set: set, embed: embed}
	if p.normal, p.d, err = vectors(b, data.Train, embed, limit); err != nil {
		return nil, err
	}
	if p.queries, _, err = vectors(b, []dataset.Item{data.Test[whole], data.Test[defective]}, embed, 0); err != nil {
		return nil, err
	}
	m.vectors = p
	return p, nil
}

// vectors are the patch vectors of images, or a random subset of limit of them.
func vectors(b *backbone.ONNX, items []dataset.Item, embed, limit int) (x []float32, d int, err error) {
	g, err := b.Graph(size, size)
	if err != nil {
		return nil, 0, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return nil, 0, err
	}
	net, err := goexec.New().Compile(g, false)
	if err != nil {
		return nil, 0, err
	}
	defer net.Close()
	o, err := patchcore.ProfileOptions("f2pad")
	if err != nil {
		return nil, 0, err
	}
	o.EmbedDim, o.MaxPatches, o.Projection = embed, limit, patchcore.NoProjection
	features := func(ctx context.Context, visit func([]*tensor.Dense) error) error {
		for _, it := range items {
			im, err := imageio.Decode(it.Path, imageio.Limits{})
			if err != nil {
				return err
			}
			y := (&imageio.Image{Pix: imageio.Resize(im.Pix, size, size)}).RGB()
			a, in := b.Normalize(y), nd.New(1, 3, size, size)
			for k, v := range nd.Data(y) {
				c := k / (size * size)
				nd.Data(in)[k] = v*a.Scale[c] + a.Shift[c]
			}
			var f []*tensor.Dense
			for _, out := range g.Outputs {
				f = append(f, nd.New(append([]int{1}, shapes[out][1:]...)...))
			}
			if err := net.Forward(ctx, []*tensor.Dense{in}, f); err != nil {
				return err
			}
			if err := visit(f); err != nil {
				return err
			}
		}
		return nil
	}
	// The choice of the coreset sees the vectors.
	_, err = patchcore.FitWith(context.Background(), o, method.Fitting{
		Features: features,
		KCentre: func(_ context.Context, all []float32, dim, _ int, starts []int, _ func(done, total int)) ([]int, error) {
			x, d = all, dim
			return starts, nil
		},
	})
	return x, d, err
}

// bank is so many of the normal patches, and how they were chosen.
func (p *patches) bank(rows int) ([]float32, string, error) {
	n := len(p.normal) / p.d
	if n < rows {
		return nil, "", missing{fmt.Errorf("f2pad: %s has %d patches", p.set, n)}
	}
	var index []int
	how := "the bank is a uniform subset"
	if rows <= coresetLimit {
		how = fmt.Sprintf("the bank is a coreset of %d patches", min(n, coresetFrom))
		var err error
		index, err = patchcore.KCentre(context.Background(), p.normal[:min(n, coresetFrom)*p.d], p.d, rows, []int{0}, nil)
		if err != nil {
			return nil, "", err
		}
	} else {
		for i := range rows {
			index = append(index, i*n/rows)
		}
	}
	bank := make([]float32, 0, rows*p.d)
	for _, i := range index {
		bank = append(bank, p.normal[i*p.d:(i+1)*p.d]...)
	}
	return bank, how, nil
}
