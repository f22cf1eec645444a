package main

import (
	"cmp"
	"math"
	"slices"

	"f2pad.example/engine"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/report"

	"gorgonia.org/tensor"
)

const (
	perSide     = 8   // misses, and false alarms, that a report shows
	perReason   = 4   // images of a category that a report shows for each reason
	onSheet     = 2   // images of all categories that a sheet shows for each reason
	pictureSide = 360 // pixels
)

// gallery makes the pictures of a report. It keeps small encoded ones of every defective image with ground truth, and of those
// that the threshold decides most wrongly, some 100 kB for each, until it is known which are shown.
type gallery struct {
	model   *engine.Model
	classes []string
	entries map[string][]report.Entry // by class
	gains   map[string][]metric.Value // beside entries
	byAP    bool                      // there are not two maps to compare: gains are the AP

	misses, alarms []report.Entry // perSide of each at most
	crossed        int            // all of them
}

func newGallery(m *engine.Model) *gallery {
	return &gallery{model: m, entries: map[string][]report.Entry{}, gains: map[string][]metric.Value{}}
}

// add makes an image's pictures.
func (g *gallery) add(c *engine.Case) error {
	if c.Mask == nil && !c.Wrong() {
		return nil // there is no average precision to choose by
	}
	img, err := c.Open()
	if err != nil {
		return err
	}
	img.Dim(c.Inspected)
	e := report.Entry{
		Category: c.Item.Class, ID: c.Item.ID, Normal: c.Normal(), Score: c.Score, Threshold: c.ImageThreshold,
	}
	over := func(img *imageio.Image, m *tensor.Dense, threshold, limit float64) report.Picture {
		if err != nil {
			return report.Picture{}
		}
		var p report.Picture
		p, err = report.NewPicture(imageio.Thumbnail(imageio.Overlay(img, m, threshold, limit), pictureSide))
		return p
	}
	h, w := img.Size()
	e.Image = over(img, nd.New(h, w), math.Inf(1), math.Inf(1))
	if c.Mask != nil {
		e.Truth = over(img, c.Mask, 0.5, math.Inf(1))
	}
	for _, k := range engine.Kinds() {
		m, ok := c.Maps[k]
		if !ok {
			continue
		}
		heat := imageio.FromImage(imageio.Overlay(img, m, math.Inf(1), imageio.HeatLimit*g.model.Info.Calibration.PixelThreshold[k]))
		marked := nd.New(h, w)
		for i, on := range c.Marked(k) {
			if on {
				nd.Data(marked)[i] = 1
			}
		}
		e.Maps = append(e.Maps, report.Map{Name: string(k), AP: c.AP[k], Picture: over(heat, marked, 0.5, math.Inf(1))})
	}
	if err != nil {
		return err
	}
	if c.Wrong() {
		g.cross(e)
	}
	if c.Mask == nil {
		return nil
	}
	class := c.Item.Class
	if !slices.Contains(g.classes, class) {
		g.classes = append(g.classes, class)
	}
	g.entries[class] = append(g.entries[class], e)
	g.byAP = !paired(c.AP)
	g.gains[class] = append(g.gains[class], gain(c.AP))
	return nil
}

// cross keeps an image that the threshold decides wrongly, if few are more wrong.
func (g *gallery) cross(e report.Entry) {
	g.crossed++
	list, farther := &g.misses, func(a, b report.Entry) int { return cmp.Compare(a.Score, b.Score) }
	e.Why = report.Miss
	if e.Normal {
		list, farther = &g.alarms, func(a, b report.Entry) int { return cmp.Compare(b.Score, a.Score) }
		e.Why = report.FalseAlarm
	}
	*list = append(*list, e)
	slices.SortStableFunc(*list, farther)
	*list = (*list)[:min(perSide, len(*list))]
}

// crossing returns the images that the threshold decides most wrongly, misses first, and how many more there are.
func (g *gallery) crossing() (shown []report.Entry, left int) {
	shown = slices.Concat(g.misses, g.alarms)
	return shown, g.crossed - len(shown)
}

// paired reports whether there is a base map and a refined one.
func paired(ap map[refine.Kind]metric.Value) bool {
	_, base := ap[refine.Base]
	return base && len(ap) > 1
}

// gain is by how much the most refined map there is raises an image's average precision over the base map's; the average
// precision itself where there are not both.
func gain(ap map[refine.Kind]metric.Value) metric.Value {
	best := metric.Undefined()
	for _, k := range engine.Kinds() {
		if v, ok := ap[k]; ok {
			best = v
		}
	}
	if paired(ap) {
		return best - ap[refine.Base]
	}
	return best
}

// pick chooses images by what refining changed or, where there is nothing to compare, by their average precision.
func (g *gallery) pick(gains []metric.Value, each int) []report.Choice {
	if g.byAP {
		return report.ChooseByAP(gains, each)
	}
	return report.Choose(gains, each)
}

// choose returns what the report shows: of every class the images that refining changed most, and typical ones.
func (g *gallery) choose() []report.Entry {
	var chosen []report.Entry
	for _, class := range g.classes {
		for _, c := range g.pick(g.gains[class], perReason) {
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
	for _, c := range g.pick(gains, onSheet) {
		e := entries[c.Index]
		e.Why = c.Why
		chosen = append(chosen, e)
	}
	return chosen
}
