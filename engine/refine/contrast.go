package refine

// contrast lets the evidence spread up to the edges in the image and no further: e times a random walk from seeds where
// the evidence is clear.
func (r *Refiner) contrast(s *scene, kind Kind, e []float32) []float32 {
	o := &r.opts.Contrast
	if o.Share == 0 {
		return e
	}
	seeds := make([]uint8, len(e))
	domains := components(within(s.distance, o.DilatePx), s.h, s.w, false)
	far := o.BackgroundPx * o.BackgroundPx
	for _, d := range domains {
		for _, q := range d {
			switch {
			case float64(s.distance[q]) > far || float64(e[q]) <= o.Background:
				seeds[q] = background
			case float64(e[q]) >= o.Foreground:
				seeds[q] = foreground
			default:
				seeds[q] = unknown
			}
		}
	}
	rw, walk := (&walker{y: s.y, h: s.h, w: s.w, domains: domains, o: o}).solve(seeds)
	if s.diary != nil {
		s.diary.Walks[kind] = walk
	}
	for p, v := range rw {
		e[p] *= float32(1-o.Share) + float32(o.Share)*v
	}
	return e
}
