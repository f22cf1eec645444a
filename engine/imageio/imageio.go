// Package imageio reads images into float planes and writes maps, masks and overlays.
package imageio

import "gorgonia.org/tensor"

// Image is a decoded image, upright (EXIF orientation applied).
type Image struct {
	Pix   *tensor.Dense // [C,H,W], C = 1 (grey) or 3 (RGB), in [0,1]
	Depth int           // bits per sample of the file: 8 or 16
}
