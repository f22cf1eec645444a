package region

import (
	"cmp"
	"slices"

	"f2pad.example/engine/internal/morph"
)

// Point is a corner of pixels: that of the pixel in column X and row Y which is nearest to the upper left one of the image.
type Point struct{ X, Y int }

// Ring is a closed line along the edges of pixels: its corners, the first in row order first, which also follows the last one. It does not
// meet itself.
type Ring []Point

// Polygon is a part of a mask, and the rings around its holes. Outer is clockwise as the image is shown, holes are counterclockwise. Rings
// meet each other in corners at most.
type Polygon struct {
	Outer Ring
	Holes []Ring
}

// Outline returns the polygons that together cover the pixels of a mask, and nothing else, in the order of their first pixels: one for each
// 4-connected part of it. An 8-connected region whose parts meet at corners so has several, and each is one that others take for
// valid. Time is linear in pixels and corners.
func Outline(mask []bool, h, w int) []Polygon {
	check("mask", len(mask), h, w)
	in := func(x, y int) bool { return x >= 0 && x < w && y >= 0 && y < h && mask[y*w+x] }
	seen := make([]bool, len(mask)) // pixels whose upper edge belongs to a ring that has been followed
	var parts []Polygon
	var holes []Ring
	for i, on := range mask {
		if x, y := i%w, i/w; on && !seen[i] && !in(x, y-1) {
			for _, r := range follow(in, func(x, y int) { seen[y*w+x] = true }, Point{x, y}) {
				r = r.turned()
				if r.twice() > 0 {
					parts = append(parts, Polygon{Outer: r})
				} else {
					holes = append(holes, r)
				}
			}
		}
	}
	if len(holes) == 0 {
		return parts
	}
	part := make([]int32, len(mask)) // the number of each pixel's
	for n, pixels := range morph.Components(mask, h, w, false) {
		for _, i := range pixels {
			part[i] = int32(n)
		}
	}
	for _, r := range holes {
		at := r.beside()
		p := &parts[part[at.Y*w+at.X]]
		p.Holes = append(p.Holes, r)
	}
	return parts
}

// Single returns one ring that encloses what the polygon does, for those who know no holes: from its nearest corner a line goes to each hole
// and back, which encloses nothing whether the ring is filled by the even-odd rule or the nonzero one.
func (p Polygon) Single() Ring {
	ring := p.Outer
	for _, hole := range p.Holes {
		near := 0
		for i, c := range ring {
			if squared(c, hole[0]) < squared(ring[near], hole[0]) {
				near = i
			}
		}
		ring = slices.Concat(ring[:near+1], hole, hole[:1], ring[near:])
	}
	return ring
}

// follow goes along the edges of pixels from the upper left corner of one, to the right, pixels on the right hand, until it is there
// again. Where two pixels meet at a corner it stays with its own. What it has gone around are the rings between two visits of a corner.
func follow(in func(x, y int) bool, seen func(x, y int), from Point) (rings []Ring) {
	var path Ring
	at, step := from, Point{1, 0}
	met := map[Point]int{} // corners where two pixels meet, and where they are in path
	for {
		if step.X == 1 {
			seen(at.X, at.Y)
		}
		at.X, at.Y = at.X+step.X, at.Y+step.Y
		// The pixels ahead, on both hands.
		right := in(at.X+min(step.X-step.Y, 0), at.Y+min(step.Y+step.X, 0))
		left := in(at.X+min(step.X+step.Y, 0), at.Y+min(step.Y-step.X, 0))
		switch {
		case !right:
			step = Point{-step.Y, step.X}
		case left:
			step = Point{step.Y, -step.X}
		default:
			continue
		}
		if !right && left {
			if k, ok := met[at]; ok {
				rings = append(rings, slices.Clone(path[k:]))
				for _, p := range path[k+1:] {
					delete(met, p)
				}
				path = path[:k]
			}
			met[at] = len(path)
		}
		path = append(path, at)
		if at == from && step == (Point{1, 0}) {
			return append(rings, path)
		}
	}
}

// turned is a ring from its first corner in row order.
func (r Ring) turned() Ring {
	first := slices.Index(r, slices.MinFunc(r, func(p, q Point) int { return cmp.Or(cmp.Compare(p.Y, q.Y), cmp.Compare(p.X, q.X)) }))
	return slices.Concat(r[first:], r[:first])
}

// twice is twice the area of a ring; negative if it is counterclockwise.
func (r Ring) twice() (sum int) {
	for i, p := range r {
		q := r[(i+1)%len(r)]
		sum += p.X*q.Y - q.X*p.Y
	}
	return sum
}

// beside is a pixel of the mask at the edge of a hole: a counterclockwise ring goes up along the left side of one.
func (r Ring) beside() Point {
	for i, p := range r {
		if q := r[(i+1)%len(r)]; q.Y < p.Y {
			return Point{p.X, p.Y - 1}
		}
	}
	panic("region: a ring that does not close")
}

// encloses reports whether the point (x/2, y/2), which is on none of its edges, is inside a ring.
func (r Ring) encloses(x, y int) bool {
	inside := false
	for i, p := range r {
		if toRight(x, y, p, r[(i+1)%len(r)]) {
			inside = !inside
		}
	}
	return inside
}

// toRight reports whether an edge crosses the row of the point (x/2, y/2) to the right of it.
func toRight(x, y int, lo, hi Point) bool {
	if lo.Y > hi.Y {
		lo, hi = hi, lo
	}
	return 2*lo.Y <= y && y < 2*hi.Y && 2*lo.X*(hi.Y-lo.Y)+(hi.X-lo.X)*(y-2*lo.Y) > x*(hi.Y-lo.Y)
}
