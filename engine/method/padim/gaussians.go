package padim

import (
	"context"
	"math"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/vec"
	"f2pad.example/engine/method/internal/cholesky"
)

// distances fills s [L] with the Mahalanobis distances |M (x_l - mean)| of x [L,K] to the Gaussians state [L], which is sorted, and,
// if it is not nil, unit [L,K] with their gradients ds_l/dx_l (0 where s is 0).
func (m *Model) distances(ctx context.Context, x []float32, state []int32, s, unit []float32) error {
	k := len(m.channels)
	par.Range(len(state), grain, func(lo, hi int) {
		if ctx.Err() != nil {
			return
		}
		b := newBlock(k)
		for lo < hi {
			n := 1
			for n < lanes && lo+n < hi && state[lo+n] == state[lo] {
				n++
			}
			v, t := int(state[lo]), cholesky.Packed(k)
			factor := m.factor[v*t : (v+1)*t]
			b.load(x[lo*k:(lo+n)*k], m.mean[v*k:(v+1)*k])
			vec.Lower(b.z, b.delta, factor, n)
			var inverse [lanes]float32
			for lane, d := range b.norms() {
				if lane < n {
					s[lo+lane] = float32(d)
				}
				if d > 0 {
					inverse[lane] = float32(1 / d)
				}
			}
			if unit != nil {
				b.pullBack(factor, inverse, n)
				b.store(unit[lo*k : (lo+n)*k])
			}
			lo += n
		}
	})
	return ctx.Err()
}

// lanes is how many vectors are worked on at once: each value of M is then read once for all of them, and the sums do not
// wait for each other.
const lanes = vec.Lanes

// block is up to lanes vectors with one Gaussian. A vector's result depends neither on its lane nor on what is in the
// others.
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

// pullBack replaces delta by M' z scale: with 1/|z|, the gradient of |z| w.r.t. the vector.
func (b *block) pullBack(m []float32, scale [lanes]float32, used int) {
	clear(b.delta)
	for i := range b.z {
		for lane := range scale {
			b.z[i][lane] *= scale[lane]
		}
	}
	vec.LowerTransposed(b.delta, b.z, m, used)
}

// norms are |M delta| of all lanes, those not in use among them.
func (b *block) norms() [lanes]float64 {
	var sum [lanes]float64
	for i := range b.z {
		for lane, v := range b.z[i] {
			z := float64(v)
			sum[lane] += z * z
		}
	}
	for lane, s := range sum {
		sum[lane] = math.Sqrt(s)
	}
	return sum
}
