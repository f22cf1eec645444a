package region

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"f2pad.example/engine/internal/morph"

	"github.com/stretchr/testify/require"
)

func TestOutline(t *testing.T) {
	mask, h, w := parse(
		"......",
		".##...",
		".###..",
		"......")
	require.Equal(t, []Polygon{{Outer: Ring{{1, 1}, {3, 1}, {3, 2}, {4, 2}, {4, 3}, {1, 3}}}}, Outline(mask, h, w))
	require.Empty(t, Outline(make([]bool, 6), 2, 3))
	require.Empty(t, Outline(nil, 0, 0))

	mask, h, w = parse("#")
	require.Equal(t, []Polygon{{Outer: Ring{{0, 0}, {1, 0}, {1, 1}, {0, 1}}}}, Outline(mask, h, w), "the frame bounds it")

	mask, h, w = parse("####", "#..#", "####")
	require.Equal(t, []Polygon{{
		Outer: Ring{{0, 0}, {4, 0}, {4, 3}, {0, 3}}, Holes: []Ring{{{1, 1}, {1, 2}, {3, 2}, {3, 1}}},
	}}, Outline(mask, h, w))
}

// TestOutlineWherePixelsMeetAtACorner: parts are apart, and so are holes, and a part that bites its tail has a hole.
func TestOutlineWherePixelsMeetAtACorner(t *testing.T) {
	mask, h, w := parse("#.", ".#")
	require.Equal(t, []Polygon{{Outer: Ring{{0, 0}, {1, 0}, {1, 1}, {0, 1}}}, {Outer: Ring{{1, 1}, {2, 1}, {2, 2}, {1, 2}}}}, Outline(mask, h, w))

	mask, h, w = parse("####", "#.##", "##.#", "####")
	parts := Outline(mask, h, w)
	require.Len(t, parts, 1)
	require.Len(t, parts[0].Holes, 2)

	mask, h, w = parse("###", "#.#", ".##")
	parts = Outline(mask, h, w)
	require.Len(t, parts, 1)
	require.Equal(t, []Ring{{{1, 1}, {1, 2}, {2, 2}, {2, 1}}}, parts[0].Holes, "open at a corner only")
	require.Equal(t, 16, parts[0].Outer.twice(), "without the corner pixel")

	mask, h, w = parse( // a part in the hole of another one, which it meets in a corner, with a hole itself
		"#######",
		"#.....#",
		"#.###.#",
		"#.#.#.#",
		"#.###.#",
		"##....#",
		"#######")
	parts = Outline(mask, h, w)
	require.Len(t, parts, 2)
	require.Len(t, parts[0].Holes, 1)
	require.Equal(t, []Ring{{{3, 3}, {3, 4}, {4, 4}, {4, 3}}}, parts[1].Holes, "the hole is that of the part that it is in")
}

// random is a mask of some texture: noise, or blobs with holes.
func random(rng *rand.Rand, h, w int) []bool {
	mask := make([]bool, h*w)
	share := rng.Float64()
	for i := range mask {
		mask[i] = rng.Float64() < share
	}
	if rng.IntN(2) == 0 {
		mask = morph.Dilate(mask, h, w, 1.5)
		for i, in := range mask {
			mask[i] = !in
		}
		mask = morph.Dilate(mask, h, w, 2)
	}
	return mask
}

// covered is the mask of the pixels whose middles polygons cover.
func covered(parts []Polygon, h, w int) []bool {
	mask := make([]bool, h*w)
	for i := range mask {
		for _, p := range parts {
			for _, r := range append([]Ring{p.Outer}, p.Holes...) {
				if r.encloses(2*(i%w)+1, 2*(i/w)+1) {
					mask[i] = !mask[i]
				}
			}
		}
	}
	return mask
}

