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
	Y        []float32 // [3,H,W]
	H, W     int
	Omega    []bool    // [H,W] the suspicious region
	Distance []int32   // [H,W] squared distance to Omega
	Regions  [][]int32 // Omega's 8-connected components, each ascending
	Memory   []*Normal // remembered normal images, in the same coordinates
	Seed     uint64    // of every random choice
}

// Fills proposes what a normal image could look like in the regions of a scene (step 2).
type Fills interface {
	// Fill returns at most k fills of each region, best first: the values [3,len(region)] at the region's pixels. A
	// region may have none. It depends on the scene alone.
	Fill(s *Scene, k int) [][][]float32
}

// ShiftFills takes fills from elsewhere in the image and from the same place of remembered normal images. Candidates are
// compared with the image on a ring around the region; the best are made to fit by an offset that continues the ring's
// residual into the region. Where no candidate is valid, the one fill is the ring's own smooth continuation; where there
// is no ring either (the region is the whole image), remembered images serve in their order, or nothing.
type ShiftFills struct {
	FillOptions
	Stride int // pixels per grid cell
}

// Fill implements Fills.
func (f ShiftFills) Fill(s *Scene, k int) [][][]float32 {
	src := f.sources(s)
	out := make([][][]float32, len(s.Regions))
	par.For(len(out), func(i int) { out[i] = src.fill(i, k) })
	return out
}

// sources is a scene, opened for the search.
type sources struct {
	ShiftFills
	*Scene
	channels int            // 1 if everything is grey, else 3
	blur     pixel.Gaussian // of images that are compared
	smooth   []float32      // [channels,H,W] the image blurred
	blocked  []int32        // [H,W+1] per row: pixels left of column x within ClearPx of Omega
}

func (f ShiftFills) sources(s *Scene) *sources {
	n := s.H * s.W
	src := &sources{ShiftFills: f, Scene: s, channels: 1, blur: pixel.NewGaussian(f.SmoothPx)}
	colour := !slices.Equal(s.Y[:n], s.Y[n:2*n]) || !slices.Equal(s.Y[:n], s.Y[2*n:])
	for _, m := range s.Memory {
		colour = colour || m.c == 3
	}
	if colour {
		src.channels = 3
	}
	src.smooth = slices.Clone(s.Y[:src.channels*n])
	scratch := make([]float32, src.blur.Scratch(s.H, s.W))
	for c := range src.channels {
		src.blur.Blur(src.smooth[c*n:(c+1)*n], s.H, s.W, scratch)
	}
	src.blocked = make([]int32, s.H*(s.W+1))
	near := morph.Within(s.Distance, f.ClearPx)
	for y := range s.H {
		row := src.blocked[y*(s.W+1):]
		for x := range s.W {
			row[x+1] = row[x]
			if near[y*s.W+x] {
				row[x+1]++
			}
		}
	}
	return src
}

// candidate is one place to take a fill from.
type candidate struct {
	normal *Normal // nil: the image itself
	dy, dx int     // shift of the image
	black  bool    // neither: 0 everywhere
	cost   float64
}

// place is where a fill is wanted.
type place struct {
	pixels []int32
	ring   []int32   // the part of the ring that is looked at, ascending
	box    pixel.Box // around the region and its whole ring
	want   []float32 // [channels,len(ring)] the blurred image on the ring
}

func (s *sources) fill(region, k int) [][]float32 {
	rng := rand.New(rand.NewPCG(s.Seed, uint64(region)))
	p := s.place(s.Regions[region], rng)
	all := s.remembered(&p)
	if len(p.ring) > 0 {
		all = append(s.shifted(&p, rng), all...)
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.cost, b.cost) })
	best := s.best(all, k)
	if len(best) == 0 && len(p.ring) == 0 {
		return nil
	}
	return s.fit(&p, best)
}

