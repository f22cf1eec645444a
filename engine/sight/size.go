package sight

import (
	"cmp"
	"errors"
	"fmt"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/internal/index"
)

// Size says what a model does with an image's size.
type Size struct {
	Px         int  `json:"px"`          // height that images are resized to; 0: native, each at its own size
	Wide       int  `json:"wide"`        // width that they are resized to; 0: a square
	KeepAspect bool `json:"keep_aspect"` // fit into that and pad by reflection instead of stretching
}

// Sides are the height and width that images are resized to; 0 for native ones.
func (s Size) Sides() (h, w int) { return s.Px, cmp.Or(s.Wide, s.Px) }

// Check refuses sizes beyond a side; the error begins with what follows "size".
func (s Size) Check(most int) error {
	switch {
	case s.Px < 0 || s.Px > most:
		return fmt.Errorf("px is %d, want 0 (native) to %d", s.Px, most)
	case s.Wide < 0 || s.Wide > most:
		return fmt.Errorf("wide is %d, want 0 (a square) to %d", s.Wide, most)
	case s.Native() && s.Wide != 0:
		return errors.New("wide needs a size.px above 0")
	case s.Native() && s.KeepAspect:
		return errors.New("keep_aspect needs a size.px above 0")
	}
	return nil
}

// Native reports whether images are run at their own size.
func (s Size) Native() bool { return s.Px == 0 }

func (s Size) String() string {
	text := fmt.Sprint(s.Px)
	switch {
	case s.Native():
		return "native"
	case s.Wide != 0:
		text = fmt.Sprintf("%dx%d (HxW)", s.Px, s.Wide)
	}
	if s.KeepAspect {
		text += ", aspect kept"
	}
	return text
}

// Padded is the height and width that images become for a backbone, padding included; of native size, the least.
func (s Size) Padded(bb backbone.Backbone) (h, w int) {
	h, w = s.Sides()
	return index.RoundUp(max(h, bb.MinSide()), bb.Multiple()), index.RoundUp(max(w, bb.MinSide()), bb.Multiple())
}

// The longest side that images can be resized to, and the longest that an engine takes unless it is told otherwise: an image of
// its square takes some 2 GB while it is scored.
const (
	MaxSide        = 8192
	DefaultMaxSide = 4096
)
