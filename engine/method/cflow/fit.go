package cflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/internal/cholesky"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Family is how the engine knows CFLOW-AD.
func Family() method.Family {
	return method.Family{
		Name:     name,
		Profiles: profiles,
		Revisits: true,
		Fit: func(ctx context.Context, f method.Fitting) (method.Method, error) {
			o, err := ProfileOptions(f.Profile)
			if err != nil {
				return nil, err
			}
			o.Seed, o.Native = f.Seed, f.Native
			return Fit(ctx, o, f)
		},
		Load: func(f *artifact.File) (method.Method, error) { return Load(f) },
		Plan: plan,
	}
}

// plan: the work is the steps, each layer's by the square of its width.
func plan(f method.Fitting, layers [][3]int, images int) (method.Plan, error) {
	o, err := ProfileOptions(f.Profile)
	if err != nil {
		return method.Plan{}, err
	}
	var p method.Plan
	for _, l := range layers {
		vectors := images * l[1] * l[2]
		if o.HoldOut > 1 {
			vectors -= images / o.HoldOut * l[1] * l[2]
		}
		if o.MaxLocations > 0 {
			vectors = min(vectors, o.MaxLocations)
		}
		p.Bytes += 4 * int64(l[0]+2) * int64(vectors)
		p.Work += float64(o.steps(vectors)) * float64(l[0]) * float64(l[0])
	}
	return p, nil
}

// Streams of the seed: one per random choice, and layer.
const (
	streamLocations = iota
	streamMixes
	streamParameters
	streamSteps
	streams
)

func (o *Options) rng(stream, layer int) *rand.Rand {
	return rand.New(rand.NewPCG(o.Seed, uint64(layer*streams+stream)))
}

// Fit collects feature vectors of the training images in one pass, trains a flow on each layer's, and measures the constants
// of the fusion in a second pass. Of f it uses Features, Where, Progress and Checkpoint. Memory: 4 (D+2) bytes for each
// vector that is kept. Time: for each vector of a step, six multiplications per parameter. Features must be finite.
func Fit(ctx context.Context, o Options, f method.Fitting) (*Model, error) {
	m, err := fit(ctx, o, f, saveEvery)
	if err != nil {
		return nil, fmt.Errorf("cflow: %w", err)
	}
	return m, nil
}

func fit(ctx context.Context, o Options, f method.Fitting, every time.Duration) (*Model, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Native {
		o.Condition = 0
	}
	if f.Progress == nil {
		f.Progress = func(method.Progress) {}
	}
	samples, err := collect(ctx, &o, f)
	if err != nil {
		return nil, err
	}
	m := &Model{opts: o}
	for i, s := range samples {
		l := newLayer(&o, s.d, s.h, s.w)
		l.encoding = newEncoding(l.h, l.w, l.flow.c)
		if o.Whiten {
			if err := l.whitening(s, o.Ridge); err != nil {
				return nil, fmt.Errorf("layer %d: %w", i+1, err)
			}
		}
		l.mix(o.rng(streamMixes, i), o.Soft)
		m.layers = append(m.layers, l)
	}
	if err := m.train(ctx, samples, f, every); err != nil {
		return nil, err
	}
	return m, m.measure(ctx, f)
}

// sample is what is kept of a layer: vectors to train on, and vectors of other images to watch.
type sample struct {
	d, h, w        int
	train, watched reservoir
}

// reservoir is a uniform random subset of what was added.
type reservoir struct {
	limit int // 0: all
	seen  int
	rng   *rand.Rand
	x     []float32 // [n,D]
	at    []int32   // [n,2]: row and column
}

func (r *reservoir) len() int { return len(r.at) / 2 }

// watchedLocations bounds the vectors that are watched.
const watchedLocations = 8192

