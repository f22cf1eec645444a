package engine

import (
	"fmt"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
)

// LeastWhite is the lowest white level: 8 bits in 16.
const LeastWhite = 1<<8 - 1

// whiteOf is the least white level of whole bits, 2^k - 1, that is not exceeded by the images of 16 bits among all; where there are
// none, the highest.
func whiteOf(all []intake) int {
	peak, any := 0, false
	for _, in := range all {
		if in.look.depth == 16 {
			peak, any = max(peak, in.look.peak), true
		}
	}
	if !any {
		return imageio.MaxWhite
	}
	white := LeastWhite
	for white < peak {
		white = white<<1 | 1
	}
	return white
}

func checkWhite(level int) error {
	if level < LeastWhite || level > imageio.MaxWhite {
		return fmt.Errorf("engine: white level %d, want %d to %d", level, LeastWhite, imageio.MaxWhite)
	}
	return nil
}

// decodeImage is imageio.DecodeWith of an item with a white level.
func decodeImage(it dataset.Item, lim imageio.Limits, white int, reserve func(imageio.Need) error) (*imageio.Image, error) {
	im, err := decodeItem(it, lim, reserve)
	if err != nil {
		return nil, err
	}
	im.SetWhite(white)
	return im, nil
}

func decodeItem(it dataset.Item, lim imageio.Limits, reserve func(imageio.Need) error) (*imageio.Image, error) {
	if it.Source == nil {
		return imageio.DecodeWith(it.Path, lim, reserve)
	}
	f, _, err := it.Open()
	if err != nil {
		return nil, reasoned(it.Path, err)
	}
	defer f.Close()
	return imageio.DecodeFrom(it.Path, f, lim, reserve)
}
