package refine

import (
	"context"
	"fmt"
	"slices"

	"f2pad.example/engine/internal/morph"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
)

// scene is one image on its way through the steps.
type scene struct {
	y     []float32 // [3,h,w]
	h, w  int
	v     []float32 // [h,w] the method's own map, calibrated
	diary *Diary

	// Below: set where something is suspicious.
	omega     []bool    // [h,w]; nil: nothing is suspicious
	looked    []float32 // [h,w] v, on Omega averaged over looks
	regions   []region
	islands   []*island
	explained []float32 // [h,w] the regions' shares; nil: not asked

	at     []int32   // see inside
	ranked []float64 // [h,w] see Refiner.ranked
}

// inside is Omega's pixels, ascending. It is for one goroutine.
func (s *scene) inside() []int32 {
	if s.at == nil {
		for p, in := range s.omega {
			if in {
				s.at = append(s.at, int32(p))
			}
		}
	}
	return s.at
}

// region is a component of Omega.
type region struct {
	pixels    []int32
	fills     [][]float32 // [3,len(pixels)] each, until they are laid beside the image
	spread    []float32   // [len(pixels)] what they differ by, likewise
	filled    bool        // has a fill
	explained float64     // see explain
}

// island is a part of Omega that no blur reaches from another part, in its window.
type island struct {
	state    *pixel.State
	residual []float32 // [h,w] of the window, on the region: least residual, blurred
	regions  []int     // of the scene
	doubtful bool      // see explain: step 4 is for it
}

// pixel is which pixel of an image of w columns pixel p of the window is.
func (is *island) pixel(p int32, w int) int {
	b := is.state.Box
	return (b.Y0+int(p)/b.W())*w + b.X0 + int(p)%b.W()
}

// prepare runs steps 1 to 3: each for all images at once, as far as devices do them.
func (r *Refiner) prepare(ctx context.Context, sc Scorer, in []Input) ([]*scene, error) {
	scenes, err := r.open(in)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var which []int // where something is suspicious
	var searched []*Scene
	for i, s := range scenes {
		if s.omega != nil {
			which = append(which, i)
			searched = append(searched, &Scene{
				Image: i, Y: s.y, H: s.h, W: s.w, Omega: s.omega, Regions: s.pixels(), Memory: in[i].Memory, Seed: in[i].Seed,
			})
		}
	}
	if len(which) == 0 {
		return scenes, nil
	}
	fills, err := r.Fills.Fill(filler{r.Pixels, sc}, searched, r.opts.Fills.Count)
	if err != nil {
		return nil, err
	}
	if err := checkFills(fills, searched); err != nil {
		return nil, err
	}
	var spreads []Spread
	for i, k := range which {
		for j := range scenes[k].regions {
			g := &scenes[k].regions[j]
			g.fills, g.spread, g.filled = fills[i][j], make([]float32, len(g.pixels)), len(fills[i][j]) > 0
			spreads = append(spreads, Spread{Fills: g.fills, Share: r.opts.Residual.Quantile, Out: g.spread})
		}
	}
	if err := r.Pixels.Spreads(spreads); err != nil {
		return nil, err
	}
	open := make([]*scene, len(which))
	par.For(len(which), func(i int) {
		open[i] = scenes[which[i]]
		open[i].split(r.reach)
	})
	return scenes, r.compare(open)
}

// open runs step 1.
func (r *Refiner) open(in []Input) ([]*scene, error) {
	o := &r.opts
	H, W := in[0].Y.Shape()[1], in[0].Y.Shape()[2] // of all
	h, w := H/o.Stride, W/o.Stride
	z, u := make([]float32, 0, len(in)*h*w), make([]float32, len(in)*H*W)
	for i := range in {
		z = append(z, nd.Data(in[i].Z)...)
	}
	if err := r.Pixels.Smooth(z, len(in), h, w, o.Stride, pixel.NewGaussian(o.px(o.Region.SmoothCells)), u); err != nil {
		return nil, err
	}
	scenes := make([]*scene, len(in))
	par.For(len(in), func(i int) {
		s := &scene{y: nd.Data(in[i].Y), h: H, w: W, v: nd.Data(in[i].V)}
		if in[i].Diary {
			s.diary = &Diary{}
		}
		z := z[i*h*w : (i+1)*h*w]
		if s.omega = suspicious(u[i*H*W:(i+1)*H*W], peaks(z, h, w, int(o.Region.PeakCells)), H, W, o); s.omega != nil {
			s.find()
		}
		scenes[i] = s
	})
	return scenes, nil
}

// find sets the regions: Omega's 8-connected components.
func (s *scene) find() {
	for _, pixels := range morph.Components(s.omega, s.h, s.w, true) {
		s.regions = append(s.regions, region{pixels: pixels})
	}
}

// pixels is the regions' pixels.
func (s *scene) pixels() [][]int32 {
	out := make([][]int32, len(s.regions))
	for i, g := range s.regions {
		out[i] = g.pixels
	}
	return out
}
func checkFills(fills [][][][]float32, scenes []*Scene) error {
	if len(fills) != len(scenes) {
		return fmt.Errorf("refine: fills for %d images, want %d", len(fills), len(scenes))
	}
	for k, s := range scenes {
		if len(fills[k]) != len(s.Regions) {
			return fmt.Errorf("refine: fills for %d regions, want %d", len(fills[k]), len(s.Regions))
		}
		for i, fs := range fills[k] {
			for _, f := range fs {
				if len(f) != 3*len(s.Regions[i]) {
					return fmt.Errorf("refine: a fill of %d values for a region of %d pixels", len(f), len(s.Regions[i]))
				}
			}
		}
	}
	return nil
}