// TestOutlineIsTheMask: its polygons cover the pixels and no other, each is a 4-connected part, and every ring is simple.
func TestOutlineIsTheMask(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for range 300 {
		h, w := 1+rng.IntN(14), 1+rng.IntN(14)
		mask := random(rng, h, w)
		given := show(mask, w)
		parts := Outline(mask, h, w)
		require.Equal(t, given, show(covered(parts, h, w), w))
		require.Equal(t, given, show(mask, w), "what was given stays")
		connected := morph.Components(mask, h, w, false)
		require.Len(t, parts, len(connected))
		for n, p := range parts {
			require.Positive(t, p.Outer.twice())
			area := p.Outer.twice()
			for _, hole := range p.Holes {
				require.Negative(t, hole.twice())
				area += hole.twice()
				require.True(t, within(hole, p.Outer))
			}
			require.Equal(t, 2*len(connected[n]), area, "in the order of their first pixels")
			for _, r := range append([]Ring{p.Outer}, p.Holes...) {
				once := map[Point]bool{}
				for i, c := range r {
					require.False(t, once[c], "a corner twice")
					once[c] = true
					next, third := r[(i+1)%len(r)], r[(i+2)%len(r)]
					require.True(t, (c.X == next.X) != (c.Y == next.Y) && turn(c, next, third) != 0, "edges of pixels, and corners only")
				}
			}
		}
		requireSound(t, parts, parts)
	}
}

// TestSingleEnclosesTheSame, by both rules.
func TestSingleEnclosesTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 9))
	for range 100 {
		h, w := 3+rng.IntN(12), 3+rng.IntN(12)
		mask := random(rng, h, w)
		evenOdd, winding := make([]bool, h*w), make([]int, h*w)
		for _, p := range Outline(mask, h, w) {
			outer := slices.Clone(p.Outer)
			r := p.Single()
			require.Equal(t, outer, p.Outer)
			twice := p.Outer.twice()
			for _, hole := range p.Holes {
				twice += hole.twice()
			}
			require.Equal(t, twice, r.twice())
			for i := range mask {
				x, y := 2*(i%w)+1, 2*(i/w)+1
				evenOdd[i] = evenOdd[i] != r.encloses(x, y)
				for k, a := range r {
					b := r[(k+1)%len(r)]
					if (2*a.Y <= y) != (2*b.Y <= y) && (2*a.X*(b.Y-a.Y)+(b.X-a.X)*(y-2*a.Y)-x*(b.Y-a.Y))*(b.Y-a.Y) > 0 {
						winding[i] += cmp.Compare(b.Y, a.Y)
					}
				}
			}
		}
		require.Equal(t, mask, evenOdd)
		for i, in := range mask {
			require.Equal(t, in, winding[i] != 0)
		}
	}
}

// requireSound fails if rings meet, or lie otherwise than the full ones, as found by looking at all pairs of edges.
func requireSound(t *testing.T, parts, full []Polygon) {
	t.Helper()
	rings, before := ringsOf(parts), ringsOf(full)
	var edges []edge
	for n, r := range rings {
		for i, p := range r {
			edges = append(edges, edge{p, r[(i+1)%len(r)], n})
		}
	}
	for i, e := range edges {
		for _, o := range edges[:i] {
			require.False(t, crosses(e, o), "%v and %v of %v", e, o, full)
		}
	}
	for a := range rings {
		for b := range rings {
			if a == b {
				continue
			}
			inside := within(before[b], before[a])
			require.Equal(t, inside, within(rings[b], rings[a]), "%v of %v", rings, before)
			for _, c := range rings[b] { // all of it, also where they have corners in common
				if !slices.Contains(rings[a], c) && (inside || !within(before[a], before[b])) {
					require.Equal(t, inside, rings[a].encloses(2*c.X, 2*c.Y), "%v of %v", rings, before)
				}
			}
		}
	}
}

// within reports whether a ring is inside another one that it does not cross, by a corner that is not the other one's.
func within(r, outer Ring) bool {
	for _, p := range r {
		if !slices.Contains(outer, p) {
			return outer.encloses(2*p.X, 2*p.Y)
		}
	}
	return outer.encloses(r[0].X+r[1].X, r[0].Y+r[1].Y)
}

func ringsOf(parts []Polygon) (rings []Ring) {
	for _, p := range parts {
		rings = append(append(rings, p.Outer), p.Holes...)
	}
	return rings
}

func TestSimplify(t *testing.T) {
	stairs, h, w := parse(
		"#.....",
		"##....",
		"###...",
		"####..",
		"#####.",
		"######")
	full := Outline(stairs, h, w)
	require.Len(t, full[0].Outer, 14)
	got := Simplify(full, 1)
	require.LessOrEqual(t, len(got[0].Outer), 4)
	require.Len(t, full[0].Outer, 14, "what is given stays")
	require.Equal(t, full, Simplify(full, 0))

	line, h, w := parse("........", ".######.", "........")
	full = Outline(line, h, w)
	require.Equal(t, full, Simplify(full, 5), "a ring that would vanish stays")

	thin, h, w := parse( // the hole is nearer to the rim than the limit
		"##########",
		"#........#",
		"##########")
	full = Outline(thin, h, w)
	require.Equal(t, full, Simplify(full, 3))
}

