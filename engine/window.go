package engine

import "slices"

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

// window is a part of an image on which the network runs: in covers own and the receptive field around it, so that what
// is computed for the cells of own is what the whole image would give.
type window struct {
	in  rect // cells the network sees
	own rect // cells whose values are taken from it
}

// lattice is what window sides snap to, in cells. It bounds the number of sizes that graphs are compiled for, lets
// windows of several images share a batch, and keeps strided layers (up to lattice cells per step) in phase with the
// whole image.
const lattice = 8

// around places the window for own on a grid of h x w cells.
func around(own rect, margin, h, w int) window {
	in := own.grow(margin, rect{0, 0, h, w})
	return window{in: rect{
		in.y0 / lattice * lattice, in.x0 / lattice * lattice,
		min(roundUp(in.y1, lattice), h), min(roundUp(in.x1, lattice), w),
	}, own: own}
}

// tiles covers a grid of h x w cells with windows of at most limit cells each, margins included; one window if it fits.
func tiles(h, w, margin, limit int) []window {
	if h*w <= limit {
		all := rect{0, 0, h, w}
		return []window{{in: all, own: all}}
	}
	return cover(rect{0, 0, h, w}, margin, h, w, limit)
}

// cover splits own into windows of at most limit cells. A limit too small for the margins gives windows that own one
// lattice step at a time.
func cover(own rect, margin, h, w, limit int) []window {
	if win := around(own, margin, h, w); win.in.area() <= limit || own.h() <= lattice && own.w() <= lattice {
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
	return append(cover(a, margin, h, w, limit), cover(b, margin, h, w, limit)...)
}

// covering returns windows whose own rectangles are disjoint and hold every wanted cell of the h x w grid. Windows that
// would do more work apart than together are merged. The answer depends on this image alone.
func covering(where []bool, h, w, margin, limit int) []window {
	boxes := components(where, h, w)
	cost := func(r rect) int { return around(r, margin, h, w).in.area() }
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
		wins = append(wins, cover(b, margin, h, w, limit)...)
	}
	return wins
}

func overlap(a, b rect) bool {
	return a.y0 < b.y1 && b.y0 < a.y1 && a.x0 < b.x1 && b.x0 < a.x1
}

// components returns the bounding boxes of the 8-connected components of the wanted cells, in row-major order of their
// first cells.
func components(where []bool, h, w int) []rect {
	seen := make([]bool, len(where))
	var boxes []rect
	var stack []int
	for start, on := range where {
		if !on || seen[start] {
			continue
		}
		box := rect{start / w, start % w, start/w + 1, start%w + 1}
		seen[start] = true
		stack = append(stack[:0], start)
		for len(stack) > 0 {
			v := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			i, j := v/w, v%w
			box = box.union(rect{i, j, i + 1, j + 1})
			for y := max(i-1, 0); y <= min(i+1, h-1); y++ {
				for x := max(j-1, 0); x <= min(j+1, w-1); x++ {
					if u := y*w + x; where[u] && !seen[u] {
						seen[u] = true
						stack = append(stack, u)
					}
				}
			}
		}
		boxes = append(boxes, box)
	}
	return boxes
}
