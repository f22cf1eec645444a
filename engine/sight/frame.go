package sight

import (
	"fmt"
	"hash/fnv"
	"math"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"gorgonia.org/tensor"
)

// Frame is an image in the model's space: resized or at its own size, then padded by reflection so that its sides are what the
// backbone asks for.
type Frame struct {
	Y         *tensor.Dense // [3,H,W] in [0,1]
	Inside    []bool        // [H,W]: what is inspected; nil: all of the image
	Inspected []bool        // the same in the image's own pixels

	top, left        int // of the image in the frame
	height, width    int // likewise
	nativeH, nativeW int
	learned          []bool // [H,W]: what the model learned from, if that is a part
}

// maxFrame bounds the pixels of the frame of an image of native size, by its own pixels: thin images may grow to several times
// what they are, small ones to the largest square that engines take, and large ones by a quarter.
func maxFrame(pixels int) int {
	return min(max(DefaultMaxSide*DefaultMaxSide, 4*pixels), max(imageio.DefaultMaxPixels, pixels)/4*5)
}

// LayFrame says what a frame of an image of h x w pixels will be, without its pixels: H x W of them. Its sides become
// multiples of multiple, at least least.
func LayFrame(h, w int, size Size, multiple, least int) (f *Frame, H, W int, err error) {
	f = &Frame{nativeH: h, nativeW: w, height: h, width: w}
	if !size.Native() {
		f.height, f.width = size.Sides()
		if size.KeepAspect {
			f.height, f.width = fitInside(h, w, f.height, f.width)
		}
	}
	H, W = index.RoundUp(max(f.height, least), multiple), index.RoundUp(max(f.width, least), multiple)
	if size.KeepAspect && !size.Native() {
		H, W = size.Sides()
		H, W = index.RoundUp(max(H, least), multiple), index.RoundUp(max(W, least), multiple)
		f.top, f.left = (H-f.height)/2, (W-f.width)/2
	}
	if most := maxFrame(h * w); size.Native() && W > most/H {
		return nil, 0, 0, fmt.Errorf("engine: %w: %d x %d pixels become %d x %d, at most %d are allowed", imageio.ErrTooLarge,
			w, h, W, H, most)
	}
	return f, H, W, nil
}

// NewFrame brings an image into the model's space: see LayFrame.
func NewFrame(im *imageio.Image, size Size, multiple, least int) (*Frame, error) {
	h, w := im.Size()
	f, H, W, err := LayFrame(h, w, size, multiple, least)
	if err != nil {
		return nil, err
	}
	y := imageio.Resize(im.Pix, f.height, f.width) // of a grey image one plane
	if f.top > 0 || f.left > 0 {
		y, _, _ = imageio.PadReflectCentred(y, H, W)
	} else {
		y = imageio.PadReflect(y, H, W)
	}
	f.Y = (&imageio.Image{Pix: y}).RGB()
	if err := nd.Check("image", f.Y, 3, H, W); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return f, nil
}

// Size is the frame's height and width.
func (f *Frame) Size() (h, w int) { s := f.Y.Shape(); return s[1], s[2] }

// Native brings a map of the frame back to the image's own size. It is 0 where the image is not inspected.
func (f *Frame) Native(m []float32) *tensor.Dense {
	H, W := f.Size()
	crop := nd.Data(imageio.Crop(nd.Wrap(m, 1, H, W), f.top, f.left, f.height, f.width))
	if f.height != f.nativeH || f.width != f.nativeW {
		crop = imageio.ResizeMap(crop, f.height, f.width, f.nativeH, f.nativeW)
	}
	Blank(crop, f.Inspected)
	return nd.Wrap(crop, f.nativeH, f.nativeW)
}

// Cells calls visit with the index of each grid cell whose centre lies on the image itself, not on padding; of an image of which
// a part is inspected, with that of each cell that has a pixel there.
func (f *Frame) Cells(stride int, visit func(v int)) {
	H, W := f.Size()
	h, w := H/stride, W/stride
	if f.Inside != nil {
		for v, in := range f.Grid(h, w) {
			if in {
				visit(v)
			}
		}
		return
	}
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

// Seed derives the seed of an image's random choices from the model's seed and the image's content, so that it depends on
// nothing that is scored beside it.
func (f *Frame) Seed(model uint64) uint64 {
	h := fnv.New64a()
	px := nd.Data(f.Y)
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

// fitInside scales h x w so that it just fits into H x W.
func fitInside(h, w, H, W int) (int, int) {
	if h*W >= w*H {
		return H, max(1, (w*H+h/2)/h)
	}
	return max(1, (h*W+w/2)/w), W
}

// Max returns the largest value of a map on what is inspected of the image itself.
func (f *Frame) Max(m []float32) float64 {
	_, W := f.Size()
	best := math.Inf(-1)
	for i := f.top; i < f.top+f.height; i++ {
		for j := i*W + f.left; j < i*W+f.left+f.width; j++ {
			if f.Inside == nil || f.Inside[j] {
				best = max(best, float64(m[j]))
			}
		}
	}
	return best
}
