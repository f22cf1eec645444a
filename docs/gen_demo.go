//go:build ignore

// gen_demo draws demo.png, the README's picture, from what `make demo` made: one row for each of a few test images, with
// the image, its ground truth, and the maps base, residual and f2pad with the outlines of their label-free masks.
//
//	make demo && go run docs/gen_demo.go
package main

import (
	"context"
	"image"
	"image/draw"
	"log"
	"math"
	"slices"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"

	"gorgonia.org/tensor"
)

const (
	side = 192
	gap  = 6
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	model, err := engine.Load("demo/weave.f2pad")
	if err != nil {
		return err
	}
	data, err := dataset.MVTec("demo/weave")
	if err != nil {
		return err
	}
	shown := slices.DeleteFunc(data.Test, func(it dataset.Item) bool {
		return !slices.Contains([]string{"test/hole/001.png", "test/scratch/001.png", "test/structural/000.png"}, it.ID)
	})
	e, err := engine.New(model, engine.Options{Maps: engine.Kinds()})
	if err != nil {
		return err
	}
	defer e.Close()
	sheet := image.NewRGBA(image.Rect(0, 0, 5*(side+gap)-gap, len(shown)*(side+gap)-gap))
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	row := 0
	err = e.Score(context.Background(), slices.Values(shown), func(r *engine.Result) error {
		if r.Err != nil {
			return r.Err
		}
		mask, err := imageio.ReadMask(r.Item.Mask, imageio.Limits{})
		if err != nil {
			return err
		}
		column := 0
		put := func(m *tensor.Dense, threshold, limit float64) {
			p := imageio.Thumbnail(imageio.Overlay(r.Image, m, threshold, limit), side)
			at := image.Pt(column*(side+gap), row*(side+gap))
			draw.Draw(sheet, p.Bounds().Add(at), p, image.Point{}, draw.Src)
			column++
		}
		put(mask, math.Inf(1), math.Inf(1))
		put(mask, 0.5, math.Inf(1))
		for _, k := range engine.Kinds() {
			put(r.Maps[k], r.PixelThreshold[k], 3*r.PixelThreshold[k])
		}
		row++
		return nil
	})
	if err != nil {
		return err
	}
	return imageio.WritePNG("docs/demo.png", sheet)
}
