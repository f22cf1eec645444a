package patchcore

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"f2pad.example/engine/internal/gemm"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
)

// cover is the state of a greedy k-centre search: how far every point is from the centres chosen so far, or at most: a point
// is measured again only when it would be the farthest, to all centres that it has not seen. There is no matrix of all
// distances.
type cover struct {
	x    []float32 // [P,d]
	d    int
	dist []float32 // [P] squared distance to the nearest of the centres seen
	seen []int     // [P] so many, the first ones

	centres []float32 // [centres,d]
	queue   []int32   // a heap of the points, the farthest on top, of equals the lowest
}

// coverGrain is how many points a goroutine measures at a time, where it measures all.
const coverGrain = 2048

func (c *cover) point(p int) []float32 { return c.x[p*c.d : (p+1)*c.d] }

func (c *cover) add(centre int) { c.centres = append(c.centres, c.point(centre)...) }

// start fills the queue.
func (c *cover) start() {
	c.queue = make([]int32, len(c.dist))
	for p := range c.queue {
		c.queue[p] = int32(p)
	}
	for i := len(c.queue)/2 - 1; i >= 0; i-- {
		c.sink(i)
	}
}

func (c *cover) before(a, b int32) bool {
	return c.dist[a] > c.dist[b] || c.dist[a] == c.dist[b] && a < b
}

// sink restores the order below place i of the queue.
func (c *cover) sink(i int) {
	q := c.queue
	for {
		top := 2*i + 1
		if top >= len(q) {
			return
		}
		if top+1 < len(q) && c.before(q[top+1], q[top]) {
			top++
		}
		if !c.before(q[top], q[i]) {
			return
		}
		q[i], q[top] = q[top], q[i]
		i = top
	}
}

// rise restores it above.
func (c *cover) rise(i int) {
	for q := c.queue; i > 0 && c.before(q[i], q[(i-1)/2]); i = (i - 1) / 2 {
		q[i], q[(i-1)/2] = q[(i-1)/2], q[i]
	}
}

// farthest returns the point that is farthest from all centres (the lowest of equals), and its squared distance.
func (c *cover) farthest() (int, float32) {
	all := len(c.centres) / c.d
	var some []int32
	for n := 16; ; n *= 2 { // who comes next is likely to be needed soon
		top := int(c.queue[0])
		if c.seen[top] == all {
			return top, c.dist[top]
		}
		some = some[:0]
		for len(some) < n && len(c.queue) > 0 {
			some = append(some, c.queue[0])
			last := len(c.queue) - 1
			c.queue[0] = c.queue[last]
			c.queue = c.queue[:last]
			c.sink(0)
		}
		par.Range(len(some), 8, func(lo, hi int) {
			near := make([]float32, all)
			for _, p := range some[lo:hi] {
				c.look(int(p), near)
			}
		})
		for _, p := range some {
			c.queue = append(c.queue, p)
			c.rise(len(c.queue) - 1)
		}
	}
}

// look measures a point's distances to the centres that it has not seen; near is working space for as many.
func (c *cover) look(p int, near []float32) {
	all := len(c.centres) / c.d
	near = near[c.seen[p]:all]
	if len(near) == 0 {
		return
	}
	for i := range near {
		near[i] = c.dist[p]
	}
	vec.Nearer(near, c.centres[c.seen[p]*c.d:], c.point(p))
	c.dist[p], c.seen[p] = slices.Min(near), all
}

// KCentre chooses want of the points x [P,d] so that the farthest point from them is near, greedily (within a factor 2 of
// the best choice): each new centre is the point farthest from those before; at most O(want P d) time, 16 bytes of memory
// a point, and the centres. With one start it is the first centre. With several, which are no centres, the mean distance to
// them stands in for the distance to the centres at first (Roth et al.'s approximate variant). It returns fewer than want
// centres if all other points coincide with one.
func KCentre(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) ([]int, error) {
	c := &cover{x: x, d: d, dist: make([]float32, len(x)/d), seen: make([]int, len(x)/d)}
	next, far := starts[0], float32(math.Inf(1))
	if len(starts) == 1 {
		c.add(next)
		par.Range(len(c.dist), coverGrain, func(lo, hi int) {
			for p := lo; p < hi; p++ {
				c.dist[p], c.seen[p] = far, 1
			}
			vec.Nearer(c.dist[lo:hi], x[lo*d:hi*d], c.centres)
		})
		c.start()
	} else {
		c.approximate(starts)
		c.start()
		next, far = c.farthest()
		c.add(next)
	}
	centres := []int{}
	for len(centres) == 0 || len(centres) < want && far > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		centres = append(centres, next)
		if progress != nil {
			progress(len(centres), want)
		}
		if len(centres) < want {
			next, far = c.farthest()
			c.add(next)
		}
	}
	return centres, nil
}

// approximate sets every distance to the mean of those to the starts.
func (c *cover) approximate(starts []int) {
	par.Range(len(c.dist), coverGrain, func(lo, hi int) {
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