// collect visits the training images once.
func collect(ctx context.Context, o *Options, fitting method.Fitting) ([]*sample, error) {
	var samples []*sample
	var widths []int
	image := 0
	err := fitting.Features(ctx, func(f []*tensor.Dense) error {
		image++
		if samples == nil {
			var err error
			if widths, err = method.Widths(f); err != nil {
				return err
			}
			for l, t := range f {
				if widths[l] < minWidth || widths[l] > maxWidth {
					return fmt.Errorf("layer %d has %d channels: want %d to %d", l+1, widths[l], minWidth, maxWidth)
				}
				rng := o.rng(streamLocations, l)
				samples = append(samples, &sample{
					d: widths[l], h: t.Shape()[2], w: t.Shape()[3],
					train: reservoir{limit: o.MaxLocations, rng: rng}, watched: reservoir{limit: watchedLocations, rng: rng},
				})
			}
		}
		g, err := method.Check(f, widths)
		switch {
		case err != nil:
			return fmt.Errorf("image %d: %w", image, err)
		case g.N != 1:
			return fmt.Errorf("image %d: a batch of %d, want 1", image, g.N)
		}
		for l, t := range f {
			s, h, w := samples[l], t.Shape()[2], t.Shape()[3]
			if !o.Native && (h != s.h || w != s.w) {
				return fmt.Errorf("image %d: layer %d has %dx%d locations, the first image has %dx%d", image, l+1, h, w, s.h, s.w)
			}
			to := &s.train
			if o.HoldOut > 1 && image%o.HoldOut == 0 {
				to = &s.watched
			}
			if err := to.add(nd.Data(t), s.d, h, w, fitting.Learns(h, w)); err != nil {
				return fmt.Errorf("image %d: layer %d: %w", image, l+1, err)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	if samples == nil {
		return nil, errors.New("no training images")
	}
	return samples, nil
}

func (r *reservoir) add(f []float32, d, h, w int, learns func(p int) bool) error {
	for p := range h * w {
		if !learns(p) {
			continue
		}
		slot := r.seen
		if r.limit > 0 && r.seen >= r.limit {
			slot = r.rng.IntN(r.seen + 1)
		}
		r.seen++
		if r.limit > 0 && slot >= r.limit {
			continue
		}
		if slot*d == len(r.x) {
			r.x, r.at = append(r.x, make([]float32, d)...), append(r.at, 0, 0)
		}
		for c := range d {
			v := f[c*h*w+p]
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("the features are not finite at location %d", p)
			}
			r.x[slot*d+c] = v
		}
		r.at[2*slot], r.at[2*slot+1] = int32(p/w), int32(p%w)
	}
	return nil
}

// whitening takes mean and covariance from the sample: M = L^-1 of LL' = covariance + ridge x mean variance x I.
func (l *layer) whitening(s *sample, ridge float64) error {
	d, n := l.d, s.train.len()
	if n < 2 {
		return errors.New("too few training images")
	}
	mean := make([]float64, d)
	for i, v := range s.train.x {
		mean[i%d] += float64(v) / float64(n)
	}
	sigma := make([]float64, cholesky.Packed(d))
	par.For(d, func(i int) {
		row := sigma[cholesky.Packed(i):cholesky.Packed(i+1)]
		for k := range n {
			x := s.train.x[k*d : (k+1)*d]
			a := float64(x[i]) - mean[i]
			for j := range row {
				row[j] += a * (float64(x[j]) - mean[j])
			}
		}
		for j := range row {
			row[j] /= float64(n - 1)
		}
	})
	variance := 0.0
	for i := range d {
		variance += sigma[cholesky.Packed(i+1)-1] / float64(d)
	}
	for i := range d {
		sigma[cholesky.Packed(i+1)-1] += ridge*variance + 1e-12
	}
	if !cholesky.Invert(sigma, d) {
		return errors.New("the covariance of the features cannot be inverted")
	}
	l.flow.mean, l.whiten = make([]float32, d), make([]float32, d*d)
	for i, v := range mean {
		l.flow.mean[i] = float32(v)
		for j, w := range sigma[cholesky.Packed(i):cholesky.Packed(i+1)] {
			l.whiten[j*d+i] = float32(w)
		}
	}
	return nil
}

// measure finds the constants of the fusion: the likelihoods of all locations of the training images that are learned from.
func (m *Model) measure(ctx context.Context, fitting method.Fitting) error {
	var images [][]*view
	var grids []method.Grid
	var learned []func(p int) bool
	count := make([]float64, len(m.layers))
	for _, l := range m.layers {
		l.largest = math.Inf(-1)
	}
	err := fitting.Features(ctx, func(f []*tensor.Dense) error {
		g, err := method.Check(f, m.Shape().Widths)
		if err != nil {
			return err
		}
		views, err := m.views(f, g, &method.Result{})
		if err != nil {
			return err
		}
		for i, v := range views {
			if err := v.look(ctx, f[i], 1, false); err != nil {
				return err
			}
			v.at = nil
			learns := fitting.Learns(f[i].Shape()[2], f[i].Shape()[3])
			for p, q := range v.q {
				if !learns(p) {
					continue
				}
				v.layer.largest = max(v.layer.largest, float64(q))
				v.layer.average += float64(q)
				count[i]++
			}
		}
		images, grids, learned = append(images, views), append(grids, g), append(learned, fitting.Learns(g.H, g.W))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for i, l := range m.layers {
		if l.average /= count[i]; !(l.largest > l.average) || l.largest-l.average < 1e-6 {
			return fmt.Errorf("layer %d: all locations have the same likelihood, %g", i+1, l.largest)
		}
	}
	m.total = math.Inf(-1)
	for i, views := range images {
		for p := range grids[i].Cells() {
			if !learned[i](p) {
				continue
			}
			m.total = max(m.total, logSum(views, grids[i], p))
		}
	}
	return nil
}
