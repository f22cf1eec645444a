package sight

import (
	"slices"

	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/internal/morph"
)

// Rect is a half-open rectangle of rows [Y0,Y1) and columns [X0,X1) of grid cells.
type Rect struct{ Y0, X0, Y1, X1 int }

// H, W and Area are its height, width and cells.
func (r Rect) H() int    { return r.Y1 - r.Y0 }
func (r Rect) W() int    { return r.X1 - r.X0 }
func (r Rect) Area() int { return r.H() * r.W() }

func (r Rect) union(s Rect) Rect {
	return Rect{min(r.Y0, s.Y0), min(r.X0, s.X0), max(r.Y1, s.Y1), max(r.X1, s.X1)}
}

func (r Rect) grow(by int, within Rect) Rect {
	return Rect{max(r.Y0-by, within.Y0), max(r.X0-by, within.X0), min(r.Y1+by, within.Y1), min(r.X1+by, within.X1)}
}

// Widened is r grown by so many cells on every side, within another, for rectangles of one size that are to stay so: what does not
// fit on one side is added on the other.
func (r Rect) Widened(by int, within Rect) Rect {
	h, w := min(r.H()+2*by, within.H()), min(r.W()+2*by, within.W())
	y0, x0 := min(max(r.Y0-by, within.Y0), within.Y1-h), min(max(r.X0-by, within.X0), within.X1-w)
	return Rect{y0, x0, y0 + h, x0 + w}
}

// Window is a part of an image on which the network runs: In covers Own and the receptive field around it, so that what
// is computed for the cells of Own is what the whole image would give.
type Window struct {
	In  Rect // cells the network sees
	Own Rect // cells whose values are taken from it
}

// layout places windows on a grid of h x w cells.
type layout struct {
	h, w    int
	margin  int // cells of context around what a window owns
	lattice int // cells that the sides of windows snap to: see network
	limit   int // cells of a window, margins included
}

func (l layout) all() Rect { return Rect{0, 0, l.h, l.w} }

// whole reports whether every window is the whole grid.
func (l layout) whole() bool { return l.margin >= max(l.h, l.w) }

// around places the window for own.
func (l layout) around(own Rect) Window {
	in := own.grow(l.margin, l.all())
	return Window{In: Rect{
		in.Y0 / l.lattice * l.lattice, in.X0 / l.lattice * l.lattice,
		min(index.RoundUp(in.Y1, l.lattice), l.h), min(index.RoundUp(in.X1, l.lattice), l.w),
	}, Own: own}
}

// tiles covers the grid with windows; one if it fits, or if every margin would take in the whole grid.
func (l layout) tiles() []Window {
	if l.h*l.w <= l.limit || l.whole() {
		return []Window{{In: l.all(), Own: l.all()}}
	}
	return l.cover(l.all())
}

// cover splits own into windows. A limit too small for the margins gives windows that own one lattice step at a time.
func (l layout) cover(own Rect) []Window {
	if win := l.around(own); win.In.Area() <= l.limit || l.whole() || own.H() <= l.lattice && own.W() <= l.lattice {
		return []Window{win}
	}
	a, b := own, own
	if own.H() >= own.W() {
		a.Y1 = own.Y0 + own.H()/2
		b.Y0 = a.Y1
	} else {
		a.X1 = own.X0 + own.W()/2
		b.X0 = a.X1
	}
	return append(l.cover(a), l.cover(b)...)
}

// covering returns windows whose own rectangles are disjoint and hold every wanted cell. Windows that would do more work
// apart than together are merged. The answer depends on this image alone.
func (l layout) covering(where []bool) []Window {
	boxes := boxesOf(where, l.h, l.w)
	cost := func(r Rect) int { return l.around(r).In.Area() }
	for merged := true; merged; {
		merged = false
	scan:
		for i := range boxes {
			for j := i + 1; j < len(boxes); j++ {
				u := boxes[i].union(boxes[j])
				if overlap(boxes[i], boxes[j]) || cost(u) <= cost(boxes[i])+cost(boxes[j]) {
					boxes[i] = u
					boxes = slices.Delete(boxes, j, j+1)
					merged = true
					break scan
				}
			}
		}
	}
	var wins []Window
	for _, b := range boxes {
		wins = append(wins, l.cover(b)...)
	}
	return wins
}

func overlap(a, b Rect) bool {
	return a.Y0 < b.Y1 && b.Y0 < a.Y1 && a.X0 < b.X1 && b.X0 < a.X1
}

// boxesOf returns the bounding boxes of the 8-connected components of the wanted cells, in row-major order of their first cells.
func boxesOf(where []bool, h, w int) []Rect {
	var boxes []Rect
	for _, cells := range morph.Components(where, h, w, true) {
		box := Rect{h, w, 0, 0}
		for _, v := range cells {
			i, j := int(v)/w, int(v)%w
			box = box.union(Rect{i, j, i + 1, j + 1})
		}
		boxes = append(boxes, box)
	}
	return boxes
}
