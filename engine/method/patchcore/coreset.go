package patchcore

import (
	"context"
	"math"
	"math/rand/v2"

	"f2pad/engine/internal/gemm"
	"f2pad/engine/internal/par"
	"f2pad/engine/internal/vec"
)

// cover is the state of a greedy k-centre search: how far every point is from the centres chosen so far. There is no
// matrix of all distances.
type cover struct {
	x    []float32 // [P,d]
	d    int
	dist []float32 // [P] squared distance to the nearest centre
}

// coverGrain is how many points a goroutine measures at a time.
const coverGrain = 2048

// add measures the distances to a new centre and returns the point that is now farthest from all centres (the lowest of
// equals), and its squared distance.
func (c *cover) add(centre int) (farthest int, dist float32) {
	z := c.point(centre)
	return c.update(func(lo, hi int) { vec.Nearer(c.dist[lo:hi], c.x[lo*c.d:hi*c.d], z) })
}

func (c *cover) point(p int) []float32 { return c.x[p*c.d : (p+1)*c.d] }

// update has all distances set, range by range, and returns the first of the largest.
func (c *cover) update(set func(lo, hi int)) (farthest int, far float32) {
	tops := make([]int, (len(c.dist)+coverGrain-1)/coverGrain)
	par.Range(len(c.dist), coverGrain, func(lo, hi int) {
		set(lo, hi)
		top := lo
		for p := lo; p < hi; p++ {
			if c.dist[p] > c.dist[top] {
				top = p
			}
		}
		tops[lo/coverGrain] = top
	})
	for _, p := range tops {
		if c.dist[p] > c.dist[farthest] {
			farthest = p
		}
	}
	return farthest, c.dist[farthest]
}

// KCentre chooses want of the points x [P,d] so that the farthest point from them is near, greedily (within a factor 2 of
// the best choice): each new centre is the point farthest from those before; O(want P d) time, P values of memory. With one
// start it is the first centre. With several, which are no centres, the mean distance to them stands in for the distance
// to the centres at first (Roth et al.'s approximate variant). It returns fewer than want centres if all other points
// coincide with one.
func KCentre(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) ([]int, error) {
	c := &cover{x: x, d: d, dist: make([]float32, len(x)/d)}
	next := starts[0]
	far := float32(math.Inf(1))
	if len(starts) == 1 {
		for p := range c.dist {
			c.dist[p] = far
		}
	} else {
		next, far = c.approximate(starts)
	}
	var centres []int
	for len(centres) == 0 || len(centres) < want && far > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		centres = append(centres, next)
		next, far = c.add(next)
		if progress != nil {
			progress(len(centres), want)
		}
	}
	return centres, nil
}

// approximate sets every distance to the mean of those to the starts.
func (c *cover) approximate(starts []int) (farthest int, far float32) {
	return c.update(func(lo, hi int) {
		for p := lo; p < hi; p++ {
			sum := 0.0
			for _, s := range starts {
				sum += math.Sqrt(distance(c.point(p), c.point(s)))
			}
			mean := sum / float64(len(starts))
			c.dist[p] = float32(mean * mean)
		}
	})
}

// gaussian is a random projection [d,D] whose entries are normal with variance 1/d.
func gaussian(rng *rand.Rand, d, dim int) []float32 {
	p := make([]float32, d*dim)
	for i := range p {
		p[i] = float32(rng.NormFloat64() / math.Sqrt(float64(d)))
	}
	return p
}

// sparse is a random projection [d,D] with entries of either sign, each present with probability 1/sqrt(D) and then of
// variance sqrt(D)/d (Li, Hastie and Church, "Very sparse random projections", 2006).
func sparse(rng *rand.Rand, d, dim int) []float32 {
	p := make([]float32, d*dim)
	share := 1 / math.Sqrt(float64(dim))
	size := float32(math.Sqrt(1 / (share * float64(d))))
	for i := range p {
		u := rng.Float64()
		switch {
		case u < share/2:
			p[i] = size
		case u < share:
			p[i] = -size
		}
	}
	return p
}

// project returns the points x [P,dim] times the transpose of p [d,dim].
func project(x []float32, dim int, p []float32, d int) []float32 {
	kernel := &gemm.Best().Many
	packed := make([]float32, kernel.SizeB(dim, d))
	kernel.PackB(packed, dim, d, p, true, 0, d)
	out := make([]float32, len(x)/dim*d)
	par.Range(len(x)/dim, queries, func(lo, hi int) {
		a := make([]float32, kernel.SizeA(hi-lo, dim))
		kernel.PackA(a, hi-lo, dim, x[lo*dim:])
		kernel.Mul(out[lo*d:], d, hi-lo, d, dim, a, packed)
	})
	return out
}