// split gathers the regions of Omega into islands more than twice reach apart, each with a window that reach fits into.
func (s *scene) split(reach int) {
	label := make([]int32, s.h*s.w)
	groups := morph.Components(morph.Dilate(s.omega, s.h, s.w, float64(reach)), s.h, s.w, true)
	for i, g := range groups {
		for _, p := range g {
			label[p] = int32(i)
		}
	}
	s.islands = make([]*island, len(groups))
	for i := range s.islands {
		s.islands[i] = &island{}
	}
	for i, g := range s.regions {
		is := s.islands[label[g.pixels[0]]]
		is.regions = append(is.regions, i)
	}
	for _, is := range s.islands {
		var all []int32
		for _, i := range is.regions {
			all = append(all, s.regions[i].pixels...)
		}
		slices.Sort(all)
		box := pixel.Bounds(all, s.w).Grow(reach, s.h, s.w)
		for k, p := range all {
			all[k] = int32((int(p)/s.w-box.Y0)*box.W() + int(p)%s.w - box.X0)
		}
		is.state = &pixel.State{Box: box, Pixels: all}
	}
}

// compare measures the islands against their fills: the least residual and its unit (step 3), and A = Y - N* to start from
// (step 4), in that unit.
func (r *Refiner) compare(scenes []*scene) error {
	var islands []*island
	var of []*scene
	for _, s := range scenes {
		for _, is := range s.islands {
			islands, of = append(islands, is), append(of, s)
		}
	}
	all := make([]Comparison, len(islands))
	par.For(len(islands), func(i int) { all[i] = r.beside(of[i], islands[i]) })
	smooth, start := pixel.NewGaussian(r.opts.Residual.SmoothPx), pixel.NewGaussian(r.opts.Optimiser.StartPx)
	if err := r.Pixels.Compare(all, smooth, start); err != nil {
		return err
	}
	par.For(len(islands), func(i int) { islands[i].start(&all[i]) })
	return nil
}

// beside lays an island's fills beside the image, whose regions let go of them, and sets its unit. A region with fewer fills than others
// repeats them; one without is its own fill.
func (r *Refiner) beside(s *scene, is *island) Comparison {
	box, K := is.state.Box, 1
	for _, i := range is.regions {
		K = max(K, len(s.regions[i].fills))
	}
	h, w, P := box.H(), box.W(), len(is.state.Pixels)
	c := Comparison{
		H: h, W: w, Pixels: is.state.Pixels, Y: make([]float32, 3*P), K: K, Fills: make([]float32, 0, K*3*P),
		Residual: make([]float32, P), Best: make([]int32, P),
	}
	number := make([]int32, h*w) // of the island's pixels, by place in the window
	for i, p := range c.Pixels {
		number[p] = int32(i)
		for ch := range 3 {
			c.Y[ch*P+i] = s.y[ch*s.h*s.w+is.pixel(p, s.w)]
		}
	}
	for range K {
		c.Fills = append(c.Fills, c.Y...)
	}
	is.state = pixel.NewState(box, is.state.Pixels, r.step())
	for _, i := range is.regions {
		g := &s.regions[i]
		at := make([]int32, len(g.pixels))
		for j, p := range g.pixels {
			q := (int(p)/s.w-box.Y0)*w + int(p)%s.w - box.X0
			at[j] = number[q]
			is.state.C[q] = g.spread[j]
		}
		if len(g.fills) > 0 {
			for k := range K {
				f := g.fills[k%len(g.fills)]
				for ch := range 3 {
					plane := c.Fills[(k*3+ch)*P:][:P]
					for j, v := range f[ch*len(at):][:len(at)] {
						plane[at[j]] = v
					}
				}
			}
		}
		g.fills, g.spread = nil, nil // they are large
	}
	is.unit(&r.opts)
	return c
}

// start keeps what a comparison found.
func (is *island) start(c *Comparison) {
	P, n := len(c.Pixels), c.H*c.W
	is.residual = make([]float32, n)
	for i, p := range c.Pixels {
		is.residual[p] = c.Residual[i]
		for ch := range 3 {
			is.state.A[ch*n+int(p)] = (c.Y[ch*P+i] - c.Fills[(int(c.Best[i])*3+ch)*P+i]) / is.state.C[p]
		}
	}
}

// unit turns the fills' spread in State.C into the unit c of the anomaly, which is full evidence: High times the spread,
// blurred over the island, and the floor.
func (is *island) unit(o *Options) {
	h, w := is.state.Box.H(), is.state.Box.W()
	blur := pixel.NewGaussian(o.Residual.SpreadPx)
	scratch := make([]float32, blur.Scratch(h, w))
	cover := make([]float32, h*w)
	for _, p := range is.state.Pixels {
		cover[p] = 1
	}
	blur.Blur(is.state.C, h, w, scratch)
	blur.Blur(cover, h, w, scratch)
	for _, p := range is.state.Pixels {
		is.state.C[p] = float32(o.Residual.High) * (is.state.C[p]/cover[p] + float32(o.Residual.Floor))
	}
}
