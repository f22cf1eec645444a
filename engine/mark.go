package engine

import (
	"fmt"
	"image"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
)

// Mark returns the mask [H,W] of the map of kind k, after what o does to it, and its regions, the one with the highest peak first. Both
// are empty of an image that is called normal: it has no defect to mark, and its mask must not say otherwise.
func (r *Result) Mark(k refine.Kind, o region.Options) (marked []bool, regions []region.Region) {
	m := r.Maps[k]
	h, w := m.Shape()[0], m.Shape()[1]
	if !r.Anomalous {
		return make([]bool, h*w), []region.Region{}
	}
	marked = Marked(m, r.PixelThreshold[k], r.Inspected, o)
	return marked, region.Find(marked, nd.Data(m), h, w)
}

// Overlay shows the map of kind k over the image, dim where that is not inspected, and the outline of a mask as Mark gives it; label
// asks for the verdict in the upper left corner. It uses r.Image up.
func (r *Result) Overlay(k refine.Kind, marked []bool, label bool) *image.RGBA {
	r.Image.Dim(r.Inspected)
	over := imageio.OverlayMarks(r.Image, r.Maps[k], marked, imageio.HeatLimit*r.PixelThreshold[k])
	if label {
		imageio.Label(over, r.verdict())
	}
	return over
}

// verdict is what a label says of an image.
func (r *Result) verdict() string {
	if r.Anomalous {
		return fmt.Sprintf("anomalous %.4g > %.4g", r.Score, r.Threshold)
	}
	return fmt.Sprintf("normal %.4g <= %.4g", r.Score, r.Threshold)
}
