package refine

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"f2pad.example/engine/internal/morph"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/pixel"
)

// Scene is an image and its suspicious region, as a source of fills sees them. Pixels are indices y*W+x.
type Scene struct {
	Image   int       // which of the inputs of the Run it is
	Y       []float32 // [3,H,W]
	H, W    int
	Omega   []bool    // [H,W] the suspicious region
	Regions [][]int32 // Omega's 8-connected components, each ascending
	Memory  []*Normal // remembered normal images, in the same coordinates
	Seed    uint64    // of every random choice
}

// Fills proposes what a normal image could look like in the regions of a batch's scenes (step 2).
type Fills interface {
	// Fill returns, for each scene, at most k fills of each of its regions, best first: the values [3,len(region)] at the region's
	// pixels. A region may have none. A scene's depend on it alone. The error is the filler's.
	Fill(on Filler, scenes []*Scene, k int) ([][][][]float32, error)
}

// ShiftFills takes fills from elsewhere in the image and from the same place of remembered normal images. Candidates are
// compared with the image on a ring around the region; the best are made to fit by an offset that continues the ring's
// residual into the region. Where no candidate is valid, the one fill is the ring's own smooth continuation; where there
// is no ring either (the region is the whole image), remembered images serve in their order, or nothing.
type ShiftFills struct {
	FillOptions
	Stride int // pixels per grid cell
}

// Fill implements Fills. What is random is chosen here, so that every Filler compares the same candidates.
func (f ShiftFills) Fill(on Filler, scenes []*Scene, k int) ([][][][]float32, error) {
	sources := make([]*sources, len(scenes))
	searches := make([]Search, len(scenes))
	par.For(len(scenes), func(i int) {
		s := f.sources(scenes[i])
		par.For(len(s.places), func(j int) { s.places[j] = s.place(j) })
		sources[i], searches[i] = s, s.search()
	})
	if err := on.Costs(searches); err != nil {
		return nil, err
	}
	out := make([][][][]float32, len(scenes))
	var fitted []*fitting
	for i, s := range sources {
		out[i] = make([][][]float32, len(s.Regions))
		for j := range s.places {
			if best := s.best(s.candidates(&s.places[j], searches[i].Rings[j].Costs), k); len(best) > 0 {
				fitted = append(fitted, &fitting{sources: s, place: &s.places[j], best: best, fills: &out[i][j]})
			}
		}
	}
	offsets := make([]Offset, len(fitted))
	par.For(len(fitted), func(i int) { offsets[i] = fitted[i].offset() })
	if err := on.Offsets(offsets); err != nil {
		return nil, err
	}
	par.For(len(fitted), func(i int) { *fitted[i].fills = fitted[i].add(offsets[i].Out) })
	return out, nil
}

// sources is a scene, opened for the search.
type sources struct {
	ShiftFills
	*Scene
	channels int     // 1 if everything is grey, else 3
	blocked  []int32 // [H,W+1] per row: pixels left of column x within ClearPx of Omega
	places   []place // of the regions
}

func (f ShiftFills) sources(s *Scene) *sources {
	n := s.H * s.W
	src := &sources{ShiftFills: f, Scene: s, channels: 1, places: make([]place, len(s.Regions))}
	colour := !slices.Equal(s.Y[:n], s.Y[n:2*n]) || !slices.Equal(s.Y[:n], s.Y[2*n:])
	for _, m := range s.Memory {
		colour = colour || m.c == 3
	}
	if colour {
		src.channels = 3
	}
	src.blocked = make([]int32, s.H*(s.W+1))
	near := morph.Dilate(s.Omega, s.H, s.W, f.ClearPx)
	for y := range s.H {
		row, left := src.blocked[y*(s.W+1):][:s.W+1], int32(0)
		for x, on := range near[y*s.W:][:s.W] {
			if on {
				left++
			}
			row[x+1] = left
		}
	}
	return src
}

