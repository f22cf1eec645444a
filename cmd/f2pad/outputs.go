package main

import (
	"math"
	"os"
	"path/filepath"

	"f2pad/engine"
	"f2pad/engine/dataset"
	"f2pad/engine/imageio"
	"f2pad/engine/refine"
)

// outputs writes what was found in images to files below dir.
type outputs struct {
	dir                   string
	kind                  refine.Kind // the map they show
	maps, masks, overlays bool
}

// write writes an image's files, each atomically, and returns its line.
func (o *outputs) write(r *engine.Result) (scored, error) {
	line := scored{
		Image: r.Item.Path, ImageScore: r.Score, Threshold: r.Threshold, Anomalous: r.Anomalous, Refined: r.Refined, Device: r.Device,
		Seconds: r.Seconds[refine.Base],
	}
	if o.kind == "" {
		return line, nil
	}
	m, threshold := r.Maps[o.kind], r.PixelThreshold[o.kind]
	line.PixelThreshold, line.Seconds = &threshold, r.Seconds[o.kind]
	// An image that is called normal has no defect to mark: the mask must not say otherwise.
	cut := threshold
	if !r.Anomalous {
		cut = math.Inf(1)
	}
	var err error
	file := func(wanted bool, folder, ext string, write func(path string) error) *string {
		if !wanted || err != nil {
			return nil
		}
		name := folder + "/" + dataset.OutputName(r.Item.ID, ext)
		path := filepath.Join(o.dir, filepath.FromSlash(name))
		if err = os.MkdirAll(filepath.Dir(path), 0o777); err == nil {
			err = write(path)
		}
		return &name
	}
	line.Map = file(o.maps, "maps", ".tiff", func(path string) error { return imageio.WriteMap(path, m) })
	line.Mask = file(o.masks, "masks", ".png", func(path string) error { return imageio.WriteMask(path, m, cut) })
	line.Overlay = file(o.overlays, "overlays", ".png", func(path string) error {
		return imageio.WritePNG(path, imageio.Overlay(r.Image, m, cut, heatLimit*threshold))
	})
	return line, err
}
