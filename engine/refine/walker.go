package refine

import (
	"math"

	"f2pad/engine/internal/par"
)

// Seeds of the random walk.
const (
	outside uint8 = iota // not part of the walk
	unknown
	foreground
	background
)

// walker finds the probability that a random walk over an image's pixels, 4-connected with edge weights
// exp(-Beta |dY|^2) + EdgeFloor, meets foreground before background (step 6; Grady 2006): the discrete harmonic function
// that is 1 on foreground and 0 on background. |dY|^2 is summed over the channels.
type walker struct {
	y       []float32 // [3,h,w]
	h, w    int
	domains [][]int32 // the 4-connected components of the walk's domain: each is solved by itself
	o       *ContrastOptions
}

// Walk says how well the random walker's equations were solved.
type Walk struct {
	Unknowns   int     `json:"unknowns"`
	Iterations int     `json:"iterations"` // most of any domain
	Residual   float64 `json:"residual"`   // largest ||residual||/||right-hand side|| of any domain
}

// solve returns the probability [h,w] for the seeds [h,w]. It is 0 outside, and throughout domains that lack foreground or
// background.
func (wk *walker) solve(seeds []uint8) ([]float32, Walk) {
	rw := make([]float32, len(seeds))
	id := make([]int32, len(seeds)) // of unknowns, in their domain's system
	walks := make([]Walk, len(wk.domains))
	par.For(len(wk.domains), func(i int) { walks[i] = wk.domain(wk.domains[i], seeds, id, rw) })
	var all Walk
	for _, w := range walks {
		all.Unknowns += w.Unknowns
		all.Iterations = max(all.Iterations, w.Iterations)
		all.Residual = max(all.Residual, w.Residual)
	}
	return rw, all
}

func (wk *walker) domain(pixels []int32, seeds []uint8, id []int32, rw []float32) Walk {
	var count [4]int
	for _, p := range pixels {
		if seeds[p] == unknown {
			id[p] = int32(count[unknown])
		}
		count[seeds[p]]++
	}
	if count[foreground] == 0 || count[background] == 0 {
		return Walk{}
	}
	free := make([]int32, 0, count[unknown])
	sys := newLevel(count[unknown], 4*count[unknown])
	for _, p := range pixels {
		if seeds[p] == foreground {
			rw[p] = 1
		}
		if seeds[p] != unknown {
			continue
		}
		i, y, x := len(free), int(p)/wk.w, int(p)%wk.w
		free = append(free, p)
		join := func(q int32) {
			if seeds[q] == outside {
				return
			}
			weight := wk.weight(p, q)
			sys.diagonal[i] += weight
			switch seeds[q] {
			case foreground:
				sys.b[i] += weight
			case unknown:
				sys.edge(id[q], weight)
			}
		}
		if y > 0 {
			join(p - int32(wk.w))
		}
		if x > 0 {
			join(p - 1)
		}
		if x < wk.w-1 {
			join(p + 1)
		}
		if y < wk.h-1 {
			join(p + int32(wk.w))
		}
		sys.end()
	}
	found, iterations, residual := solve(sys, wk.o.Tolerance, wk.o.MaxIterations)
	for i, p := range free {
		rw[p] = float32(min(max(found[i], 0), 1))
	}
	return Walk{len(free), iterations, residual}
}

func (wk *walker) weight(p, q int32) float64 {
	d2 := 0.0
	for c := 0; c < len(wk.y); c += wk.h * wk.w {
		d := float64(wk.y[c+int(p)]) - float64(wk.y[c+int(q)])
		d2 += d * d
	}
	return math.Exp(-wk.o.Beta*d2) + wk.o.EdgeFloor
}
