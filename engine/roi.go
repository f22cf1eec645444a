package engine

import (
	"fmt"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/roi"
)

// ROI is what a model records of its region of interest: how large the image is that it was made for, and how many of its pixels
// are inspected. All is 0 where all of every image is.
type ROI struct {
	Width  int `json:"width"`
	Height int `json:"height"`
	Pixels int `json:"pixels"`
}

func (r ROI) check() error {
	if r == (ROI{}) {
		return nil
	}
	if err := (imageio.Limits{MinSide: 1}).Check(r.Width, r.Height); err != nil {
		return err
	}
	if r.Pixels < 1 || r.Pixels > r.Width*r.Height {
		return fmt.Errorf("pixels is %d, want 1 to %d", r.Pixels, r.Width*r.Height)
	}
	return nil
}

const roiSection = "roi"

// saveROI writes a region as bits, rows padded to bytes.
func saveROI(w *artifact.Writer, r *roi.Region) error {
	if r == nil {
		return nil
	}
	h, width := r.Size()
	stride := (width + 7) / 8
	bits := make([]uint8, h*stride)
	for i, on := range r.Pixels() {
		if on {
			bits[i/width*stride+i%width/8] |= 1 << (i % width % 8)
		}
	}
	return w.Uint8(roiSection, bits, h, stride)
}

func loadROI(f *artifact.File, info ROI) (*roi.Region, error) {
	if info == (ROI{}) {
		return nil, nil
	}
	stride := (info.Width + 7) / 8
	bits, _, err := f.Uint8(roiSection, info.Height, stride)
	if err != nil {
		return nil, err
	}
	in, count := make([]bool, info.Height*info.Width), 0
	for i := range in {
		if in[i] = bits[i/info.Width*stride+i%info.Width/8]>>(i%info.Width%8)&1 == 1; in[i] {
			count++
		}
	}
	if count != info.Pixels {
		return nil, fmt.Errorf("section %q: %d pixels are inspected, the model says %d", roiSection, count, info.Pixels)
	}
	return roi.New("the model", in, info.Height, info.Width)
}

func roiOf(r *roi.Region) ROI {
	if r == nil {
		return ROI{}
	}
	h, w := r.Size()
	n := 0
	for _, on := range r.Pixels() {
		if on {
			n++
		}
	}
	return ROI{Width: w, Height: h, Pixels: n}
}
