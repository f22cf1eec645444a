package refine

import (
	"fmt"
	"slices"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"gorgonia.org/tensor"
)

// Normal is a remembered normal image in 8 bits. It is immutable.
type Normal struct {
	c, h, w int
	data    []uint8 // [c,h,w]
}

// NewNormal returns the image with the planes data [c,h,w], which it keeps; c is 1 (grey) or 3.
func NewNormal(data []uint8, c, h, w int) (*Normal, error) {
	if c != 1 && c != 3 {
		return nil, fmt.Errorf("refine: a normal image of %d planes, want 1 or 3", c)
	}
	if h < 1 || w < 1 || len(data)/c/h != w || len(data)%(c*h) != 0 {
		return nil, fmt.Errorf("refine: a normal image of %d bytes for shape [%d %d %d]", len(data), c, h, w)
	}
	return &Normal{c, h, w, data}, nil
}

// Remember rounds the image y [3,H,W] in [0,1] to 8 bits, and to one plane if its three are equal.
func Remember(y *tensor.Dense) (*Normal, error) {
	if err := nd.Check("refine: normal image", y, 3, -1, -1); err != nil {
		return nil, err
	}
	h, w := y.Shape()[1], y.Shape()[2]
	data := make([]uint8, 3*h*w)
	for i, v := range nd.Data(y) {
		data[i] = pixel.To8(v)
	}
	n := h * w
	if slices.Equal(data[:n], data[n:2*n]) && slices.Equal(data[:n], data[2*n:]) {
		return NewNormal(slices.Clip(slices.Clone(data[:n])), 1, h, w)
	}
	return NewNormal(data, 3, h, w)
}

// Planes returns the image's planes and their shape [C,H,W], which are shared.
func (n *Normal) Planes() (data []uint8, shape []int) { return n.data, []int{n.c, n.h, n.w} }

// at is the value in [0,1] of channel ch; a grey image has the same in all three.
func (n *Normal) at(ch, y, x int) float32 {
	return unit[n.data[(min(ch, n.c-1)*n.h+y)*n.w+x]]
}

// crop copies a window of channel ch into dst [h,w].
func (n *Normal) crop(dst []float32, ch int, win pixel.Box) {
	w := win.W()
	for y := range win.H() {
		row := dst[y*w:][:w]
		for x, v := range n.data[(min(ch, n.c-1)*n.h+win.Y0+y)*n.w+win.X0:][:w] {
			row[x] = unit[v]
		}
	}
}

// unit is what the 8-bit values are in [0,1].
var unit = func() (u [256]float32) {
	for v := range u {
		u[v] = float32(v) / 255
	}
	return u
}()
