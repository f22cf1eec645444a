package refine

import (
	"math"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/pixel"
)

// Filler does the work of finding fills (step 2) and of telling what they differ by (step 3), for all regions of a batch in one call
// each. It is safe for concurrent use. Host is the CPU; what others compute may differ from it by float32 rounding, and depends on
// one job alone, whatever else is in the batch.
type Filler interface {
	// Costs compares candidates with the images, and fills the rings' Costs.
	Costs(searches []Search) error
	// Offsets continues residuals into regions (pixel.NormConv), and fills their Out.
	Offsets(offsets []Offset) error
	// Spreads measures how much fills differ among themselves, and fills their Out.
	Spreads(spreads []Spread) error
}

// Search is an image, and what it is compared with.
type Search struct {
	Image     int       // which of the inputs of the Run it is
	Y         []float32 // [C,H,W] its first planes; C is 1 where everything is grey, else 3
	H, W      int
	Blur      pixel.Gaussian // of all that is compared
	MeanShare float64        // share of the mean difference that costs nothing
	Rings     []Ring
}

// Ring is the surroundings of a region, on which candidates for its fill are compared with the image. The cost of one is the mean
// square over ring and channels of e - MeanShare mean(e), e = candidate - image, both blurred, the mean being each channel's own.
type Ring struct {
	Pixels  []int32   // indices y*W+x, ascending. None: every cost is 0
	Box     pixel.Box // around them and the region: the normal images cover it
	Shifts  []int32   // candidates: pixel q + shift of the image in the place of pixel q; within the image for all of the ring
	Normals []*Normal // candidates: the same place of these
	Costs   []float64 // [len(Shifts)+len(Normals)]
}

// Offset is what continues the samples V [len(At),C] at the pixels At to the pixels To, into Out [len(To),C]; pixels are indices
// y*W+x. Without samples it is 0.
type Offset struct {
	V      []float32
	At, To []int32
	W, C   int
	Sigma  float64
	Out    []float32
}

// Spread is how much K fills [3,n] of a region differ per pixel, into Out [n]: the root of the Share-quantile over the fills of their
// squared distance to the nearest other one, which counts as unknownSpread at most. With less than two fills it is unknownSpread.
type Spread struct {
	Fills [][]float32
	Share float64
	Out   []float32
}

// unknownSpread is the spread of a region with less than two fills: the whole range of the pixels, so that nothing there is
// evidence.
const unknownSpread = 1

// Costs implements Filler. It never fails.
func (Host) Costs(searches []Search) error {
	smooth := make([][]float32, len(searches))
	par.For(len(searches), func(i int) { smooth[i] = searches[i].blurred() })
	type job struct{ search, ring int }
	var jobs []job
	for i, s := range searches {
		for j := range s.Rings {
			jobs = append(jobs, job{i, j})
		}
	}
	par.For(len(jobs), func(i int) {
		s := &searches[jobs[i].search]
		s.costs(&s.Rings[jobs[i].ring], smooth[jobs[i].search])
	})
	return nil
}

// blurred is the image, blurred.
func (s *Search) blurred() []float32 {
	n := s.H * s.W
	out := slices.Clone(s.Y)
	scratch := make([]float32, s.Blur.Scratch(s.H, s.W))
	for c := 0; c < len(out); c += n {
		s.Blur.Blur(out[c:c+n], s.H, s.W, scratch)
	}
	return out
}

