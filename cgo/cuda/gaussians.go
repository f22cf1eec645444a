package cuda

import (
	"context"
	"errors"
	"fmt"

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

// newGaussians keeps S Gaussians of K values: mean [S,K] and factor [S,K(K+1)/2], the rows of the inverse Cholesky factors.
func (d *Device) newGaussians(mean, factor []float32, k int) (*gaussians, error) {
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

// Close frees what is kept.
func (g *gaussians) Close() error {
	err := errors.Join(g.d.gpu.Free(g.mean), g.d.gpu.Free(g.factor))
	g.mean, g.factor = 0, 0
	return err
}