func (s *sources) place(pixels []int32, rng *rand.Rand) place {
	reach := s.RingCells * float64(s.Stride)
	box := pixel.Bounds(pixels, s.W)
	win := box.Grow(int(reach), s.H, s.W)
	set := make([]bool, win.H()*win.W())
	for _, q := range pixels {
		set[(int(q)/s.W-win.Y0)*win.W()+int(q)%s.W-win.X0] = true
	}
	p := place{pixels: pixels}
	for i, near := range morph.Within(morph.Distances(set, win.H(), win.W()), reach) {
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
	p.want = make([]float32, s.channels*len(p.ring))
	for c := range s.channels {
		for i, q := range p.ring {
			p.want[c*len(p.ring)+i] = s.smooth[c*s.H*s.W+int(q)]
		}
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
func (s *sources) shifted(p *place, rng *rand.Rand) []candidate {
	step := max(1, int(math.Round(s.ShiftCells*float64(s.Stride))))
	y0, x0 := -(p.box.Y0 / step), -(p.box.X0 / step) // in steps
	ny, nx := (s.H-p.box.Y1)/step-y0+1, (s.W-p.box.X1)/step-x0+1
	order := make([]int32, ny*nx)
	for i := range order {
		order[i] = int32(i)
	}
	parts := spans(p.pixels, s.W)
	var out []candidate
	for i := 0; i < len(order) && len(out) < s.Shifts; i++ {
		j := i + rng.IntN(len(order)-i)
		order[i], order[j] = order[j], order[i]
		c := candidate{dy: (y0 + int(order[i])/nx) * step, dx: (x0 + int(order[i])%nx) * step}
		if s.clear(parts, c.dy, c.dx) {
			at := int32(c.dy*s.W + c.dx)
			c.cost = s.cost(p, func(ch, i int) float32 { return s.smooth[ch*s.H*s.W+int(p.ring[i]+at)] })
			out = append(out, c)
		}
	}
	return out
}

// clear reports whether the region, shifted, touches nothing within ClearPx of Omega.
func (s *sources) clear(parts []span, dy, dx int) bool {
	for _, r := range parts {
		row := (r.y+dy)*(s.W+1) + dx
		if s.blocked[row+r.x1] != s.blocked[row+r.x0] {
			return false
		}
	}
	return true
}

// remembered returns the normal images that cover the place, in their order.
func (s *sources) remembered(p *place) []candidate {
	var out []candidate
	for _, m := range s.Memory {
		if !p.box.Within(m.h, m.w) {
			continue
		}
		c := candidate{normal: m}
		if len(p.ring) > 0 {
			win := p.box.Grow(s.blur.Radius(), m.h, m.w)
			smooth := s.crop(m, win)
			n := win.H() * win.W()
			c.cost = s.MemoryCost * s.cost(p, func(ch, i int) float32 {
				q := int(p.ring[i])
				return smooth[ch*n+(q/s.W-win.Y0)*win.W()+q%s.W-win.X0]
			})
		}
		out = append(out, c)
	}
	return out
}

// crop returns the window [channels,h,w] of a normal image, blurred.
func (s *sources) crop(m *Normal, win pixel.Box) []float32 {
	h, w := win.H(), win.W()
	out := make([]float32, s.channels*h*w)
	scratch := make([]float32, s.blur.Scratch(h, w))
	for c := range s.channels {
		plane := out[c*h*w : (c+1)*h*w]
		for i := range plane {
			plane[i] = m.at(c, win.Y0+i/w, win.X0+i%w)
		}
		s.blur.Blur(plane, h, w, scratch)
	}
	return out
}

// cost is the mean square over the ring and the channels of e - MeanShare mean(e), e = candidate - image, the mean being
// each channel's own. at(c, i) is the candidate in channel c at ring pixel i.
func (s *sources) cost(p *place, at func(c, i int) float32) float64 {
	n := len(p.ring)
	total := 0.0
	for c := range s.channels {
		var sum, sq float64
		for i, want := range p.want[c*n : (c+1)*n] {
			e := float64(at(c, i) - want)
			sum += e
			sq += e * e
		}
		mean := sum / float64(n)
		total += sq/float64(n) - mean*mean*s.MeanShare*(2-s.MeanShare)
	}
	return total / float64(s.channels)
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

// fit returns the candidates' values in the region, each with its offset: Y - candidate on the ring, interpolated by
// normalised convolution with sigma = max(OffsetCells, sqrt(area)/OffsetDivisor). With no candidate, black takes the
// place of one: its offset is the smooth continuation of the ring.
func (s *sources) fit(p *place, best []candidate) [][]float32 {
	if len(best) == 0 {
		best = []candidate{{black: true}}
	}
	value := func(b candidate, c int, q int32) float32 {
		switch {
		case b.black:
			return 0
		case b.normal != nil:
			return b.normal.at(c, int(q)/s.W, int(q)%s.W)
		}
		return s.Y[c*s.H*s.W+int(q)+b.dy*s.W+b.dx]
	}
	width := len(best) * s.channels
	residual := make([]float32, 0, len(p.ring)*width) // [ring,best,channels]
	for _, q := range p.ring {
		for _, b := range best {
			for c := range s.channels {
				residual = append(residual, s.Y[c*s.H*s.W+int(q)]-value(b, c, q))
			}
		}
	}
	n := len(p.pixels)
	sigma := max(s.OffsetCells*float64(s.Stride), math.Sqrt(float64(n))/s.OffsetDivisor)
	offset := make([]float32, n*width) // [pixels,best,channels]
	pixel.NormConv(residual, p.ring, p.pixels, s.W, width, sigma, offset)
	out := make([][]float32, len(best))
	for k, b := range best {
		out[k] = make([]float32, 3*n)
		for c := range 3 {
			ch := min(c, s.channels-1)
			for i, q := range p.pixels {
				out[k][c*n+i] = value(b, ch, q) + offset[i*width+k*s.channels+ch]
			}
		}
	}
	return out
}
