package refine

import (
	"fmt"
	"math"
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
}

// region is a component of Omega.
type region struct {
	pixels    []int32
	filled    bool    // has a fill
	explained float64 // see explain
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

// prepare runs steps 1 to 3.
func (r *Refiner) prepare(in *Input) (*scene, error) {
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
	if s.omega == nil {
		return s, nil
	}
	distance := morph.Distances(s.omega, s.h, s.w)
	regions := morph.Components(s.omega, s.h, s.w, true)
	fills := r.Fills.Fill(&Scene{
		Y: s.y, H: s.h, W: s.w, Omega: s.omega, Distance: distance, Regions: regions, Memory: in.Memory, Seed: in.Seed,
	}, o.Fills.Count)
	if err := checkFills(fills, regions); err != nil {
		return nil, err
	}
	s.split(regions, distance, r.reach)
	err := par.Err(len(s.islands), func(i int) error { return r.compare(s, s.islands[i], regions, fills) })
	if err != nil {
		return nil, err
	}
	s.regions = make([]region, len(regions))
	for i, pixels := range regions {
		s.regions[i] = region{pixels: pixels, filled: len(fills[i]) > 0}
	}
	return s, nil
}

func checkFills(fills [][][]float32, regions [][]int32) error {
	if len(fills) != len(regions) {
		return fmt.Errorf("refine: fills for %d regions, want %d", len(fills), len(regions))
	}
	for i, fs := range fills {
		for _, f := range fs {
			if len(f) != 3*len(regions[i]) {
				return fmt.Errorf("refine: a fill of %d values for a region of %d pixels", len(f), len(regions[i]))
			}
		}
	}
	return nil
}

// split gathers the regions of Omega, to which distance [h,w] is the squared distance, into islands more than twice reach apart, each with a window that reach fits into.
func (s *scene) split(regions [][]int32, distance []int32, reach int) {
	label := make([]int32, s.h*s.w)
	groups := morph.Components(morph.Within(distance, float64(reach)), s.h, s.w, true)
	for i, g := range groups {
		for _, p := range g {
			label[p] = int32(i)
		}
	}
	s.islands = make([]*island, len(groups))
	for i := range s.islands {
		s.islands[i] = &island{}
	}
	for i, region := range regions {
		is := s.islands[label[region[0]]]
		is.regions = append(is.regions, i)
	}
	for _, is := range s.islands {
		var all []int32
		for _, i := range is.regions {
			all = append(all, regions[i]...)
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
func (r *Refiner) compare(s *scene, is *island, regions [][]int32, fills [][][]float32) error {
	o := &r.opts
	box, K := is.state.Box, 1
	for _, i := range is.regions {
		K = max(K, len(fills[i]))
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
		inWindow := func(p int32) int { return (int(p)/s.w-box.Y0)*w + int(p)%s.w - box.X0 }
		spread := variation(fills[i], len(regions[i]), o.Residual.Quantile)
		for j, p := range regions[i] {
			is.state.C[inWindow(p)] = spread[j]
		}
		if len(fills[i]) == 0 {
			continue
		}
		for k := range K {
			f := fills[i][k%len(fills[i])]
			for j, p := range regions[i] {
				at := inWindow(p)
				for c := range 3 {
					all[(k*3+c)*n+at] = f[c*len(regions[i])+j]
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

// unknownSpread is the spread of a region with less than two fills: the whole range of the pixels, so that nothing there is
// evidence.
const unknownSpread = 1

// variation is how much normal fills differ among themselves, per pixel of a region of n: the root of the share-quantile
// over the fills [3,n] of their squared distance to the nearest other one, which counts as unknownSpread at most. It is
// measured as the image is: by the least distance to fills that were chosen and offset by the same ring.
func variation(fills [][]float32, n int, share float64) []float32 {
	out := make([]float32, n)
	K := len(fills)
	if K < 2 {
		for j := range out {
			out[j] = unknownSpread
		}
		return out
	}
	sq := make([]float32, n)
	least := make([]float32, n*K) // [n,K]
	for i := range least {
		least[i] = unknownSpread
	}
	for a := range K {
		for b := range a {
			clear(sq)
			for c := range 3 {
				x, y := fills[a][c*n:(c+1)*n], fills[b][c*n:(c+1)*n]
				for j := range sq {
					d := x[j] - y[j]
					sq[j] += d * d
				}
			}
			for j, d := range sq {
				least[j*K+a] = min(least[j*K+a], d)
				least[j*K+b] = min(least[j*K+b], d)
			}
		}
	}
	for j := range out {
		out[j] = float32(math.Sqrt(pixel.Quantile(least[j*K:(j+1)*K], share)))
	}
	return out
}
