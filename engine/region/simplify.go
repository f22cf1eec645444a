package region

import (
	"cmp"
	"slices"
)

// Simplify leaves corners out of polygons as Outline makes them: none of them is further than px pixels from what is left. It leaves out fewer
// where a ring would otherwise vanish, meet itself, or come to lie otherwise to another one. What is given stays as it is. The rule is
// Douglas and Peucker's (1973), of each ring from its first corner and the one furthest from that.
func Simplify(parts []Polygon, px float64) []Polygon {
	var full []Ring
	for _, p := range parts {
		full = append(append(full, p.Outer), p.Holes...)
	}
	rings := make([]Ring, len(full))
	limits := make([]float64, len(full))
	for i := range full {
		limits[i] = px
	}
	for todo := slices.Repeat([]bool{true}, len(full)); slices.Contains(todo, true); {
		for i, r := range full {
			if todo[i] {
				rings[i] = r.simplified(limits[i])
			}
		}
		todo = faults(rings, full)
		for i := range todo {
			if todo[i] = todo[i] && limits[i] > 0; !todo[i] {
				continue
			}
			if limits[i] /= 2; limits[i] < leastLimit {
				limits[i] = 0
			}
		}
	}
	out := make([]Polygon, 0, len(parts))
	for _, p := range parts {
		n := 1 + len(p.Holes)
		out = append(out, Polygon{rings[0], append([]Ring(nil), rings[1:n]...)})
		rings = rings[n:]
	}
	return out
}

// leastLimit is the least that a ring is simplified by, in pixels: a corner is nearly as far from the line between its neighbours, or more.
const leastLimit = 0.5

// simplified is a ring with fewer corners, or the ring itself where it would vanish or turn around.
func (r Ring) simplified(px float64) Ring {
	if px == 0 {
		return r
	}
	far := 0
	for i, p := range r {
		if squared(p, r[0]) > squared(r[far], r[0]) {
			far = i
		}
	}
	keep := make([]bool, len(r))
	keep[0], keep[far] = true, true
	for todo := [][2]int{{0, far}, {far, len(r)}}; len(todo) > 0; {
		a, b := todo[len(todo)-1][0], todo[len(todo)-1][1]
		todo = todo[:len(todo)-1]
		most, at := px*px, 0
		for i := a + 1; i < b; i++ {
			if d := fromEdge(r[i], r[a], r[b%len(r)]); d > most {
				most, at = d, i
			}
		}
		if at > 0 {
			keep[at] = true
			todo = append(todo, [2]int{a, at}, [2]int{at, b})
		}
	}
	var out Ring
	for i, p := range r {
		if keep[i] {
			out = append(out, p)
		}
	}
	if len(out) < 3 || cmp.Compare(out.twice(), 0) != cmp.Compare(r.twice(), 0) {
		return r
	}
	return out
}

// squared is the squared distance of two points.
func squared(a, b Point) int { return (a.X-b.X)*(a.X-b.X) + (a.Y-b.Y)*(a.Y-b.Y) }

// fromEdge is the squared distance of a point from the line that ends in two others.
func fromEdge(p, a, b Point) float64 {
	length, along := squared(a, b), (p.X-a.X)*(b.X-a.X)+(p.Y-a.Y)*(b.Y-a.Y)
	switch {
	case along <= 0:
		return float64(squared(p, a))
	case along >= length:
		return float64(squared(p, b))
	}
	across := float64(turn(a, b, p))
	return across * across / float64(length)
}

// turn is positive where c lies on the right of the way from a to b, as the image is shown, and 0 on it.
func turn(a, b, c Point) int { return (b.X-a.X)*(c.Y-a.Y) - (b.Y-a.Y)*(c.X-a.X) }

// faults says which rings meet themselves or another one, or lie otherwise to another one than the full ones do.
func faults(rings, full []Ring) []bool {
	bad := make([]bool, len(rings))
	meet(rings, func(a, b int) { bad[a], bad[b] = true, true })
	if slices.Contains(bad, true) {
		return bad
	}
	boxes := make([]box, len(full))
	for i, r := range full {
		boxes[i] = boxOf(r)
	}
	same := func(i int) bool { return len(rings[i]) == len(full[i]) }
	for a := range rings {
		var now, before *rows
		for b := range rings {
			// What is left of a ring stays in its box.
			if a == b || same(a) && same(b) || !boxes[a].meets(boxes[b]) {
				continue
			}
			if now == nil {
				now, before = rowsOf(rings[a], boxes[a]), rowsOf(full[a], boxes[a])
			}
			if now.enclose(rings[b]) != before.enclose(full[b]) {
				bad[a], bad[b] = true, true
			}
		}
	}
	return bad
}

