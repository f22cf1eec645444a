// Package truth reads ground truth: masks that people or other programs drew, of any format that imageio reads.
package truth

import (
	"fmt"
	"os"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// half is the brightness, and the opacity, above which a pixel counts.
const half = 0.5

// Mask is a ground truth.
type Mask struct {
	Pix *tensor.Dense // [H,W], 1 where the defect is, 0 elsewhere
	// Dark says that a file is not 0 everywhere, but nowhere brighter than half (127 of 255): its values are taken for 0 and 1,
	// or for numbers of classes, and all but 0 for the defect.
	Dark bool
}

// Empty reports whether the mask marks nothing.
func (m *Mask) Empty() bool {
	for _, v := range nd.Data(m.Pix) {
		if v != 0 {
			return false
		}
	}
	return true
}

// Read reads the ground truth of an image of h x w pixels: a file or, of an image with several (MVTec LOCO AD), the union of
// the files in a folder. In each file the defect is
//
//   - where any channel is brighter than half or, if that is nowhere, where any is not 0;
//   - none of what is transparent (alpha up to half, where alpha varies); and if all that is to be seen has one colour, be it
//     black, the shape is in the alpha: the defect is all that is to be seen.
//
// The EXIF orientation is applied. Errors name the file: those of imageio.Decode, and of another size, which is noticed before
// the pixels are decoded.
func Read(path string, h, w int, lim imageio.Limits) (*Mask, error) {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		items, err := dataset.Folder(path, nil)
		if err != nil {
			return nil, err
		}
		files = files[:0]
		for _, it := range items {
			files = append(files, it.Path)
		}
	}
	union := &Mask{Pix: nd.New(h, w)}
	for _, f := range files {
		im, visible, err := imageio.DecodeVisible(f, lim, func(n imageio.Need) error {
			if n.Height != h || n.Width != w {
				return fmt.Errorf("mask of %dx%d pixels for an image of %dx%d", n.Width, n.Height, w, h)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		union.add(im, visible)
	}
	return union, nil
}

// ReadMask reads one file, of whatever size, as Read does.
func ReadMask(path string, lim imageio.Limits) (*Mask, error) {
	im, visible, err := imageio.DecodeVisible(path, lim, nil)
	if err != nil {
		return nil, err
	}
	m := &Mask{Pix: nd.New(im.Size())}
	m.add(im, visible)
	return m, nil
}

// add marks what one file marks.
func (m *Mask) add(im *imageio.Image, visible []bool) {
	h, w := im.Size()
	pix, out := nd.Data(im.Pix), nd.Data(m.Pix)
	if visible != nil {
		if oneColour(pix, visible) {
			for i, on := range visible {
				if on {
					out[i] = 1
				}
			}
			return
		}
		for i := range pix {
			if !visible[i%(h*w)] {
				pix[i] = 0
			}
		}
	}
	var brightest float32
	for _, v := range pix {
		brightest = max(brightest, v)
	}
	above := float32(half)
	if brightest <= half {
		above = 0
		m.Dark = m.Dark || brightest > 0
	}
	for i, v := range pix {
		if v > above {
			out[i%(h*w)] = 1
		}
	}
}

// oneColour reports whether all visible pixels are of one colour; pix is [C,H,W] and visible [H,W].
func oneColour(pix []float32, visible []bool) bool {
	n := len(visible)
	for plane := 0; plane < len(pix); plane += n {
		first := -1
		for i, on := range visible {
			if !on {
				continue
			}
			if first < 0 {
				first = i
			}
			if pix[plane+i] != pix[plane+first] {
				return false
			}
		}
	}
	return true
}
