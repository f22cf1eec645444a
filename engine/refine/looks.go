package refine

import (
	"context"
	"fmt"
	"math"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// look averages each suspicious scene's v on Omega with the maps of the image moved by less than a cell, up and down, left and
// right: what one grid sees by its own place alone fades, and what is there stays. Beyond its border the image is continued.
func (r *Refiner) look(ctx context.Context, sc Scorer, scenes []*scene) error {
	var which []int
	for i, s := range scenes {
		if s.omega != nil {
			which = append(which, i)
		}
	}
	d := int(math.Round(r.opts.Looks.ShiftCells * float64(r.opts.Stride)))
	if len(which) == 0 || d == 0 {
		return nil
	}
	h, w := scenes[0].h, scenes[0].w
	v := nd.New(len(which), h, w)
	where := make([]bool, len(which)*h*w)
	shifts := [][2]int{{-d, -d}, {-d, d}, {d, -d}, {d, d}}
	for _, i := range which {
		scenes[i].looked = append([]float32(nil), scenes[i].v...)
	}
	for _, shift := range shifts {
		clear(where)
		par.For(len(which), func(k int) {
			for _, p := range scenes[which[k]].inside() {
				y, x := min(max(int(p)/w-shift[0], 0), h-1), min(max(int(p)%w-shift[1], 0), w-1)
				where[(k*h+y)*w+x] = true
			}
		})
		if err := ask(ctx, sc, Variants{Of: which, DY: shift[0], DX: shift[1]}, where, v, "a look"); err != nil {
			return err
		}
		par.For(len(which), func(k int) {
			s, seen := scenes[which[k]], nd.Data(v)[k*h*w:(k+1)*h*w]
			for _, p := range s.inside() {
				y, x := min(max(int(p)/w-shift[0], 0), h-1), min(max(int(p)%w-shift[1], 0), w-1)
				s.looked[p] += seen[y*w+x]
			}
		})
	}
	for _, i := range which {
		s := scenes[i]
		for _, p := range s.inside() {
			s.looked[p] /= float32(len(shifts) + 1)
		}
	}
	return nil
}

// ask is Scorer.Map that refuses what no map can be made of; the error says what of the images x shows.
func ask(ctx context.Context, sc Scorer, x Variants, where []bool, v *tensor.Dense, what string) error {
	if err := sc.Map(ctx, x, where, v); err != nil {
		return err
	}
	n := len(where) / len(x.Of)
	values := nd.Data(v)
	for p, on := range where {
		if b := values[p]; on && !bounded(b, maxScore) {
			return fmt.Errorf("refine: image %d: the scorer's map is %g at pixel %d of %s", x.Of[p/n], b, p%n, what)
		}
	}
	return nil
}