// TestSimplifyLeavesHolesInside: where the rim would be drawn past a hole, it stays.
func TestSimplifyLeavesHolesInside(t *testing.T) {
	mask, h, w := parse(
		"############...",
		"############...",
		"############...",
		"############...",
		"############...",
		"###############",
		"#############.#",
		"###############",
		"############...",
		"############...",
		"############...",
		"############...",
		"############...",
		"############...")
	full := Outline(mask, h, w)
	got := Simplify(full, 3)
	requireSound(t, got, full)
	alone := Simplify([]Polygon{{Outer: full[0].Outer}}, 3)
	require.False(t, within(full[0].Holes[0], alone[0].Outer), "which is what would be drawn without the hole")
}

// TestSimplifyKeepsToItsLimit, and what it leaves is sound.
func TestSimplifyKeepsToItsLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 2))
	before, after := 0, 0
	for n := range 200 {
		h, w := 4+rng.IntN(22), 4+rng.IntN(22)
		full := Outline(random(rng, h, w), h, w)
		px := []float64{0.5, 1, 1.5, 3, 8}[n%5]
		got := Simplify(full, px)
		require.Len(t, got, len(full))
		requireSound(t, got, full)
		rings, all := ringsOf(got), ringsOf(full)
		require.Len(t, rings, len(all))
		for i, r := range all {
			before, after = before+len(r), after+len(rings[i])
			require.Positive(t, r.twice()*rings[i].twice(), "turned around or without area")
			for _, p := range r {
				least := math.Inf(1)
				for k, a := range rings[i] {
					least = min(least, fromEdge(p, a, rings[i][(k+1)%len(rings[i])]))
				}
				require.LessOrEqual(t, least, px*px)
			}
		}
	}
	require.Less(t, after, before*9/10)
}

func TestRingsThatCrossInACorner(t *testing.T) {
	square := Ring{{4, 0}, {4, 4}, {0, 4}, {0, 0}}
	for want, other := range map[bool]Ring{
		false: {{4, 4}, {6, 4}, {6, 6}},         // touches from outside
		true:  {{4, 4}, {6, 5}, {2, 9}, {1, 1}}, // goes in by the corner, and out by an edge
	} {
		require.Equal(t, want, square.crossedAt(1, other, 0))
		require.Equal(t, want, other.crossedAt(0, square, 1))
	}
	require.False(t, square.crossedAt(3, Ring{{0, 0}, {1, 2}, {2, 1}}, 0), "touches from inside")
	told := 0
	meet([]Ring{square, {{0, 0}, {4, 4}, {-2, 6}}}, func(a, b int) { told++; require.Equal(t, []int{0, 1}, []int{a, b}) })
	require.Equal(t, 2, told, "in by one corner, out by another")
}

func FuzzOutline(f *testing.F) {
	f.Add([]byte{0x5a, 0xff, 0x81, 0x18}, uint8(7), uint8(10))
	f.Fuzz(func(t *testing.T, bits []byte, width, tenths uint8) {
		w := int(width%40) + 1
		h := min(len(bits)*8/w, 40)
		mask := make([]bool, h*w)
		for i := range mask {
			mask[i] = bits[i/8]>>(i%8)&1 == 1
		}
		parts := Outline(mask, h, w)
		require.Equal(t, show(mask, w), show(covered(parts, h, w), w))
		requireSound(t, Simplify(parts, float64(tenths)/10), parts)
	})
}

// BenchmarkNoise is of a mask with thousands of parts and holes.
func BenchmarkNoise(b *testing.B) {
	const h, w = 256, 256
	rng := rand.New(rand.NewPCG(1, 1))
	mask := make([]bool, h*w)
	for i := range mask {
		mask[i] = rng.Float64() < 0.6
	}
	for b.Loop() {
		Simplify(Outline(mask, h, w), 1)
	}
}

func BenchmarkOutline(b *testing.B) {
	const h, w = 512, 512
	mask := make([]bool, h*w)
	for i := range mask {
		x, y := float64(i%w)-w/2, float64(i/w)-h/2
		mask[i] = math.Hypot(x, y) < 100+20*math.Sin(9*math.Atan2(y, x))
	}
	for b.Loop() {
		Simplify(Outline(mask, h, w), 1)
	}
}
