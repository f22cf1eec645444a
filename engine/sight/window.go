package sight

import (
	"slices"

	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/internal/morph"
)

// rect is a half-open rectangle of rows [y0,y1) and columns [x0,x1), in pixels or in grid cells.
type rect struct{ y0, x0, y1, x1 int }

func (r rect) h() int    { return r.y1 - r.y0 }
func (r rect) w() int    { return r.x1 - r.x0 }
func (r rect) area() int { return r.h() * r.w() }

func (r rect) union(s rect) rect {
	return rect{min(r.y0, s.y0), min(r.x0, s.x0), max(r.y1, s.y1), max(r.x1, s.x1)}
}

func (r rect) grow(by int, within rect) rect {
	return rect{max(r.y0-by, within.y0), max(r.x0-by, within.x0), min(r.y1+by, within.y1), min(r.x1+by, within.x1)}
}

// widened is grow for rectangles of one size that are to stay so: what does not fit on one side is added on the other.
func (r rect) widened(by int, within rect) rect {
	h, w := min(r.h()+2*by, within.h()), min(r.w()+2*by, within.w())
	y0, x0 := min(max(r.y0-by, within.y0), within.y1-h), min(max(r.x0-by, within.x0), within.x1-w)
	return rect{y0, x0, y0 + h, x0 + w}
}

// window is a part of an image on which the network runs: in covers own and the receptive field around it, so that what
// is computed for the cells of own is what the whole image would give.
type window struct {
	in  rect // cells the network sees
	own rect // cells whose values are taken from it
}

// layout places windows on a grid of h x w cells.
type layout struct {
	h, w    int
	margin  int // cells of context around what a window owns
	lattice int // cells that the sides of windows snap to: see network
	limit   int // cells of a window, margins included
}

func (l layout) all() rect { return rect{0, 0, l.h, l.w} }

// whole reports whether every window is the whole grid.
func (l layout) whole() bool { return l.margin >= max(l.h, l.w) }

// around places the window for own.
func (l layout) around(own rect) window {
	in := own.grow(l.margin, l.all())
	return window{in: rect{
		in.y0 / l.lattice * l.lattice, in.x0 / l.lattice * l.lattice,
		min(index.RoundUp(in.y1, l.lattice), l.h), min(index.RoundUp(in.x1, l.lattice), l.w),
	}, own: own}
}

// tiles covers the grid with windows; one if it fits, or if every margin would take in the whole grid.
func (l layout) tiles() []window {
	if l.h*l.w <= l.limit || l.whole() {
		return []window{{in: l.all(), own: l.all()}}
	}
	return l.cover(l.all())
}

// cover splits own into windows. A limit too small for the margins gives windows that own one lattice step at a time.
func (l layout) cover(own rect) []window {
	if win := l.around(own); win.in.area() <= l.limit || l.whole() || own.h() <= l.lattice && own.w() <= l.lattice {
		return []window{win}
	}
	a, b := own, own
	if own.h() >= own.w() {
		a.y1 = own.y0 + own.h()/2
		b.y0 = a.y1
	} else {
		a.x1 = own.x0 + own.w()/2
		b.x0 = a.x1
	}
	return append(l.cover(a), l.cover(b)...)
}

// covering returns windows whose own rectangles are disjoint and hold every wanted cell. Windows that would do more work
// apart than together are merged. The answer depends on this image alone.
func (l layout) covering(where []bool) []window {
	boxes := boxesOf(where, l.h, l.w)
	cost := func(r rect) int { return l.around(r).in.area() }
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
	var wins []window
	for _, b := range boxes {
		wins = append(wins, l.cover(b)...)
	}
	return wins
}

func overlap(a, b rect) bool {
	return a.y0 < b.y1 && b.y0 < a.y1 && a.x0 < b.x1 && b.x0 < a.x1
}

// boxesOf returns the bounding boxes of the 8-connected components of the wanted cells, in row-major order of their first cells.
func boxesOf(where []bool, h, w int) []rect {
	var boxes []rect
	for _, cells := range morph.Components(where, h, w, true) {
		box := rect{h, w, 0, 0}
		for _, v := range cells {
			i, j := int(v)/w, int(v)%w
			box = box.union(rect{i, j, i + 1, j + 1})
		}
		boxes = append(boxes, box)
	}
	return boxes
}
