package engine

import (
	"fmt"
	"slices"
	"sync"

	"f2pad/engine/artifact"
	"f2pad/engine/backbone"
	"f2pad/engine/imageio"
	"f2pad/engine/nd"
	"f2pad/engine/roi"

	"gorgonia.org/tensor"
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

// inspection says which pixels of images are inspected: those in the model's region and in the one that is given. nil inspects
// everything. It is safe for concurrent use.
type inspection struct {
	own, given *roi.Region // nil: none; one of them is there

	mu   sync.Mutex
	h, w int
	in   []bool // of the last image
}

func inspect(own, given *roi.Region) *inspection {
	if own == nil && given == nil {
		return nil
	}
	return &inspection{own: own, given: given}
}

// at returns which pixels of an image of h x w are inspected, nil: all. They must not be changed.
func (n *inspection) at(h, w int) ([]bool, error) {
	if n == nil {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.in != nil && n.h == h && n.w == w {
		return n.in, nil
	}
	var in []bool
	for _, r := range []*roi.Region{n.own, n.given} {
		if r == nil {
			continue
		}
		part, err := r.At(h, w)
		if err != nil {
			return nil, err
		}
		if in == nil {
			in = part
			continue
		}
		in = slices.Clone(in)
		within(in, part)
	}
	if !slices.Contains(in, true) {
		return nil, fmt.Errorf("%w: the model's and the one given have no pixel in common", roi.ErrEmpty)
	}
	n.h, n.w, n.in = h, w, in
	return in, nil
}

// restrict makes f the frame of what is inspected of its image.
func (n *inspection) restrict(f *frame) error {
	in, err := n.at(f.nativeH, f.nativeW)
	if in == nil || err != nil {
		return err
	}
	f.inspected, f.inside = in, f.place(in)
	if !slices.Contains(f.inside, true) {
		return fmt.Errorf("engine: %w: too small to be seen in %dx%d pixels, the model's", roi.ErrEmpty, f.width, f.height)
	}
	switch {
	case n.own != nil && n.given == nil:
		f.learned = f.inside
	case n.own != nil:
		own, err := n.own.At(f.nativeH, f.nativeW)
		if err != nil {
			return err
		}
		f.learned = f.place(own)
	}
	return nil
}

// place brings pixels of the image to the frame.
func (f *frame) place(in []bool) []bool {
	H, W := f.size()
	out, crop := make([]bool, H*W), roi.Scale(in, f.nativeH, f.nativeW, f.height, f.width)
	for i := range f.height {
		copy(out[(f.top+i)*W+f.left:][:f.width], crop[i*f.width:])
	}
	return out
}

// normalized says how the image's pixels become the network's input: of a model with a region of its own by what lies in that.
func (f *frame) normalized(bb backbone.Backbone) backbone.Affine {
	if f.learned == nil {
		return bb.Normalize(f.y)
	}
	H, W := f.size()
	var all []float32
	for c := range 3 {
		all = append(all, pick(nd.Data(f.y)[c*H*W:][:H*W], f.learned)...)
	}
	return bb.Normalize(nd.Wrap(all, 3, 1, len(all)/3))
}

// grid returns which cells of a grid of h x w on the frame hold a pixel of what is inspected; nil: all is.
func (f *frame) grid(h, w int) []bool {
	if f.inside == nil {
		return nil
	}
	H, W := f.size()
	cells := make([]bool, h*w)
	for i, on := range f.inside {
		if on {
			cells[i/W*h/H*w+i%W*w/W] = true
		}
	}
	return cells
}

// pick returns the values of x at the pixels in; nil: all of x.
func pick(x []float32, in []bool) []float32 {
	if in == nil {
		return x
	}
	var out []float32
	for i, on := range in {
		if on {
			out = append(out, x[i])
		}
	}
	return out
}

// row is pick as a tensor [1,n], for what is measured pixel by pixel; nil of a nil tensor.
func row(t *tensor.Dense, in []bool) *tensor.Dense {
	if in == nil || t == nil {
		return t
	}
	x := pick(nd.Data(t), in)
	return nd.Wrap(x, 1, len(x))
}

// blank sets to 0 what is not in; nil: nothing.
func blank(x []float32, in []bool) {
	if in == nil {
		return
	}
	for i, on := range in {
		if !on {
			x[i] = 0
		}
	}
}

// spread gives every cell of x [h,w] that is not in the value of a nearest one that is, by steps to the sides: as beyond the edge of an
// image, blurring takes nothing in from there. in nil: nothing.
func spread(x []float32, in []bool, h, w int) {
	if in == nil {
		return
	}
	reached, queue := slices.Clone(in), make([]int, 0, len(in))
	for v, on := range in {
		if on {
			queue = append(queue, v)
		}
	}
	for next := 0; next < len(queue); next++ {
		v := queue[next]
		reach := func(to int) {
			if !reached[to] {
				reached[to], x[to] = true, x[v]
				queue = append(queue, to)
			}
		}
		if v >= w {
			reach(v - w)
		}
		if v%w > 0 {
			reach(v - 1)
		}
		if v%w < w-1 {
			reach(v + 1)
		}
		if v < (h-1)*w {
			reach(v + w)
		}
	}
}
