package engine_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/synth"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "f2pad-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := synth.Write(ctx, dir, synth.Options{Texture: "grain", Train: 8, Test: 2, Size: 64, Seed: 1}, nil); err != nil {
		log.Fatal(err)
	}
	data, err := dataset.MVTec(dir)
	if err != nil {
		log.Fatal(err)
	}

	// Fit on normal images; the model file holds everything that scoring needs.
	model, err := engine.Fit(ctx, data.Train, engine.FitOptions{Method: "padim"}, func(it dataset.Item, err error) {
		log.Printf("left out: %v", err)
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := model.Save(filepath.Join(dir, "grain.f2pad")); err != nil {
		log.Fatal(err)
	}

	// Score, refine, and write the maps at the images' own size.
	e, err := engine.New(model, engine.Options{Maps: []refine.Kind{refine.F2PAD}})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	err = e.Score(ctx, slices.Values(data.Test), func(r *engine.Result) error {
		if r.Err != nil {
			return r.Err // or note it and go on
		}
		fmt.Println(r.Item.ID, r.Maps[refine.F2PAD].Shape())
		return imageio.WriteMap(filepath.Join(dir, filepath.Base(r.Item.Path)+".tiff"), r.Maps[refine.F2PAD])
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// test/good/000.png (64, 64)
	// test/hole/000.png (64, 64)
}
