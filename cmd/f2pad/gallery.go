package main

import (
	"math"
	"slices"

	"f2pad/engine"
	"f2pad/engine/imageio"
	"f2pad/engine/metric"
	"f2pad/engine/refine"
	"f2pad/engine/report"

	"gorgonia.org/tensor"
)

const (
	perReason   = 4   // images of a category that a report shows for each reason
	onSheet     = 2   // images of all categories that a sheet shows for each reason
	pictureSide = 360 // pixels
	// heatLimit times the label-free threshold is the hottest colour: all images share a map's scale.
	heatLimit = 3
)

// gallery makes the pictures of a report. It keeps small encoded ones of every defective image, some 100 kB for each,
// until it is known which are shown.
type gallery struct {
	model   *engine.Model
	classes []string
	entries map[string][]report.Entry // by class
	gains   map[string][]metric.Value // beside entries
}

func newGallery(m *engine.Model) *gallery {
	return &gallery{model: m, entries: map[string][]report.Entry{}, gains: map[string][]metric.Value{}}
}

// add makes an image's pictures.
func (g *gallery) add(c *engine.Case) error {
	if c.Mask == nil {
		return nil // normal: there is no average precision to choose by
	}
	img, err := c.Open()
	if err != nil {
		return err
	}
	e := report.Entry{
		Category: c.Item.Class, ID: c.Item.ID, Score: c.Score, Threshold: g.model.Info.Calibration.ImageThreshold,
	}
	over := func(m *tensor.Dense, threshold, limit float64) report.Picture {
		if err != nil {
			return report.Picture{}
		}
		var p report.Picture
		p, err = report.NewPicture(imageio.Thumbnail(imageio.Overlay(img, m, threshold, limit), pictureSide))
		return p
	}
	e.Image = over(c.Mask, math.Inf(1), math.Inf(1))
	e.Truth = over(c.Mask, 0.5, math.Inf(1))
	for _, k := range engine.Kinds() {
		if m, ok := c.Maps[k]; ok {
			t := c.Thresholds[k]
			e.Maps = append(e.Maps, report.Map{Name: string(k), AP: c.AP[k], Picture: over(m, t, heatLimit*t)})
		}
	}
	if err != nil {
		return err
	}
	class := c.Item.Class
	if !slices.Contains(g.classes, class) {
		g.classes = append(g.classes, class)
	}
	g.entries[class] = append(g.entries[class], e)
	g.gains[class] = append(g.gains[class], gain(c.AP))
	return nil
}

// gain is by how much the most refined map there is raises an image's average precision over the base map's.
func gain(ap map[refine.Kind]metric.Value) metric.Value {
	best := metric.Undefined()
	for _, k := range engine.Kinds() {
		if v, ok := ap[k]; ok {
			best = v
		}
	}
	if base, ok := ap[refine.Base]; ok {
		return best - base
	}
	return best
}

// choose returns what the report shows: of every class the images that refining changed most, and typical ones.
func (g *gallery) choose() []report.Entry {
	var chosen []report.Entry
	for _, class := range g.classes {
		for _, c := range report.Choose(g.gains[class], perReason) {
			e := g.entries[class][c.Index]
			e.Why = c.Why
			chosen = append(chosen, e)
		}
	}
	return chosen
}

// sheet returns what a sheet shows: of all classes together the images that refining changed most, and typical ones.
func (g *gallery) sheet() []report.Entry {
	var gains []metric.Value
	var entries []report.Entry
	for _, class := range g.classes {
		gains, entries = append(gains, g.gains[class]...), append(entries, g.entries[class]...)
	}
	var chosen []report.Entry
	for _, c := range report.Choose(gains, onSheet) {
		e := entries[c.Index]
		e.Why = c.Why
		chosen = append(chosen, e)
	}
	return chosen
}