// search is what is to be compared in the scene.
func (s *sources) search() Search {
	q := Search{
		Image: s.Image, Y: s.Y[:s.channels*s.H*s.W], H: s.H, W: s.W, Blur: pixel.NewGaussian(s.SmoothPx), MeanShare: s.MeanShare,
		Rings: make([]Ring, len(s.places)),
	}
	for i, p := range s.places {
		q.Rings[i] = Ring{Pixels: p.ring, Box: p.box, Normals: p.normals, Costs: make([]float64, len(p.shifts)+len(p.normals))}
		for _, v := range p.shifts {
			q.Rings[i].Shifts = append(q.Rings[i].Shifts, int32(v.dy*s.W+v.dx))
		}
	}
	return q
}

// shift is where in the image a fill is taken from.
type shift struct{ dy, dx int }

// candidate is one place to take a fill from.
type candidate struct {
	normal *Normal // nil: the image itself
	shift          // of the image
	black  bool    // neither: 0 everywhere
	cost   float64
}

// place is where a fill is wanted, and what it may be taken from.
type place struct {
	pixels  []int32
	ring    []int32   // the part of the ring that is looked at, ascending
	box     pixel.Box // around the region and its whole ring
	shifts  []shift   // that are valid
	normals []*Normal // that cover the place
}

// place looks around a region. Where there is no ring to compare on, there are no shifts.
func (s *sources) place(region int) place {
	rng := rand.New(rand.NewPCG(s.Seed, uint64(region)))
	p := s.around(s.Regions[region], rng)
	if len(p.ring) > 0 {
		p.shifts = s.shifted(&p, rng)
	}
	for _, m := range s.Memory {
		if p.box.Within(m.h, m.w) {
			p.normals = append(p.normals, m)
		}
	}
	return p
}

func (s *sources) around(pixels []int32, rng *rand.Rand) place {
	reach := s.RingCells * float64(s.Stride)
	box := pixel.Bounds(pixels, s.W)
	win := box.Grow(int(reach), s.H, s.W)
	set := make([]bool, win.H()*win.W())
	for _, q := range pixels {
		set[(int(q)/s.W-win.Y0)*win.W()+int(q)%s.W-win.X0] = true
	}
	p := place{pixels: pixels}
	for i, near := range morph.Dilate(set, win.H(), win.W(), reach) {
		if q := int32((win.Y0+i/win.W())*s.W + win.X0 + i%win.W()); near && !s.Omega[q] {
			p.ring = append(p.ring, q)
		}
	}
	ring := pixel.Bounds(p.ring, s.W)
	p.box = box
	if len(p.ring) > 0 {
		p.box = pixel.Box{
			Y0: min(box.Y0, ring.Y0), X0: min(box.X0, ring.X0), Y1: max(box.Y1, ring.Y1), X1: max(box.X1, ring.X1),
		}
	}
	if n := s.RingPixels; len(p.ring) > n {
		for i := range n {
			j := i + rng.IntN(len(p.ring)-i)
			p.ring[i], p.ring[j] = p.ring[j], p.ring[i]
		}
		p.ring = p.ring[:n]
		slices.Sort(p.ring)
	}
	return p
}

// span is a horizontal run of a region's pixels: row y, columns [x0,x1).
type span struct{ y, x0, x1 int }

func spans(pixels []int32, w int) []span {
	var out []span
	for i, q := range pixels {
		x := int(q) % w
		if i == 0 || q != pixels[i-1]+1 || x == 0 {
			out = append(out, span{int(q) / w, x, x})
		}
		out[len(out)-1].x1 = x + 1
	}
	return out
}

// shifted returns the valid shifts among a seeded choice of the grid of shifts that keep the region and its ring inside
// the image: those whose region is clear of Omega. It stops at Shifts valid ones.
func (s *sources) shifted(p *place, rng *rand.Rand) []shift {
	step := max(1, int(math.Round(s.ShiftCells*float64(s.Stride))))
	y0, x0 := -(p.box.Y0 / step), -(p.box.X0 / step) // in steps
	ny, nx := (s.H-p.box.Y1)/step-y0+1, (s.W-p.box.X1)/step-x0+1
	order := make([]int32, ny*nx)
	for i := range order {
		order[i] = int32(i)
	}
	parts := spans(p.pixels, s.W)
	var out []shift
	for i := 0; i < len(order) && len(out) < s.Shifts; i++ {
		j := i + rng.IntN(len(order)-i)
		order[i], order[j] = order[j], order[i]
		if v := (shift{(y0 + int(order[i])/nx) * step, (x0 + int(order[i])%nx) * step}); s.clear(parts, v) {
			out = append(out, v)
		}
	}
	return out
}

