package run_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/run"
)

// Images that are no files, here bytes in memory, are scored into a folder; run again, nothing is left to do.
func Example() {
	out, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(out)
	m, err := engine.Load(filepath.Join("..", "testdata", "r4", "padim.f2pad"))
	if err != nil {
		log.Fatal(err)
	}
	e, err := engine.New(m, engine.Options{Maps: []refine.Kind{refine.Base}, Fingerprints: true})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()

	// What comes from an archive, a queue or a request implements dataset.Source.
	images := func(yield func(dataset.Item, error) bool) {
		for _, name := range []string{"good.png", "hole.png"} {
			data, err := os.ReadFile(filepath.Join("..", "testdata", name))
			item := dataset.Item{Path: "photos.tar/" + name, ID: name, Source: dataset.Bytes(data, time.Time{})}
			if !yield(item, err) {
				return
			}
		}
	}
	options := run.Options{
		Dir: out, Kind: refine.Base, Info: run.Info{Version: "v1", Model: m.SHA256(), Maps: true, Masks: true},
		Tell: func(event run.Event) error {
			switch event := event.(type) {
			case run.Scored:
				fmt.Println("scored", event.Path(), *event.Mask)
			case run.Failed:
				fmt.Println("failed", event.Err)
			case run.Kept:
				fmt.Println("kept", event.Path)
			}
			return nil
		},
	}
	for range 2 {
		sum, err := run.Run(context.Background(), e, options, run.Inputs{Items: images})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(sum.Images, "images,", sum.Kept, "kept")
	}
	// Output:
	// scored photos.tar/good.png masks/good.png
	// scored photos.tar/hole.png masks/hole.png
	// 2 images, 0 kept
	// kept photos.tar/good.png
	// kept photos.tar/hole.png
	// 2 images, 2 kept
}
