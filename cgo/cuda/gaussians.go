package cuda

import (
	"context"
	"errors"
	"fmt"
	"math"

	"f2pad.example/kernels"
)

// gaussians are on the device.
type gaussians struct {
	d            *Device
	k, states    int
	mean, factor kernels.Ptr
}

// packedAtOnce is how many values of factors are laid out for the device at a time: 64 MiB.
const packedAtOnce = 16 << 20

// Gaussians keeps S Gaussians of K values: mean [S,K] and factor [S,K(K+1)/2], the rows of the inverse Cholesky factors.
func (d *Device) Gaussians(mean, factor []float32, k int) (*gaussians, error) {
	triangle := k * (k + 1) / 2
	if k < 1 || len(mean) < k || len(mean)%k != 0 || len(factor) != len(mean)/k*triangle {
		return nil, fmt.Errorf("cuda: Gaussians of %d values with %d means and %d of factors", k, len(mean), len(factor))
	}
	g := &gaussians{d: d, k: k, states: len(mean) / k}
	err := d.do(context.Background(), "Gaussians", func(j *job) {
		j.lasting = true
		size := kernels.FactorLen(k)
		g.mean, g.factor = put(j, mean), j.floats(g.states*size)
		step := max(1, packedAtOnce/size)
		packed := make([]float32, min(step, g.states)*size)
		for v := 0; v < g.states && j.err == nil; v += step {
			n := min(step, g.states-v)
			for i := range n {
				kernels.PackFactor(packed[i*size:], k, factor[(v+i)*triangle:(v+i+1)*triangle])
			}
			j.write(g.factor.Plus(v*size), kernels.Bytes(packed[:n*size]))
		}
		if j.err == nil {
			j.keep(g.mean)
			j.keep(g.factor)
		}
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Distances fills s [L] with the Mahalanobis distances |M (x_l - mean)| of x [L,K] to the Gaussians state [L], which is sorted, and,
// if it is not nil, unit [L,K] with their gradients ds_l/dx_l (0 where s is 0).
func (g *gaussians) Distances(ctx context.Context, x []float32, state []int32, s, unit []float32) error {
	n := len(state)
	if len(x) != n*g.k || len(s) < n || unit != nil && len(unit) != n*g.k || n > math.MaxInt32 {
		return fmt.Errorf("cuda: %d vectors of %d values with %d values, %d distances and %d gradients", n, g.k, len(x), len(s), len(unit))
	}
	if n == 0 {
		return ctx.Err()
	}
	for i, v := range state {
		if v < 0 || int(v) >= g.states || i > 0 && v < state[i-1] {
			return fmt.Errorf("cuda: vector %d is of Gaussian %d: of %d, in ascending order", i, v, g.states)
		}
	}
	return g.d.do(ctx, "distances", func(j *job) {
		groups := kernels.MahalanobisGroups(state)
		m := kernels.Mahalanobis{
			Items: n, Groups: len(groups) / 3, Gaussians: g.states, K: g.k,
			Group: put(j, groups), X: put(j, x), Mean: g.mean, Factor: g.factor, S: j.floats(n),
		}
		if unit != nil {
			m.Unit = j.floats(len(unit))
		}
		j.run(m.Enqueue)
		get(j, s[:n], m.S)
		if unit != nil {
			get(j, unit, m.Unit)
		}
	})
}

// Close frees what is kept.
func (g *gaussians) Close() error {
	err := errors.Join(g.d.gpu.Free(g.mean), g.d.gpu.Free(g.factor))
	g.mean, g.factor = 0, 0
	return err
}
