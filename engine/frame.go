package engine

import (
	"fmt"
	"hash/fnv"

	"f2pad/engine/imageio"
	"f2pad/engine/nd"
	"f2pad/engine/pixel"

	"gorgonia.org/tensor"
)

// frame is an image in the model's space: resized or at its own size, then padded by reflection so that its sides are
// what the backbone asks for. crop is where the image lies in it.
type frame struct {
	y                *tensor.Dense // [3,H,W] in [0,1]
	top, left        int
	height, width    int // of the crop
	nativeH, nativeW int
}

// maxFrame bounds the pixels of the frame of an image of native size, by its own pixels: thin images may grow to several times
// what they are, small ones to the largest square that engines take.
func maxFrame(pixels int) int {
	return max(DefaultMaxSide*DefaultMaxSide, 4*min(pixels, imageio.DefaultMaxPixels))
}

// newFrame brings an image into the model's space: its sides become multiples of multiple, at least least.
func newFrame(im *imageio.Image, size Size, multiple, least int) (*frame, error) {
	y := im.RGB()
	f := &frame{nativeH: y.Shape()[1], nativeW: y.Shape()[2]}
	f.height, f.width = f.nativeH, f.nativeW
	if !size.Native() {
		f.height, f.width = size.Px, size.Px
		if size.KeepAspect {
			f.height, f.width = fitInside(f.nativeH, f.nativeW, size.Px)
		}
		y = imageio.Resize(y, f.height, f.width)
	}
	h, w := roundUp(max(f.height, least), multiple), roundUp(max(f.width, least), multiple)
	if most := maxFrame(f.nativeH * f.nativeW); size.Native() && w > most/h {
		return nil, fmt.Errorf("engine: %w: %d x %d pixels become %d x %d, at most %d are allowed", imageio.ErrTooLarge,
			f.nativeW, f.nativeH, w, h, most)
	}
	if size.KeepAspect && !size.Native() {
		h = roundUp(max(size.Px, least), multiple)
		w = h
		y, f.top, f.left = imageio.PadReflectCentred(y, h, w)
	} else {
		y = imageio.PadReflect(y, h, w)
	}
	if err := nd.Check("image", y, 3, h, w); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	f.y = y
	return f, nil
}

func (f *frame) size() (h, w int) { s := f.y.Shape(); return s[1], s[2] }

// native brings a map of the frame back to the image's own size.
func (f *frame) native(m []float32) *tensor.Dense {
	H, W := f.size()
	crop := nd.Data(imageio.Crop(nd.Wrap(m, 1, H, W), f.top, f.left, f.height, f.width))
	if f.height != f.nativeH || f.width != f.nativeW {
		crop = imageio.ResizeMap(crop, f.height, f.width, f.nativeH, f.nativeW)
	}
	return nd.Wrap(crop, f.nativeH, f.nativeW)
}

// cells calls visit with the index of each grid cell whose centre lies on the image itself, not on padding.
func (f *frame) cells(stride int, visit func(v int)) {
	H, W := f.size()
	h, w := H/stride, W/stride
	inside := func(cell, first, extent int) bool {
		centre2 := 2*cell*stride + stride - 1 // twice the centre's pixel coordinate
		return centre2 >= 2*first && centre2 <= 2*(first+extent-1)
	}
	for i := range h {
		for j := range w {
			if inside(i, f.top, f.height) && inside(j, f.left, f.width) {
				visit(i*w + j)
			}
		}
	}
}

// seed derives the seed of an image's random choices from the model's seed and the image's content, so that it depends on
// nothing that is scored beside it.
func (f *frame) seed(model uint64) uint64 {
	h := fnv.New64a()
	px := nd.Data(f.y)
	buf := make([]byte, 0, 4096)
	for _, v := range px {
		buf = append(buf, pixel.To8(v))
		if len(buf) == cap(buf) {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	return h.Sum64() ^ model*0x9e3779b97f4a7c15
}

// fitInside scales h x w so that the longer side is px.
func fitInside(h, w, px int) (int, int) {
	if h >= w {
		return px, max(1, (w*px+h/2)/h)
	}
	return max(1, (h*px+w/2)/w), px
}

func roundUp(n, k int) int { return (n + k - 1) / k * k }
