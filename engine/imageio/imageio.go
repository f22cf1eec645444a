// Package imageio reads images into float planes, brings planes to a size, and writes maps, masks and pictures.
package imageio

import (
	"f2pad/engine/nd"

	"gorgonia.org/tensor"
)

// Image is a decoded image, upright (EXIF orientation applied).
type Image struct {
	Pix   *tensor.Dense // [C,H,W], C = 1 (grey) or 3 (RGB), in [0,1]
	Depth int           // bits per sample of the file: 8 or 16
	// Notes say what is odd about the file though its pixels are sound: that its name ends in another format's extension,
	// that it has more pages than the first, that its EXIF block is broken.
	Notes []string
}

// Size returns the image's height and width in pixels.
func (im *Image) Size() (h, w int) {
	s := im.Pix.Shape()
	return s[1], s[2]
}

// IsGrey reports whether the image has one channel. An image whose three channels are equal everywhere is decoded as a
// grey one: how a file happens to store grey makes no difference.
func (im *Image) IsGrey() bool { return im.Pix.Shape()[0] == 1 }

// RGB returns the image as [3,H,W]: its own pixels if it has colour, a new tensor with the grey repeated if not.
func (im *Image) RGB() *tensor.Dense {
	if !im.IsGrey() {
		return im.Pix
	}
	h, w := im.Size()
	rgb := nd.New(3, h, w)
	for c := range 3 {
		copy(nd.Data(rgb)[c*h*w:], nd.Data(im.Pix))
	}
	return rgb
}
