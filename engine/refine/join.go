package refine

import (
	"math"
	"slices"

	"f2pad.example/engine/pixel"
)

// join makes the map of v [h,w], the method's own map, averaged over looks or not, and of the evidence e [h,w] (step 6):
// S = g(v) ((f + e)/(f + mean of e near by))^trust on Omega, and g(v) away from it and where nothing is suspicious. With asked, what
// the fills explain counts, and what looks like the clearest pixels is evidence once more (step 7).
func (r *Refiner) join(s *scene, v, e []float32, asked bool) []float32 {
	o, c := &r.opts.Map, &r.opts.Classifier
	g := r.ranked(s, v)
	S := slices.Clone(g)
	if s.omega != nil {
		r.favour(s, S, e, o.Floor, o.Trust.of(agreement(s, e, g)), asked)
	}
	if asked && s.omega != nil {
		for _, p := range s.inside() {
			S[p] *= 1 + o.Gain*s.share(int(p))
		}
		if like := r.classify(s, S); like != nil {
			r.favour(s, S, like, c.Floor, c.Trust.of(agreement(s, like, g)), true)
		}
	}
	out := make([]float32, len(g))
	for i, v := range S {
		out[i] = float32(min(v, math.MaxFloat32))
	}
	return out
}

// ranked is g(v). Away from Omega v is the same for every kind of map, and ranked once.
func (r *Refiner) ranked(s *scene, v []float32) []float64 {
	rank := r.opts.Map.ranking()
	if s.ranked == nil {
		s.ranked = make([]float64, len(v))
		for i, v := range v {
			s.ranked[i] = rank.of(float64(v))
		}
		return s.ranked
	}
	for _, p := range s.inside() {
		s.ranked[p] = rank.of(float64(v[p]))
	}
	return s.ranked
}

// share is how much of what the detector finds in the region of a pixel of Omega its fill takes away.
func (s *scene) share(p int) float64 {
	if s.explained == nil { // no region has a fill
		return 1
	}
	return float64(s.explained[p])
}

// favour multiplies S [h,w] on Omega by ((floor + e)/(floor + mean of e near by))^trust; the trust is that in the region's share
// if asked.
func (r *Refiner) favour(s *scene, S []float64, e []float32, floor, trust float64, asked bool) {
	mean := r.localMean(s, e)
	for _, p := range s.inside() {
		t := trust
		if asked {
			t *= s.share(int(p))
		}
		S[p] *= math.Pow((floor+float64(e[p]))/(floor+float64(mean[p])), t)
	}
}

// agreement says how far evidence and detector agree in an image: the mean of e over Omega weighted with the detector's
// ranking g, over the plain mean. Where normal parts are as unlike their fills as the defect is (a part that is worn in
// another way than those learned from), that is about 1, and the evidence has little say.
func agreement(s *scene, e []float32, g []float64) float64 {
	const least = 0.02 // mean evidence: less of it, here and there in a large region, agrees with nothing
	var weighted, weight, sum float64
	for _, p := range s.inside() {
		weighted += g[p] * float64(e[p])
		weight += g[p]
		sum += float64(e[p])
	}
	return weighted / weight / (sum/float64(len(s.inside())) + least)
}

// of returns the trust in evidence of the given agreement with the detector.
func (t *Trust) of(agreement float64) float64 {
	return min(max(t.Slope*(agreement-t.From), t.Least), t.Most)
}

// ranking is g, the detector's own ranking of pixels: v^Power, continued by an exponential below Knee, where it would no longer
// grow, and by a hyperbola below 0, where that would underflow. It is positive and grows with v everywhere.
type ranking struct{ power, knee, atKnee, atZero float64 }

func (o *MapOptions) ranking() ranking {
	atKnee := math.Pow(o.Knee, o.Power)
	return ranking{o.Power, o.Knee, atKnee, atKnee * math.Exp(-o.Power)}
}

// of is g(v).
func (r *ranking) of(v float64) float64 {
	switch {
	case v >= r.knee && r.power == 2:
		return v * v // as math.Pow has it, in a tenth of the time
	case v >= r.knee:
		return math.Pow(v, r.power)
	case v > 0:
		return r.atKnee * math.Exp(r.power*(v/r.knee-1))
	}
	return r.atZero / (1 - r.power*v/r.knee)
}

// localMean is the mean of e over Omega near each pixel, with a Gaussian of MeanCells: on the grid, then enlarged.
func (r *Refiner) localMean(s *scene, e []float32) []float32 {
	st := r.opts.Stride
	h, w := s.h/st, s.w/st
	sum, count := make([]float32, h*w), make([]float32, h*w)
	for _, p := range s.inside() {
		v := int(p)/s.w/st*w + int(p)%s.w/st
		sum[v] += e[p]
		count[v]++
	}
	blur := pixel.NewGaussian(r.opts.Map.MeanCells)
	scratch := make([]float32, blur.Scratch(h, w))
	blur.Blur(sum, h, w, scratch)
	blur.Blur(count, h, w, scratch)
	for v, n := range count {
		if n > 0 {
			sum[v] /= n
		}
	}
	mean := make([]float32, s.h*s.w)
	pixel.Upsample(sum, h, w, st, mean)
	return mean
}
