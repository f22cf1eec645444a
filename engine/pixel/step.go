package pixel

import "math"

// State is what the optimiser knows of one region of an image: the anomaly A on the region, which is 0 everywhere else,
// and Adam's moments. Everything lies on a window, a box of the image around the region with room for the blurs: the
// values on the region are then those of the whole image.
type State struct {
	Box    Box
	Pixels []int32   // the region: indices into the window's planes, ascending
	C      []float32 // [h,w] c: the unit of the anomaly at each pixel, above 0 on the region
	A      []float32 // [3,h,w] A/c: the anomaly in that unit
	M      []float32 // [3,h,w] first moment of the gradient
	V      []float32 // [h,w] second moment of the gradient, summed over the channels
	Sum    []float32 // [h,w] sum of ||A/c|| over the iterations that count

	g, rate, sq, scratch []float32 // of one step: [3,h,w] shared gradient, then b; [h,w]; [h,w]; of the blurs
}

// NewState returns the state before the first step for a region's pixels in the window's planes, with A = 0.
func NewState(b Box, pixels []int32, o *StepOptions) *State {
	n := b.H() * b.W()
	return &State{
		Box: b, Pixels: pixels, C: make([]float32, n),
		A: make([]float32, 3*n), M: make([]float32, 3*n), V: make([]float32, n), Sum: make([]float32, n),
		g: make([]float32, 3*n), rate: make([]float32, n), sq: make([]float32, n),
		scratch: make([]float32, max(o.Share.Scratch(b.H(), b.W()), o.Norm.Scratch(b.H(), b.W()))),
	}
}

// StepOptions are the constants of a step.
type StepOptions struct {
	Share    Gaussian // of the gradient
	Norm     Gaussian // of the squared norm that decides what vanishes
	Momentum float64  // Adam's first
	Decay    float64  // Adam's second
	Rate     float64  // eta = Rate/(sqrt(v) + Lambda)
	Lambda   float64  // weight of the penalty
	Penalty  Penalty
	From     int // first iteration that adds to State.Sum
}

// Stats are reductions over the region's pixels.
type Stats struct {
	Penalty float64 // Lambda times the penalty of the A that the step started from
	Support int     // pixels where that A is not 0
	Moved   float64 // sum of the step's length ||dA/c||
}

// Add adds the sums of another region.
func (s *Stats) Add(o Stats) {
	s.Penalty += o.Penalty
	s.Support += o.Support
	s.Moved += o.Moved
}

// Step runs iteration t = 1, 2, ... on one region. dx [3,H,W] is the data term's gradient w.r.t. the image X = Y - A, of
// which the window is a part, c = State.C. With everything 0 off the region:
//
//	g   = G_share * (-c dx)
//	m, v: Adam's moments of g and of ||g||^2, bias-corrected
//	eta = rate/(sqrt(v) + lambda)
//	b   = A/c - eta m
//	n   = sqrt(G_norm * ||b||^2)
//	A/c = b prox(n; eta lambda)/n
//
// Two blurs, of 3 planes and of 1, and some 60 operations per pixel of the region. It allocates nothing.
func Step(s *State, dx []float32, H, W, t int, o *StepOptions) Stats {
	h, w := s.Box.H(), s.Box.W()
	n := h * w
	clear(s.g)
	for _, p := range s.Pixels {
		at := (s.Box.Y0+int(p)/w)*W + s.Box.X0 + int(p)%w
		for ch := range 3 {
			s.g[ch*n+int(p)] = -s.C[p] * dx[ch*H*W+at]
		}
	}
	for ch := range 3 {
		o.Share.Blur(s.g[ch*n:(ch+1)*n], h, w, s.scratch)
	}

	correctM := float32(1 / (1 - math.Pow(o.Momentum, float64(t))))
	correctV := 1 / (1 - math.Pow(o.Decay, float64(t)))
	keepM, keepV := float32(o.Momentum), float32(o.Decay)
	clear(s.sq)
	for _, p := range s.Pixels {
		g2 := float32(0)
		for ch := range 3 {
			g := s.g[ch*n+int(p)]
			g2 += g * g
		}
		s.V[p] = keepV*s.V[p] + (1-keepV)*g2
		eta := float32(o.Rate / (math.Sqrt(float64(s.V[p])*correctV) + o.Lambda))
		s.rate[p] = eta
		for ch := range 3 {
			i := ch*n + int(p)
			s.M[i] = keepM*s.M[i] + (1-keepM)*s.g[i]
			b := s.A[i] - eta*correctM*s.M[i]
			s.g[i] = b
			s.sq[p] += b * b
		}
	}
	o.Norm.Blur(s.sq, h, w, s.scratch)

	var st Stats
	for _, p := range s.Pixels {
		size := math.Sqrt(float64(s.sq[p]))
		shrink := float32(0)
		if size > 0 {
			shrink = float32(o.Penalty.Prox(size, float64(s.rate[p])*o.Lambda) / size)
		}
		var before, after, moved float64
		for ch := range 3 {
			i := ch*n + int(p)
			a, b := float64(s.A[i]), s.g[i]*shrink
			s.A[i] = b
			before += a * a
			after += float64(b) * float64(b)
			moved += (float64(b) - a) * (float64(b) - a)
		}
		if before > 0 {
			st.Support++
			st.Penalty += o.Lambda * o.Penalty.Value(math.Sqrt(before))
		}
		st.Moved += math.Sqrt(moved)
		if t >= o.From {
			s.Sum[p] += float32(math.Sqrt(after))
		}
	}
	return st
}

// Compose writes X = Y - A on the region into x; y and x are [3,H,W].
func Compose(s *State, y []float32, H, W int, x []float32) {
	w := s.Box.W()
	n := s.Box.H() * w
	for _, p := range s.Pixels {
		at := (s.Box.Y0+int(p)/w)*W + s.Box.X0 + int(p)%w
		for ch := range 3 {
			i := ch*H*W + at
			x[i] = y[i] - s.C[p]*s.A[ch*n+int(p)]
		}
	}
}
