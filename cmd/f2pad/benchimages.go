package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/bench"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/synth"

	"github.com/spf13/pflag"
)

// benchImages says which images bench measures with.
type benchImages struct {
	folder    string
	count     int
	size      int
	defective float64
	seed      uint64
}

// mostHeld is the most that the files of bench's images may take in memory.
const mostHeld = 1 << 30

func (o *benchImages) flags(f *pflag.FlagSet) {
	f.StringVar(&o.folder, "data", "", "`DIR` with images to measure with; default: images of a woven texture")
	f.Var(number{&o.count, 1, 10_000}, "count", "images to measure with: made, or taken from --data at even distances by name")
	f.Var(number{&o.size, synth.MinSize, synth.MaxSize}, "size", "side in pixels of the images that are made, and of the model that is fitted for the run")
	f.Var(share{&o.defective, 0, 1}, "defective", "share of the images made that have a defect")
	f.Uint64Var(&o.seed, "seed", 0, "seed of every random choice")
}

// heldImages are images in memory.
type heldImages struct {
	bench.Images
	items []dataset.Item
}

// benchImages returns the images of the folder, or makes some.
func (p *program) benchImages(ctx context.Context, o benchImages) (*heldImages, error) {
	all := &heldImages{Images: bench.Images{From: o.folder, Defective: -1}}
	var err error
	if o.folder != "" {
		all.items, err = p.held(o)
	} else {
		all.From = benchTexture + " as 'f2pad synth' makes it"
		all.items, all.Defective, err = o.made(ctx)
	}
	return all, err
}

// keepScorable keeps the images that the model can score; the others are told.
func (p *program) keepScorable(ctx context.Context, all *heldImages, m *engine.Model, opts engine.Options) error {
	e, err := engine.New(m, opts)
	if err != nil {
		return err
	}
	var sound []dataset.Item
	err = e.Score(ctx, slices.Values(all.items), func(r *engine.Result) error {
		if r.Err != nil {
			p.fail(r.Item.Path, r.Err)
			return nil
		}
		if sound == nil {
			all.Height, all.Width = r.Image.Size()
		}
		sound = append(sound, r.Item)
		return nil
	})
	if err = errors.Join(err, e.Close()); err != nil {
		return err
	}
	if len(sound) == 0 {
		return errors.New("no image can be scored")
	}
	all.items, all.Count = sound, len(sound)
	hash := sha256.New()
	for _, it := range sound {
		f, _, err := it.Open()
		if err != nil {
			return err
		}
		if _, err := io.Copy(hash, f); err != nil {
			return err
		}
	}
	all.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// held reads images of a folder. One that cannot be read is told, and left out.
func (p *program) held(o benchImages) ([]dataset.Item, error) {
	var passed passedOver
	found, err := dataset.Folder(o.folder, passed.add)
	p.passedOver(passed)
	if err != nil {
		return nil, err
	}
	n := min(o.count, len(found))
	var items []dataset.Item
	bytes := 0
	for i := range n {
		it := found[(2*i+1)*len(found)/(2*n)]
		data, err := readItem(it)
		if err != nil {
			p.fail(it.Path, err)
			continue
		}
		if bytes += len(data); bytes > mostHeld {
			return nil, fmt.Errorf("%s: its images take more than %s in memory: take fewer with --count", o.folder, size(mostHeld))
		}
		it.Source = dataset.Bytes(data, time.Time{})
		items = append(items, it)
	}
	return items, nil
}

// readItem is an image's file.
func readItem(it dataset.Item) ([]byte, error) {
	f, info, err := it.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > mostHeld {
		return nil, fmt.Errorf("%s: larger than %s", it.Path, size(mostHeld))
	}
	return io.ReadAll(f)
}

// made makes images of the texture, those with a defect among the others at even distances, of all kinds in turn.
func (o benchImages) made(ctx context.Context) (items []dataset.Item, defective int, err error) {
	defects := synth.Defects()
	defective = int(math.Round(o.defective * float64(o.count)))
	bad := 0
	for i := range o.count {
		kind := synth.Good
		if (i+1)*defective/o.count > i*defective/o.count {
			kind = defects[bad%len(defects)]
			bad++
		}
		one, err := rendered(ctx, kind, 1, o.size, o.seed, benchNormal+i)
		if err != nil {
			return nil, 0, err
		}
		items = append(items, one...)
	}
	return items, defective, nil
}

// rendered makes n images of a kind, whose numbers begin at first: two numbers are two pieces of the texture.
func rendered(ctx context.Context, kind string, n, size int, seed uint64, first int) ([]dataset.Item, error) {
	items := make([]dataset.Item, n)
	for i := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		img, _, err := synth.Render(benchTexture, kind, size, seed<<32+uint64(first+i))
		if err != nil {
			return nil, err
		}
		data, err := synth.PNG(img)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%s/%03d.png", kind, first+i)
		items[i] = dataset.Item{Path: name, ID: name, Source: dataset.Bytes(data, time.Time{})}
	}
	return items, nil
}