// clear reports whether the region, shifted, touches nothing within ClearPx of Omega.
func (s *sources) clear(parts []span, v shift) bool {
	for _, r := range parts {
		row := (r.y+v.dy)*(s.W+1) + v.dx
		if s.blocked[row+r.x1] != s.blocked[row+r.x0] {
			return false
		}
	}
	return true
}

// candidates returns those of a place in the order of their costs [len(shifts)+len(normals)]; shifts come before remembered images
// that cost the same, and those in their order.
func (s *sources) candidates(p *place, costs []float64) []candidate {
	all := make([]candidate, 0, len(costs))
	for i, v := range p.shifts {
		all = append(all, candidate{shift: v, cost: costs[i]})
	}
	for i, m := range p.normals {
		all = append(all, candidate{normal: m, cost: s.MemoryCost * costs[len(p.shifts)+i]})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.cost, b.cost) })
	if len(all) == 0 && len(p.ring) > 0 {
		all = []candidate{{black: true}} // its offset is the smooth continuation of the ring
	}
	return all
}

// best picks up to k candidates in the order of their cost, shifts of the image at least ApartCells from each other.
func (s *sources) best(sorted []candidate, k int) []candidate {
	apart := s.ApartCells * float64(s.Stride)
	var out []candidate
next:
	for _, c := range sorted {
		if len(out) == k {
			break
		}
		for _, o := range out {
			if c.normal == nil && o.normal == nil && math.Hypot(float64(c.dy-o.dy), float64(c.dx-o.dx)) < apart {
				continue next
			}
		}
		out = append(out, c)
	}
	return out
}

// fitting is a place, its candidates, and where their fills go: the candidates' values in the region, each with its offset, which is
// Y - candidate on the ring, interpolated by normalised convolution with sigma = max(OffsetCells, sqrt(area)/OffsetDivisor).
type fitting struct {
	*sources
	*place
	best  []candidate
	fills *[][]float32
}

// offset is what is to be interpolated.
func (f *fitting) offset() Offset {
	width, n := len(f.best)*f.channels, f.H*f.W
	v := make([]float32, len(f.ring)*width) // [ring,best,channels]
	of := make([]float32, len(f.ring))
	for k, b := range f.best {
		for c := range f.channels {
			f.values(b, c, f.ring, of)
			for i, q := range f.ring {
				v[i*width+k*f.channels+c] = f.Y[c*n+int(q)] - of[i]
			}
		}
	}
	sigma := max(f.OffsetCells*float64(f.Stride), math.Sqrt(float64(len(f.pixels)))/f.OffsetDivisor)
	return Offset{V: v, At: f.ring, To: f.pixels, W: f.W, C: width, Sigma: sigma, Out: make([]float32, len(f.pixels)*width)}
}

// add returns the fills, with the offsets [pixels,best,channels].
func (f *fitting) add(offset []float32) [][]float32 {
	n, width := len(f.pixels), len(f.best)*f.channels
	out := make([][]float32, len(f.best))
	for k, b := range f.best {
		out[k] = make([]float32, 3*n)
		for c := range f.channels {
			plane := out[k][c*n:][:n]
			f.values(b, c, f.pixels, plane)
			for i := range plane {
				plane[i] += offset[i*width+k*f.channels+c]
			}
		}
		for c := f.channels; c < 3; c++ {
			copy(out[k][c*n:], out[k][:n])
		}
	}
	return out
}

// values sets out [len(pixels)] to a candidate's values in channel c at pixels of the image.
func (s *sources) values(b candidate, c int, pixels []int32, out []float32) {
	switch {
	case b.black:
		clear(out)
	case b.normal != nil:
		for i, q := range pixels {
			out[i] = b.normal.at(c, int(q)/s.W, int(q)%s.W)
		}
	default:
		plane, by := s.Y[c*s.H*s.W:][:s.H*s.W], int32(b.dy*s.W+b.dx)
		for i, q := range pixels {
			out[i] = plane[q+by]
		}
	}
}
