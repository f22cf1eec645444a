// Package devicetest is the suite that every engine.Device must pass, and a plain device to test the engine with.
package devicetest

import (
	"cmp"
	"context"
	"math"
	"slices"

	"f2pad.example/engine/device"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/patchcore"
	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
)

// Naive is a device that computes on the CPU by definition, in float64 where it can. Fault, if set, is asked before each
// operation ("gaussians", "distances", "bank", "nearest", "supports", "maps", "kcentre", "smooth", "compare", "stepper") and
// may fail it; n is how many images or vectors it is about.
type Naive struct {
	Fault func(op string, n int) error
	host  refine.Host
}

func (d *Naive) fault(op string, n int) error {
	if d.Fault == nil {
		return nil
	}
	return d.Fault(op, n)
}

// Info implements engine.Device.
func (d *Naive) Info() device.Info { return device.Info{Device: "naive:0", Name: "Naive"} }

// Gaussians implements method.Device.
func (d *Naive) Gaussians(mean, factor []float32, k int) (method.Gaussians, error) {
	return &gaussians{d, mean, factor, k}, d.fault("gaussians", len(mean)/k)
}

type gaussians struct {
	d            *Naive
	mean, factor []float32
	k            int
}

func (g *gaussians) Distances(ctx context.Context, x []float32, state []int32, s, unit []float32) error {
	if err := g.d.fault("distances", len(state)); err != nil {
		return err
	}
	k, t := g.k, g.k*(g.k+1)/2
	z := make([]float64, k)
	for l, v := range state {
		mean, factor, xl := g.mean[int(v)*k:], g.factor[int(v)*t:], x[l*k:(l+1)*k]
		sum := 0.0
		for i := range z {
			z[i] = 0
			for j := range i + 1 {
				z[i] += float64(factor[i*(i+1)/2+j]) * (float64(xl[j]) - float64(mean[j]))
			}
			sum += z[i] * z[i]
		}
		norm := math.Sqrt(sum)
		s[l] = float32(norm)
		if unit == nil {
			continue
		}
		for j := range k {
			u := 0.0
			for i := j; i < k; i++ {
				u += float64(factor[i*(i+1)/2+j]) * z[i]
			}
			if norm > 0 {
				u /= norm
			}
			unit[l*k+j] = float32(u)
		}
	}
	return ctx.Err()
}

func (g *gaussians) Close() error { return nil }

// Bank implements method.Device.
func (d *Naive) Bank(rows []float32, width int) (method.Bank, error) {
	return &bank{d, rows, width}, d.fault("bank", len(rows)/width)
}

type bank struct {
	d    *Naive
	rows []float32
	w    int
}

func (b *bank) distance(q []float32, j int) float64 {
	sum := 0.0
	for k, x := range q {
		e := float64(x) - float64(b.rows[j*b.w+k])
		sum += e * e
	}
	return sum
}

func (b *bank) Nearest(ctx context.Context, q []float32, winner []int32, dist []float64, diff []float32) error {
	if err := b.d.fault("nearest", len(winner)); err != nil {
		return err
	}
	for i := range winner {
		qi := q[i*b.w : (i+1)*b.w]
		winner[i], dist[i] = 0, b.distance(qi, 0)
		for j := range len(b.rows) / b.w {
			if e := b.distance(qi, j); e < dist[i] {
				winner[i], dist[i] = int32(j), e
			}
		}
		if diff != nil {
			for k, x := range qi {
				diff[i*b.w+k] = x - b.rows[int(winner[i])*b.w+k]
			}
		}
	}
	return ctx.Err()
}

func (b *bank) Supports(ctx context.Context, q []float32, k int) ([][]int32, error) {
	if err := b.d.fault("supports", len(q)/b.w); err != nil {
		return nil, err
	}
	out := make([][]int32, len(q)/b.w)
	for i := range out {
		all := make([]int32, len(b.rows)/b.w)
		for j := range all {
			all[j] = int32(j)
		}
		qi := q[i*b.w : (i+1)*b.w]
		slices.SortStableFunc(all, func(x, y int32) int { return cmp.Compare(b.distance(qi, int(x)), b.distance(qi, int(y))) })
		out[i] = all[:min(k, len(all))]
	}
	return out, ctx.Err()
}

func (b *bank) Close() error { return nil }

// Maps implements method.Device.
func (d *Naive) Maps(s []float32, n, h, w, H, W int, o method.MapOptions, dst []float32) error {
	method.BaseMaps(s, n, h, w, H, W, o, dst)
	return d.fault("maps", n)
}

// KCentre implements engine.Device.
func (d *Naive) KCentre(ctx context.Context, x []float32, width, want int, starts []int, progress func(done, total int)) ([]int, error) {
	if err := d.fault("kcentre", len(x)/width); err != nil {
		return nil, err
	}
	return patchcore.KCentre(ctx, x, width, want, starts, progress)
}

// Smooth implements refine.Device.
func (d *Naive) Smooth(z []float32, h, w, s int, g pixel.Gaussian, u []float32) error {
	if err := d.fault("smooth", 1); err != nil {
		return err
	}
	return d.host.Smooth(z, h, w, s, g, u)
}

// Compare implements refine.Device.
func (d *Naive) Compare(y, fills []float32, k, h, w int, smooth, start pixel.Gaussian, residual []float32, best []int32) error {
	if err := d.fault("compare", 1); err != nil {
		return err
	}
	return d.host.Compare(y, fills, k, h, w, smooth, start, residual, best)
}

// Stepper implements refine.Device.
func (d *Naive) Stepper(problems []refine.Problem, o *pixel.StepOptions) (refine.Stepper, error) {
	if err := d.fault("stepper", len(problems)); err != nil {
		return nil, err
	}
	return d.host.Stepper(problems, o)
}
