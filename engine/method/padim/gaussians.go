package padim

import (
	"context"
	"math"

	"f2pad/engine/internal/par"
)

// gaussians computes Mahalanobis distances on the CPU.
type gaussians struct {
	k            int
	mean, factor []float32
}

// Distances implements method.Gaussians.
func (g *gaussians) Distances(ctx context.Context, x []float32, state []int32, s, unit []float32) error {
	par.Range(len(state), grain, func(lo, hi int) {
		if ctx.Err() != nil {
			return
		}
		b := newBlock(g.k)
		for lo < hi {
			n := 1
			for n < lanes && lo+n < hi && state[lo+n] == state[lo] {
				n++
			}
			v, t := int(state[lo]), packed(g.k)
			factor := g.factor[v*t : (v+1)*t]
			b.load(x[lo*g.k:(lo+n)*g.k], g.mean[v*g.k:(v+1)*g.k])
			b.solve(factor)
			var inverse [lanes]float32
			for lane := range n {
				d := b.norm(lane)
				s[lo+lane] = float32(d)
				if d > 0 {
					inverse[lane] = float32(1 / d)
				}
			}
			if unit != nil {
				b.pullBack(factor, inverse)
				b.store(unit[lo*g.k : (lo+n)*g.k])
			}
			lo += n
		}
	})
	return ctx.Err()
}

// Close implements method.Gaussians: there is nothing to free.
func (g *gaussians) Close() error { return nil }

// lanes is how many vectors are worked on at once: each value of M is then read once for all of them, and the sums do not
// wait for each other.
const lanes = 4

// block is up to lanes vectors with one Gaussian. All lanes are always computed, whatever unused ones hold: a vector's
// result depends neither on its lane nor on the others.
type block struct {
	delta, z [][lanes]float32 // [K]: x-mean, and M(x-mean)
}

func newBlock(k int) *block {
	return &block{delta: make([][lanes]float32, k), z: make([][lanes]float32, k)}
}

// load takes vectors x [n,K].
func (b *block) load(x, mean []float32) {
	k := len(mean)
	for lane := range len(x) / k {
		for i, v := range x[lane*k : (lane+1)*k] {
			b.delta[i][lane] = v - mean[i]
		}
	}
}

// store writes delta to x [n,K].
func (b *block) store(x []float32) {
	k := len(b.delta)
	for lane := range len(x) / k {
		for i := range b.delta {
			x[lane*k+i] = b.delta[i][lane]
		}
	}
}

// solve computes z = M delta.
func (b *block) solve(m []float32) {
	for i := range b.z {
		row := m[:i+1]
		m = m[i+1:]
		delta := b.delta[:len(row)]
		var z0, z1, z2, z3 float32
		for j, w := range row {
			d := &delta[j]
			z0 += w * d[0]
			z1 += w * d[1]
			z2 += w * d[2]
			z3 += w * d[3]
		}
		b.z[i] = [lanes]float32{z0, z1, z2, z3}
	}
}

// pullBack replaces delta by M' z scale: with 1/|z|, the gradient of |z| w.r.t. the vector.
func (b *block) pullBack(m []float32, scale [lanes]float32) {
	clear(b.delta)
	for i := range b.z {
		row := m[:i+1]
		m = m[i+1:]
		delta := b.delta[:len(row)]
		z := b.z[i]
		z0, z1, z2, z3 := z[0]*scale[0], z[1]*scale[1], z[2]*scale[2], z[3]*scale[3]
		for j, w := range row {
			d := &delta[j]
			d[0] += w * z0
			d[1] += w * z1
			d[2] += w * z2
			d[3] += w * z3
		}
	}
}

// norm is |M delta| of a lane.
func (b *block) norm(lane int) float64 {
	sum := 0.0
	for i := range b.z {
		z := float64(b.z[i][lane])
		sum += z * z
	}
	return math.Sqrt(sum)
}