type box struct{ left, top, right, bottom int }

func boxOf(r Ring) box {
	b := box{r[0].X, r[0].Y, r[0].X, r[0].Y}
	for _, p := range r {
		b = box{min(b.left, p.X), min(b.top, p.Y), max(b.right, p.X), max(b.bottom, p.Y)}
	}
	return b
}

func (b box) meets(c box) bool {
	return b.left < c.right && c.left < b.right && b.top < c.bottom && c.top < b.bottom
}

// rows are the edges of a ring that each row of pixels from top on is crossed by.
type rows struct {
	top   int
	edges [][][2]Point
}

func rowsOf(r Ring, b box) *rows {
	all := &rows{b.top, make([][][2]Point, b.bottom-b.top)}
	for i, p := range r {
		q := r[(i+1)%len(r)]
		for y := min(p.Y, q.Y); y < max(p.Y, q.Y); y++ {
			all.edges[y-b.top] = append(all.edges[y-b.top], [2]Point{p, q})
		}
	}
	return all
}

// enclose reports whether a ring is inside the rows', which it does not meet but in corners: whether the middle of its first edge is.
func (r *rows) enclose(other Ring) bool {
	x, y := other[0].X+other[1].X, other[0].Y+other[1].Y
	row := y>>1 - r.top
	if row < 0 || row >= len(r.edges) {
		return false
	}
	inside := false
	for _, e := range r.edges[row] {
		if toRight(x, y, e[0], e[1]) {
			inside = !inside
		}
	}
	return inside
}

// edge is one of a ring's.
type edge struct {
	a, b Point
	ring int
}

// cell is the side of the squares, in pixels, by which edges that are near each other are found.
const cell = 8

// meet tells of every two rings, or one and itself, that cross, or have more in common than corners; of some more than once.
func meet(rings []Ring, tell func(a, b int)) {
	type visit struct{ ring, at int }
	visits := map[Point]visit{}
	cells := map[Point][]edge{}
	for n, r := range rings {
		for i, p := range r {
			if v, ok := visits[p]; ok && (v.ring == n || rings[v.ring].crossedAt(v.at, r, i)) {
				tell(v.ring, n)
			}
			visits[p] = visit{n, i}
			e := edge{p, r[(i+1)%len(r)], n}
			for y := min(e.a.Y, e.b.Y) / cell; y <= max(e.a.Y, e.b.Y)/cell; y++ {
				for x := min(e.a.X, e.b.X) / cell; x <= max(e.a.X, e.b.X)/cell; x++ {
					at := Point{x, y}
					for _, o := range cells[at] {
						if crosses(e, o) {
							tell(o.ring, n)
						}
					}
					cells[at] = append(cells[at], e)
				}
			}
		}
	}
}

// crosses reports whether two edges have more in common than a corner.
func crosses(e, o edge) bool {
	if max(e.a.Y, e.b.Y) < min(o.a.Y, o.b.Y) || max(o.a.Y, o.b.Y) < min(e.a.Y, e.b.Y) ||
		max(e.a.X, e.b.X) < min(o.a.X, o.b.X) || max(o.a.X, o.b.X) < min(e.a.X, e.b.X) {
		return false
	}
	a, b := turn(e.a, e.b, o.a), turn(e.a, e.b, o.b)
	if a == 0 && b == 0 { // on one line
		compare := func(p, q Point) int { return cmp.Or(cmp.Compare(p.X, q.X), cmp.Compare(p.Y, q.Y)) }
		ends, others := []Point{e.a, e.b}, []Point{o.a, o.b}
		slices.SortFunc(ends, compare)
		slices.SortFunc(others, compare)
		return compare(ends[0], others[1]) < 0 && compare(others[0], ends[1]) < 0
	}
	if e.a == o.a || e.a == o.b || e.b == o.a || e.b == o.b {
		return false
	}
	c, d := turn(o.a, o.b, e.a), turn(o.a, o.b, e.b)
	return cmp.Compare(a, 0)*cmp.Compare(b, 0) <= 0 && cmp.Compare(c, 0)*cmp.Compare(d, 0) <= 0
}

// crossedAt reports whether another ring goes through a ring in a corner that both have.
func (r Ring) crossedAt(at int, other Ring, otherAt int) bool {
	n, m := len(r), len(other)
	before, corner, after := r[(at+n-1)%n], r[at], r[(at+1)%n]
	right := func(p Point) bool {
		first, second := turn(before, corner, p) > 0, turn(corner, after, p) > 0
		if turn(before, corner, after) > 0 {
			return first && second
		}
		return first || second
	}
	return right(other[(otherAt+m-1)%m]) != right(other[(otherAt+1)%m])
}
