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
	fills     [][]float32 // [3,len(pixels)] each, until they are compared with the image
	spread    []float32   // [len(pixels)] what they differ by, likewise
	filled    bool        // has a fill
	explained float64     // see explain
}

// island is a part of Omega that no blur reaches from another part, in its window.
type island struct {
	state    *pixel.State
	residual []float32 // [h,w] of the window: least residual, blurred
	regions  []int     // of the scene
	doubtful bool      // see explain: step 4 is for it
}

// pixel is which pixel of an image of w columns pixel p of the window is.
func (is *island) pixel(p int32, w int) int {
	b := is.state.Box
	return (b.Y0+int(p)/b.W())*w + b.X0 + int(p)%b.W()
}

// prepare runs steps 1 to 3: each for all images at once, as far as devices do them.
func (r *Refiner) prepare(ctx context.Context, in []Input) ([]*scene, error) {
	scenes := make([]*scene, len(in))
	err := par.Err(len(in), func(i int) (err error) {
		if err = ctx.Err(); err == nil {
			scenes[i], err = r.open(&in[i])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var which []int // where something is suspicious
	var searched []*Scene
	for i, s := range scenes {
		if s.omega != nil {
			which = append(which, i)
			searched = append(searched, &Scene{
				Y: s.y, H: s.h, W: s.w, Omega: s.omega, Regions: s.pixels(), Memory: in[i].Memory, Seed: in[i].Seed,
			})
		}
	}
	if len(which) == 0 {
		return scenes, nil
	}
	fills, err := r.Fills.Fill(r.Pixels, searched, r.opts.Fills.Count)
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
	return scenes, par.Err(len(which), func(i int) error {
		s := scenes[which[i]]
		s.split(r.reach)
		err := par.Err(len(s.islands), func(i int) error { return r.compare(s, s.islands[i]) })
		for i := range s.regions { // they are large
			s.regions[i].fills, s.regions[i].spread = nil, nil
		}
		return err
	})
}

// open runs step 1.
func (r *Refiner) open(in *Input) (*scene, error) {
	o := &r.opts
	s := &scene{y: nd.Data(in.Y), h: in.Y.Shape()[1], w: in.Y.Shape()[2], v: nd.Data(in.V)}
	if in.Diary {
		s.diary = &Diary{}
	}
	u := make([]float32, s.h*s.w)
	smooth := pixel.NewGaussian(o.px(o.Region.SmoothCells))
	if err := r.Pixels.Smooth(nd.Data(in.Z), s.h/o.Stride, s.w/o.Stride, o.Stride, smooth, u); err != nil {
		return nil, err
	}
	s.omega = suspicious(u, peaks(nd.Data(in.Z), s.h/o.Stride, s.w/o.Stride, int(o.Region.PeakCells)), s.h, s.w, o)
	if s.omega != nil {
		s.find()
	}
	return s, nil
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

// compare measures an island against its fills: the least residual and its unit (step 3), and A = Y - N* to start from
// (step 4), in that unit. A region with fewer fills than others repeats them; one without is its own fill.
func (r *Refiner) compare(s *scene, is *island) error {
	o := &r.opts
	box, K := is.state.Box, 1
	for _, i := range is.regions {
		K = max(K, len(s.regions[i].fills))
	}
	h, w := box.H(), box.W()
	n := h * w
	y := make([]float32, 3*n)
	pixel.Crop(y, s.y, 3, s.h, s.w, box)
	all := make([]float32, 0, K*3*n)
	for range K {
		all = append(all, y...)
	}
	is.state = pixel.NewState(box, is.state.Pixels, r.step())
	for _, i := range is.regions {
		g := &s.regions[i]
		at := make([]int32, len(g.pixels)) // in the window
		for j, p := range g.pixels {
			at[j] = int32((int(p)/s.w-box.Y0)*w + int(p)%s.w - box.X0)
			is.state.C[at[j]] = g.spread[j]
		}
		if len(g.fills) == 0 {
			continue
		}
		for k := range K {
			f := g.fills[k%len(g.fills)]
			for c := range 3 {
				plane := all[(k*3+c)*n:][:n]
				for j, v := range f[c*len(at):][:len(at)] {
					plane[at[j]] = v
				}
			}
		}
	}
	is.unit(o)
	start, smooth := pixel.NewGaussian(o.Optimiser.StartPx), pixel.NewGaussian(o.Residual.SmoothPx)
	is.residual = make([]float32, n)
	best := make([]int32, n)
	if err := r.Pixels.Compare(y, all, K, h, w, smooth, start, is.residual, best); err != nil {
		return err
	}
	for _, p := range is.state.Pixels {
		for c := range 3 {
			at := c*n + int(p)
			is.state.A[at] = (y[at] - all[int(best[p])*3*n+at]) / is.state.C[p]
		}
	}
	return nil
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
