package export

import (
	"fmt"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/region"
)

// picture is an image as its mask has it.
type picture struct {
	h, w    int
	regions []found
}

// found is a region with its pixels.
type found struct {
	region.Region
	in     []bool // [Height,Width], of its box
	scored bool   // its scores are known: they are not in lines of the first versions
	score  float64
}

// picture reads the mask of the image. Where that is empty, its size is all that is read.
func (e *entry) picture() (p picture, err error) {
	if e.Mask == nil {
		return p, fmt.Errorf("%s: %w", e.Path(), errNoOutput)
	}
	path := e.at(*e.Mask)
	if e.Regions != nil && len(e.Regions) == 0 {
		p.h, p.w, err = imageio.MarksSize(path)
		return p, err
	}
	mask, h, w, err := imageio.ReadMarks(path)
	if err != nil {
		return p, err
	}
	p.h, p.w = h, w
	labels, n := region.Label(mask, h, w)
	regions := e.Regions
	if regions == nil {
		regions = region.Find(mask, make([]float32, h*w), h, w)
	}
	if len(regions) != n {
		return p, fmt.Errorf("%s: is not the mask of its line: it has %d regions, not %d", path, n, len(regions))
	}
	for _, r := range regions {
		f := found{Region: r, scored: e.Regions != nil, score: float64(r.Peak)}
		if !f.scored {
			f.score = e.ImageScore
		}
		if !f.cut(labels, h, w) {
			return p, fmt.Errorf("%s: is not the mask of its line: no region of %d pixels at %d,%d", path, r.Area, r.PeakX, r.PeakY)
		}
		p.regions = append(p.regions, f)
	}
	e.regions = len(p.regions)
	return p, nil
}

// cut takes the pixels out of the image's labels, of the region that has the peak. It reports false if that is another one.
func (f *found) cut(labels []int32, h, w int) bool {
	if f.X < 0 || f.Y < 0 || f.Width < 1 || f.Height < 1 || f.Width > w-f.X || f.Height > h-f.Y ||
		f.PeakX < f.X || f.PeakX >= f.X+f.Width || f.PeakY < f.Y || f.PeakY >= f.Y+f.Height {
		return false
	}
	label, area := labels[f.PeakY*w+f.PeakX], 0
	f.in = make([]bool, f.Width*f.Height)
	for i := range f.in {
		if labels[(f.Y+i/f.Width)*w+f.X+i%f.Width] == label {
			f.in[i] = true
			area++
		}
	}
	return label != 0 && area == f.Area
}

// outline is the region's outline in the image, with corners left out as was asked for.
func (e *entry) outline(f found) []region.Polygon {
	parts := region.Simplify(region.Outline(f.in, f.Height, f.Width), e.Simplify)
	for _, p := range parts {
		for _, ring := range append([]region.Ring{p.Outer}, p.Holes...) {
			for i := range ring {
				ring[i].X += f.X
				ring[i].Y += f.Y
			}
		}
	}
	return parts
}
