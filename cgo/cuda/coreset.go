package cuda

import (
	"context"
	"fmt"

	"f2pad.example/kernels"
)

// centresAtOnce is how many centres are chosen before the host looks how far the search is.
const centresAtOnce = 64

// KCentre implements place.Place.
func (d *Device) KCentre(ctx context.Context, x []float32, width, want int, starts []int, progress func(done, total int)) ([]int, error) {
	if width < 1 || len(x) < width || len(x)%width != 0 {
		return nil, fmt.Errorf("cuda: coreset of %d values, want points of %d", len(x), width)
	}
	points := len(x) / width
	most := min(want, points)
	centres := make([]int32, most)
	var state [kernels.CoresetState]int32
	err := d.do(ctx, "coreset", func(j *job) {
		c := kernels.Coreset{
			P: points, D: width, Want: most, Starts: starts, Steps: min(centresAtOnce, most),
			X: put(j, x), Dist: j.floats(points), Tops: j.floats(kernels.CoresetTops), State: j.floats(len(state)), Centres: j.floats(most),
		}
		if j.err != nil {
			return
		}
		// The launches of many steps are captured once: they are short.
		steps, err := j.Capture(c.Enqueue)
		if err != nil {
			j.err = err
			return
		}
		defer steps.Close()
		j.run(c.Begin)
		for j.err == nil {
			if j.err = ctx.Err(); j.err == nil {
				j.err = steps.Launch(j.Stream)
			}
			before := state[1]
			get(j, state[:], c.State)
			if j.err == nil && progress != nil && state[1] > before {
				progress(int(state[1]), want)
			}
			if state[2] != 0 {
				break
			}
		}
		get(j, centres, c.Centres)
	})
	if err != nil {
		return nil, err
	}
	chosen := make([]int, state[1])
	for i := range chosen {
		chosen[i] = int(centres[i])
	}
	return chosen, nil
}
