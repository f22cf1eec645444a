package sight

import (
	"fmt"
	"slices"
	"sync"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/roi"

	"gorgonia.org/tensor"
)

// Inspection says which pixels of images are inspected: those in the model's region and in the one that is given. nil inspects
// everything. It is safe for concurrent use.
type Inspection struct {
	own, given *roi.Region // nil: none; one of them is there

	mu   sync.Mutex
	h, w int
	in   []bool // of the last image
}

// Inspect returns what is inspected under a model's own region and one that is given; nil: none.
func Inspect(own, given *roi.Region) *Inspection {
	if own == nil && given == nil {
		return nil
	}
	return &Inspection{own: own, given: given}
}

// At returns which pixels of an image of h x w are inspected, nil: all. They must not be changed.
func (n *Inspection) At(h, w int) ([]bool, error) {
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
		Within(in, part)
	}
	if !slices.Contains(in, true) {
		return nil, fmt.Errorf("%w: the model's and the one given have no pixel in common", roi.ErrEmpty)
	}
	n.h, n.w, n.in = h, w, in
	return in, nil
}

// Restrict makes f the frame of what is inspected of its image.
func (n *Inspection) Restrict(f *Frame) error {
	in, err := n.At(f.nativeH, f.nativeW)
	if in == nil || err != nil {
		return err
	}
	f.Inspected, f.Inside = in, f.place(in)
	if !slices.Contains(f.Inside, true) {
		return fmt.Errorf("engine: %w: too small to be seen in %dx%d pixels, the model's", roi.ErrEmpty, f.width, f.height)
	}
	switch {
	case n.own != nil && n.given == nil:
		f.learned = f.Inside
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
func (f *Frame) place(in []bool) []bool {
	H, W := f.Size()
	out, crop := make([]bool, H*W), roi.Scale(in, f.nativeH, f.nativeW, f.height, f.width)
	for i := range f.height {
		copy(out[(f.top+i)*W+f.left:][:f.width], crop[i*f.width:])
	}
	return out
}

// Normalized says how the image's pixels become the network's input: of a model with a region of its own by what lies in that.
func (f *Frame) Normalized(bb backbone.Backbone) backbone.Affine {
	if f.learned == nil {
		return bb.Normalize(f.Y)
	}
	H, W := f.Size()
	var all []float32
	for c := range 3 {
		all = append(all, Pick(nd.Data(f.Y)[c*H*W:][:H*W], f.learned)...)
	}
	return bb.Normalize(nd.Wrap(all, 3, 1, len(all)/3))
}

// Grid returns which cells of a grid of h x w on the frame hold a pixel of what is inspected; nil: all is.
func (f *Frame) Grid(h, w int) []bool {
	if f.Inside == nil {
		return nil
	}
	H, W := f.Size()
	cells := make([]bool, h*w)
	for i, on := range f.Inside {
		if on {
			cells[i/W*h/H*w+i%W*w/W] = true
		}
	}
	return cells
}

// Pick returns the values of x at the pixels in; nil: all of x.
func Pick(x []float32, in []bool) []float32 {
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

// Row is Pick as a tensor [1,n], for what is measured pixel by pixel; nil of a nil tensor.
func Row(t *tensor.Dense, in []bool) *tensor.Dense {
	if in == nil || t == nil {
		return t
	}
	x := Pick(nd.Data(t), in)
	return nd.Wrap(x, 1, len(x))
}

// Blank sets to 0 what is not in; nil: nothing.
func Blank(x []float32, in []bool) {
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

// Within leaves of a mask what is in; nil: all.
func Within(mask, in []bool) {
	for i, on := range in {
		mask[i] = mask[i] && on
	}
}