// costs compares the candidates of a ring with the blurred image.
func (s *Search) costs(r *Ring, smooth []float32) {
	clear(r.Costs)
	n, size := len(r.Pixels), s.H*s.W
	if n == 0 {
		return
	}
	channels := len(s.Y) / size
	want := make([]float32, channels*n)
	for c := range channels {
		plane := smooth[c*size:][:size]
		for i, q := range r.Pixels {
			want[c*n+i] = plane[q]
		}
		s.shifts(r, plane, want[c*n:], r.Costs)
	}
	var win pixel.Box // around the ring, with room for the blur
	var at []int32    // of the ring, in the box
	var plane, smoothed, scratch []float32
	for k, m := range r.Normals {
		if w := r.Box.Grow(s.Blur.Radius(), m.h, m.w); w != win {
			win = w
			plane, smoothed = make([]float32, win.H()*win.W()), make([]float32, r.Box.H()*r.Box.W())
			scratch = make([]float32, s.Blur.Scratch(win.H(), win.W()))
		}
		if at == nil {
			for _, q := range r.Pixels {
				at = append(at, int32((int(q)/s.W-r.Box.Y0)*r.Box.W()+int(q)%s.W-r.Box.X0))
			}
		}
		inner := pixel.Box{Y0: r.Box.Y0 - win.Y0, X0: r.Box.X0 - win.X0, Y1: r.Box.Y1 - win.Y0, X1: r.Box.X1 - win.X0}
		for c := range channels {
			m.crop(plane, c, win)
			s.Blur.BlurBox(smoothed, plane, win.H(), win.W(), inner, scratch)
			var sum, sq float64
			for i, q := range at {
				e := float64(smoothed[q] - want[c*n+i])
				sum += e
				sq += e * e
			}
			r.Costs[len(r.Shifts)+k] += s.cost(sum, sq, n)
		}
	}
	for k := range r.Costs {
		r.Costs[k] /= float64(channels)
	}
}

// shifts adds what the ring's shifts cost in one channel, whose blurred plane is given and is want on the ring. Four at a time hide the
// time that an addition takes.
func (s *Search) shifts(r *Ring, plane, want []float32, costs []float64) {
	want = want[:len(r.Pixels)]
	for k := 0; k < len(r.Shifts); k += 4 {
		var by [4]int32 // beyond the last, 0, which nobody asks for
		some := copy(by[:], r.Shifts[k:])
		var sum0, sum1, sum2, sum3, sq0, sq1, sq2, sq3 float64
		for i, q := range r.Pixels {
			v := want[i]
			e0, e1 := float64(plane[q+by[0]]-v), float64(plane[q+by[1]]-v)
			e2, e3 := float64(plane[q+by[2]]-v), float64(plane[q+by[3]]-v)
			sum0, sq0 = sum0+e0, sq0+e0*e0
			sum1, sq1 = sum1+e1, sq1+e1*e1
			sum2, sq2 = sum2+e2, sq2+e2*e2
			sum3, sq3 = sum3+e3, sq3+e3*e3
		}
		sum, sq := [4]float64{sum0, sum1, sum2, sum3}, [4]float64{sq0, sq1, sq2, sq3}
		for i := range some {
			costs[k+i] += s.cost(sum[i], sq[i], len(r.Pixels))
		}
	}
}

// cost is what a candidate costs in one channel by the sums of e and of e^2 over the n pixels of a ring.
func (s *Search) cost(sum, sq float64, n int) float64 {
	mean := sum / float64(n)
	return sq/float64(n) - mean*mean*s.MeanShare*(2-s.MeanShare)
}

// Offsets implements Filler. It never fails.
func (Host) Offsets(offsets []Offset) error {
	par.For(len(offsets), func(i int) {
		o := &offsets[i]
		pixel.NormConv(o.V, o.At, o.To, o.W, o.C, o.Sigma, o.Out)
	})
	return nil
}

// Spreads implements Filler. It never fails.
func (Host) Spreads(spreads []Spread) error {
	par.For(len(spreads), func(i int) { spreads[i].measure() })
	return nil
}

func (s *Spread) measure() {
	n, K := len(s.Out), len(s.Fills)
	if K < 2 {
		for j := range s.Out {
			s.Out[j] = unknownSpread
		}
		return
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
				x, y := s.Fills[a][c*n:(c+1)*n], s.Fills[b][c*n:(c+1)*n]
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
	for j := range s.Out {
		s.Out[j] = float32(math.Sqrt(pixel.Quantile(least[j*K:(j+1)*K], s.Share)))
	}
}
