package refine

import (
	"math"
	"slices"

	"f2pad.example/engine/internal/morph"
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
	at := s.inside()
	scores := make([]float32, len(at))
	for k, p := range at {
		scores[k] = float32(S[p])
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
	a, b := make([]float64, d*d), make([]float64, d) // of a, what is on the diagonal and right of it
	for j := range d - 1 {                           // the constant is not shrunk
		a[j*d+j] = o.Ridge
	}
	pos, neg = thinned(pos, o.Pixels), thinned(neg, o.Pixels)
	for _, some := range [][]int{pos, neg} {
		weight := 0.5 / float64(len(some))
		for _, k := range some {
			x := row(k)
			for i, u := range x {
				wu, right := weight*float64(u), a[i*d+i:][:d-i]
				for j, v := range x[i:] {
					right[j] += wu * float64(v)
				}
			}
		}
	}
	for _, k := range pos {
		for i, u := range row(k) {
			b[i] += 0.5 / float64(len(pos)) * float64(u)
		}
	}
	var beta mat.VecDense
	var chol mat.Cholesky
	if !chol.Factorize(mat.NewSymDense(d, a)) || chol.SolveVecTo(&beta, mat.NewVecDense(d, b)) != nil {
		return nil // Ridge is too small for float64
	}
	out := make([]float32, s.h*s.w)
	coefficients := beta.RawVector().Data
	for k, p := range at {
		v := 0.0
		for j, u := range row(k) {
			v += coefficients[j] * float64(u)
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
	means := []pixel.Gaussian{pixel.NewGaussian(o.FinePx), pixel.NewGaussian(o.MidPx), pixel.NewGaussian(o.WidePx)}
	grain := pixel.NewGaussian(o.GrainPx)
	widest := pixel.NewGaussian(max(o.FinePx, o.MidPx, o.WidePx, o.GrainPx))
	order := make([]int32, n) // of the pixels in at
	for k, p := range at {
		order[p] = int32(k)
	}
	for _, pixels := range morph.Components(s.omega, s.h, s.w, true) {
		box := pixel.Bounds(pixels, s.w)
		around := box.Grow(grain.Radius(), s.h, s.w)
		inside := pixel.Box{
			Y0: box.Y0 - around.Y0, X0: box.X0 - around.X0, Y1: box.Y1 - around.Y0, X1: box.X1 - around.X0,
		}
		w, size := box.W(), box.H()*box.W()
		var seen [4][]float32 // in the box: the means, and the squared deviation's
		for i := range seen {
			seen[i] = make([]float32, size)
		}
		dev := make([]float32, around.H()*around.W())
		scratch := make([]float32, widest.Scratch(s.h, around.W()))
		for c := range channels {
			y := s.y[c*n : (c+1)*n]
			for i, g := range means {
				g.BlurBox(seen[i], y, s.h, s.w, box, scratch)
			}
			grain.BlurBox(dev, y, s.h, s.w, around, scratch)
			for i := range around.H() {
				row := dev[i*around.W():][:around.W()]
				for j, v := range y[(around.Y0+i)*s.w+around.X0:][:len(row)] {
					row[j] = (v - row[j]) * (v - row[j])
				}
			}
			grain.BlurBox(seen[3], dev, around.H(), around.W(), inside, scratch)
			for _, p := range pixels {
				i := (int(p)/s.w-box.Y0)*w + int(p)%s.w - box.X0
				fine, mid, wide, grain := seen[0][i], seen[1][i], seen[2][i], seen[3][i]
				copy(x[int(order[p])*d+c*each:], []float32{y[p], fine, fine - mid, fine - wide, float32(math.Sqrt(float64(grain)))})
			}
		}
	}
	standardise(x, d, 0, linear)
	for k := range at {
		row := x[k*d:][:d]
		for j, v := range row[:linear] {
			v = min(max(v, -6), 6)
			row[j], row[linear+j] = v, v*v
		}
		row[d-1] = 1
	}
	standardise(x, d, linear, 2*linear)
	return x
}

// standardise gives the columns from..to of x [n,d] mean 0 and deviation 1, or 0 where they do not vary.
func standardise(x []float32, d, from, to int) {
	n := float64(len(x) / d)
	mean, sq := make([]float64, to-from), make([]float64, to-from)
	rows := func(do func(row []float32)) {
		for k := 0; k < len(x); k += d {
			do(x[k+from : k+to])
		}
	}
	rows(func(row []float32) {
		for j, v := range row {
			mean[j] += float64(v)
		}
	})
	for j := range mean {
		mean[j] /= n
	}
	rows(func(row []float32) {
		for j, v := range row {
			v := float64(v) - mean[j]
			sq[j] += v * v
		}
	})
	const least = 1e-6 // of pixels in [0,1], far below a grey level
	scale := sq
	for j, v := range sq {
		scale[j] = 1 / (math.Sqrt(v/n) + least)
	}
	rows(func(row []float32) {
		for j, v := range row {
			row[j] = float32((float64(v) - mean[j]) * scale[j])
		}
	})
}
