package engine

import (
	"fmt"

	"f2pad.example/engine/imageio"
)

// Inputs is what the images are like that a model was made of, those to calibrate on among them: their own sizes, as files, and how many are grey or have colour
// (imageio.Image.IsGrey), with how many bits per sample. Of models before revision 3 it is not known, and all is zero.
type Inputs struct {
	Width  [2]int `json:"width"`  // px: the least and the most
	Height [2]int `json:"height"` // px
	Grey   int    `json:"grey"`
	Colour int    `json:"colour"`
	Bits8  int    `json:"bits8"`
	Bits16 int    `json:"bits16"`
	Peak16 int    `json:"peak16"` // the brightest sample of those of 16 bits, 0 to 65535
}

// look is what an image is like, without its pixels.
type look struct {
	h, w, depth int
	peak        int // imageio.Image.Peak
	grey        bool
}

func lookOf(im *imageio.Image) look {
	h, w := im.Size()
	return look{h, w, im.Depth, im.Peak, im.IsGrey()}
}

// add counts an image.
func (in *Inputs) add(l look) {
	h, w := l.h, l.w
	if in.Grey+in.Colour == 0 {
		in.Width, in.Height = [2]int{w, w}, [2]int{h, h}
	}
	in.Width = [2]int{min(in.Width[0], w), max(in.Width[1], w)}
	in.Height = [2]int{min(in.Height[0], h), max(in.Height[1], h)}
	if l.grey {
		in.Grey++
	} else {
		in.Colour++
	}
	if l.depth == 16 {
		in.Bits16++
		in.Peak16 = max(in.Peak16, l.peak)
	} else {
		in.Bits8++
	}
}

// check refuses what add never makes; the error begins with the field.
func (in *Inputs) check() error {
	for _, side := range []struct {
		name   string
		limits [2]int
	}{{"width", in.Width}, {"height", in.Height}} {
		if r := side.limits; r[0] < 0 || r[1] < r[0] {
			return fmt.Errorf("%s is %d to %d", side.name, r[0], r[1])
		}
	}
	if min(in.Grey, in.Colour, in.Bits8, in.Bits16) < 0 {
		return fmt.Errorf("grey, colour, bits8 and bits16 are %d, %d, %d and %d, want none below 0", in.Grey, in.Colour, in.Bits8, in.Bits16)
	}
	if in.Peak16 < 0 || in.Peak16 > imageio.MaxWhite {
		return fmt.Errorf("peak16 is %d, want 0 to %d", in.Peak16, imageio.MaxWhite)
	}
	return nil
}

// Trait names what an image may differ in from those that a model learned from.
type Trait string

const (
	SizeTrait   Trait = "size"   // its width or height is outside of what they had
	ColourTrait Trait = "colour" // all of them are grey and it is not, or the other way round
	DepthTrait  Trait = "depth"  // none of them has its bits per sample
	WhiteTrait  Trait = "white"  // it is brighter than the white level, and clipped there
)

// Difference is in what, and how, an image differs from those that a model learned from.
type Difference struct {
	Trait Trait
	Text  string // for people, without the image's name
}

// Unlike says in what an image differs from all that the model learned from, so that its scores may mean nothing. Nothing is
// known of that for models before revision 3.
func (m *Model) Unlike(im *imageio.Image) []Difference {
	return m.Info.Inputs.unlike(lookOf(im), m.Info.WhiteLevel)
}

// unlike is Unlike for inputs whose white level is as given. Of no inputs only that is known.
func (in *Inputs) unlike(l look, white int) (all []Difference) {
	if l.peak > white {
		all = append(all, Difference{WhiteTrait, fmt.Sprintf("has values up to %d; what is above the white level, %d, is taken as that", l.peak, white)})
	}
	if in.Grey+in.Colour == 0 {
		return all
	}
	add := func(t Trait, is, were string) {
		all = append(all, Difference{t, fmt.Sprintf("is %s; the model learned from %s", is, were)})
	}
	h, w := l.h, l.w
	if w < in.Width[0] || w > in.Width[1] || h < in.Height[0] || h > in.Height[1] {
		were := fmt.Sprintf("images of %dx%d px", in.Width[0], in.Height[0])
		if in.Width[0] != in.Width[1] || in.Height[0] != in.Height[1] {
			were += fmt.Sprintf(" to %dx%d px", in.Width[1], in.Height[1])
		}
		add(SizeTrait, fmt.Sprintf("%dx%d px", w, h), were)
	}
	switch {
	case l.grey && in.Grey == 0:
		add(ColourTrait, "grey", "images with colour")
	case !l.grey && in.Colour == 0:
		add(ColourTrait, "coloured", "grey images")
	}
	switch {
	case l.depth == 16 && in.Bits16 == 0:
		add(DepthTrait, "of 16 bits per sample", "images of 8")
	case l.depth == 8 && in.Bits8 == 0:
		add(DepthTrait, "of 8 bits per sample", "images of 16")
	}
	return all
}
