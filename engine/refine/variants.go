package refine

import "fmt"

// Variants are K images made of inputs of a Run: with other values at some pixels, then moved.
type Variants struct {
	Of      []int    // [K] which of the inputs
	Changes []Change // [K], each of an image's own; nil: none
	DY, DX  int      // what is at (y,x) is from (y+DY, x+DX), or from the nearest place in the image
}

// Change is other values of pixels of an image.
type Change struct {
	Pixels []int32   // [P] indices y*W+x, ascending
	Values []float32 // [3,P] in [0,1]
}

// Check refuses what are no variants of n images of h x w pixels.
func (x *Variants) Check(n, h, w int) error {
	if x.Changes != nil && len(x.Changes) != len(x.Of) {
		return fmt.Errorf("refine: changes of %d images for %d variants", len(x.Changes), len(x.Of))
	}
	for k, i := range x.Of {
		if i < 0 || i >= n {
			return fmt.Errorf("refine: variant %d is of image %d of %d", k, i, n)
		}
	}
	for k, c := range x.Changes {
		if len(c.Values) != 3*len(c.Pixels) {
			return fmt.Errorf("refine: image %d: %d values for %d pixels that change, want 3 for each", x.Of[k], len(c.Values), len(c.Pixels))
		}
		last := int32(-1)
		for _, p := range c.Pixels {
			if int(p) >= h*w || p <= last {
				return fmt.Errorf("refine: image %d: pixel %d of %d x %d changes after pixel %d, want them ascending and in the image",
					x.Of[k], p, h, w, last)
			}
			last = p
		}
	}
	return nil
}

// Put makes the change in an image [3,n].
func (c *Change) Put(image []float32) {
	n, P := len(image)/3, len(c.Pixels)
	for ch := range 3 {
		plane := image[ch*n:][:n]
		for i, v := range c.Values[ch*P:][:P] {
			plane[c.Pixels[i]] = v
		}
	}
}
