package refine

import (
	"math"
	"slices"

	"f2pad.example/engine/pixel"

	"gonum.org/v1/gonum/mat"
)

// classify returns how much each pixel of Omega [h,w] looks like those that the score S speaks for most, in [0,1]; 0 elsewhere,
// and nil where S prefers nothing. The defect's clearest pixels teach what the others are like: a ridge regression per
// image, in closed form, of 1 for the share Top of Omega with the highest S and 0 for the share Rest with the least, both
// weighted alike, on what a pixel's surroundings look like (looksLike). It knows S by those examples alone, and has too few
// coefficients to learn them by heart.
func (r *Refiner) classify(s *scene, S []float64) []float32 {
	o := &r.opts.Classifier
	var at []int32
	var scores []float32
	for p, in := range s.omega {
		if in {
			at = append(at, int32(p))
			scores = append(scores, float32(S[p]))
		}
	}
	sorted := slices.Clone(scores)
	top, rest := float32(pixel.Quantile(sorted, 1-o.Top)), float32(pixel.Quantile(sorted, o.Rest))
	var pos, neg []int
	for k, v := range scores {
		switch {
		case v >= top && v > rest:
			pos = append(pos, k)
		case v < rest:
			neg = append(neg, k)
		}
	}
	if len(pos) == 0 || len(neg) == 0 {
		return nil
	}
	x := r.looksLike(s, at)
	d := len(x) / len(at)
	row := func(k int) []float32 { return x[k*d : (k+1)*d] }
	a, b := mat.NewSymDense(d, nil), mat.NewVecDense(d, nil)
	for j := range d - 1 { // the constant is not shrunk
		a.SetSym(j, j, o.Ridge)
	}
	pos, neg = thinned(pos, o.Pixels), thinned(neg, o.Pixels)
	for _, some := range [][]int{pos, neg} {
		weight := 0.5 / float64(len(some))
		for _, k := range some {
			x := row(k)
			for i, u := range x {
				wu := weight * float64(u)
				for j := i; j < d; j++ {
					a.SetSym(i, j, a.At(i, j)+wu*float64(x[j]))
				}
			}
		}
	}
	for _, k := range pos {
		for i, u := range row(k) {
			b.SetVec(i, b.AtVec(i)+0.5/float64(len(pos))*float64(u))
		}
	}
	var beta mat.VecDense
	var chol mat.Cholesky
	if !chol.Factorize(a) || chol.SolveVecTo(&beta, b) != nil {
		return nil // Ridge is too small for float64
	}
	out := make([]float32, s.h*s.w)
	for k, p := range at {
		v := 0.0
		for j, u := range row(k) {
			v += beta.AtVec(j) * float64(u)
		}
		out[p] = float32(min(max(v, 0), 1))
	}
	return out
}

// thinned returns at most n of the items, at even distances.
func thinned(items []int, n int) []int {
	if len(items) <= n {
		return items
	}
	out := make([]int, n)
	for i := range out {
		out[i] = items[i*len(items)/n]
	}
	return out
}

// looksLike returns what the surroundings of the pixels look like, [len(at),D]: of each channel the pixel itself, its means
// with Gaussians of FinePx, that less the means of MidPx and of WidePx, and the deviation from the mean of GrainPx; the
// squares of them all; and 1. Each but the last has mean 0 and deviation 1 over the pixels, and is at most 6 before it is squared.
// A grey image has one channel.
func (r *Refiner) looksLike(s *scene, at []int32) []float32 {
	const each = 5 // of a channel
	o := &r.opts.Classifier
	n := s.h * s.w
	channels := 3
	if slices.Equal(s.y[:n], s.y[n:2*n]) && slices.Equal(s.y[:n], s.y[2*n:]) {
		channels = 1
	}
	linear := channels * each
	d := 2*linear + 1
	x := make([]float32, len(at)*d)
	scratch := make([]float32, n+s.w+2*pixel.NewGaussian(max(o.FinePx, o.MidPx, o.WidePx, o.GrainPx)).Radius())
	blurred := func(plane []float32, sigma float64) []float32 {
		out := slices.Clone(plane)
		pixel.NewGaussian(sigma).Blur(out, s.h, s.w, scratch)
		return out
	}
	for c := range channels {
		y := s.y[c*n : (c+1)*n]
		fine, mid, wide, grain := blurred(y, o.FinePx), blurred(y, o.MidPx), blurred(y, o.WidePx), blurred(y, o.GrainPx)
		for p, v := range y {
			dev := v - grain[p]
			grain[p] = dev * dev
		}
		grain = blurred(grain, o.GrainPx)
		for k, p := range at {
			copy(x[k*d+c*each:], []float32{y[p], fine[p], fine[p] - mid[p], fine[p] - wide[p], float32(math.Sqrt(float64(grain[p])))})
		}
	}
	for j := range linear {
		standardise(x, d, j)
		for k := range at {
			v := min(max(x[k*d+j], -6), 6)
			x[k*d+j], x[k*d+linear+j] = v, v*v
		}
		standardise(x, d, linear+j)
	}
	for k := range at {
		x[k*d+d-1] = 1
	}
	return x
}

// standardise gives column j of x [n,d] mean 0 and deviation 1, or 0 where it does not vary.
func standardise(x []float32, d, j int) {
	var sum, sq float64
	n := float64(len(x) / d)
	for k := j; k < len(x); k += d {
		sum += float64(x[k])
	}
	mean := sum / n
	for k := j; k < len(x); k += d {
		v := float64(x[k]) - mean
		sq += v * v
	}
	const least = 1e-6 // of pixels in [0,1], far below a grey level
	scale := 1 / (math.Sqrt(sq/n) + least)
	for k := j; k < len(x); k += d {
		x[k] = float32((float64(x[k]) - mean) * scale)
	}
}
