// Package imageio reads images into float planes, brings planes to a size, and writes maps, masks and pictures.
package imageio

import (
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Image is a decoded image, upright (EXIF orientation applied).
type Image struct {
	Pix   *tensor.Dense // [C,H,W], C = 1 (grey) or 3 (RGB), in [0,1]
	Depth int           // bits per sample of the file: 8 or 16
	Peak  int           // the brightest sample of a file of 16 bits, 0 to 65535; of 8 bits it is not looked for: 0
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

// MaxWhite is the brightest that 16 bits can say, and what Decode takes as 1.
const MaxWhite = 1<<16 - 1

// SetWhite makes the sample level of a decoded image of 16 bits 1, and what is brighter too: cameras of 12 bits write values up
// to 4095. An image of 8 bits stays as it is. It changes Pix.
func (im *Image) SetWhite(level int) {
	if im.Depth != 16 || level == MaxWhite {
		return
	}
	pix := nd.Data(im.Pix)
	for i, v := range pix {
		pix[i] = min(float32(float64(v)*MaxWhite/float64(level)), 1)
	}
}

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
