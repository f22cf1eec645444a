package padim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/method"
	"f2pad.example/engine/method/internal/cholesky"

	"gorgonia.org/tensor"
)

// Fit estimates a Gaussian per location, or one for all if o.Native, in one pass over the training images. It works in
// float64 and keeps one packed covariance per location: 4 K (K+1) bytes each (48 channels at 64x64 locations: 39 MB; 100
// at 56x56: 127 MB; 550 at 56x56: 3.8 GB), and half as much again for the model. It needs two images, or two locations
// if Native, and finite features.
func Fit(ctx context.Context, feats method.Features, o Options) (*Model, error) {
	return FitWith(ctx, o, method.Fitting{Features: feats})
}

// FitWith is Fit with the Features and, if o.Native, Where of f.
func FitWith(ctx context.Context, o Options, f method.Fitting) (*Model, error) {
	m, err := fit(ctx, o, f)
	if err != nil {
		return nil, fmt.Errorf("padim: %w", err)
	}
	return m, nil
}

func fit(ctx context.Context, o Options, fitting method.Fitting) (*Model, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := &Model{opts: o}
	var acc *moments
	image := 0
	err := fitting.Features(ctx, func(f []*tensor.Dense) error {
		image++
		if acc == nil {
			if err := m.start(f); err != nil {
				return err
			}
			acc = newMoments(m.h*m.w, len(m.channels))
		}
		g, err := method.Check(f, m.widths)
		switch {
		case err != nil:
			return fmt.Errorf("image %d: %w", image, err)
		case g.N != 1:
			return fmt.Errorf("image %d: a batch of %d, want 1", image, g.N)
		case !o.Native && (g.H != m.h || g.W != m.w):
			return fmt.Errorf("image %d: %dx%d locations, the first image has %dx%d", image, g.H, g.W, m.h, m.w)
		}
		src := newSources(f, m.widths, m.channels, g)
		if o.Native {
			learns, at := fitting.Learns(g.H, g.W), make([]int, 0, g.Cells())
			for v := range g.Cells() {
				if learns(v) {
					at = append(at, v)
				}
			}
			acc.addTexture(src, at)
		} else {
			acc.addImage(src)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	if acc == nil || acc.n < 2 {
		return nil, errors.New("too few training images: a covariance needs two samples")
	}
	acc.finish()
	if err := m.invert(ctx, acc); err != nil {
		return nil, err
	}
	return m, nil
}

// start takes the sizes from the first image and chooses the channels.
func (m *Model) start(f []*tensor.Dense) error {
	var err error
	if m.widths, err = method.Widths(f); err != nil {
		return err
	}
	g, err := method.Check(f, m.widths)
	if err != nil {
		return err
	}
	m.h, m.w = g.H, g.W
	if m.opts.Native {
		m.h, m.w = 1, 1
	}
	width := 0
	for _, c := range m.widths {
		width += c
	}
	if m.opts.Channels != nil {
		m.channels = slices.Clone(m.opts.Channels)
		return checkChannels(m.channels, width)
	}
	m.channels = rand.New(rand.NewPCG(m.opts.Seed, 0)).Perm(width)[:m.opts.keep(width)]
	slices.Sort(m.channels)
	return nil
}

// moments are the sums that means and covariances come from. Values are taken relative to a first sample, so that no
// digits are lost where the mean is large beside the spread.
type moments struct {
	k     int
	n     float64   // samples
	shift []float64 // [states,K]; the mean after finish
	sum   []float64 // [states,K]
	outer []float64 // [states,K(K+1)/2]; the covariance after finish
}

func newMoments(states, k int) *moments {
	return &moments{
		k: k, shift: make([]float64, states*k), sum: make([]float64, states*k), outer: make([]float64, states*cholesky.Packed(k)),
	}
}

// grain is how many locations a goroutine takes at a time.
const grain = 64

// addImage adds one sample to every location's Gaussian.
func (a *moments) addImage(src []source) {
	first := a.n == 0
	a.n++
	par.Range(len(a.shift)/a.k, grain, func(lo, hi int) {
		x := make([]float64, a.k)
		for v := lo; v < hi; v++ {
			shift, sum := a.shift[v*a.k:(v+1)*a.k], a.sum[v*a.k:(v+1)*a.k]
			for k := range x {
				x[k] = float64(*src[k].value(0, v))
				if first {
					shift[k] = x[k]
				}
				x[k] -= shift[k]
				sum[k] += x[k]
			}
			outer := a.covariance(v)
			for i, xi := range x {
				for j, xj := range x[:i+1] {
					outer[j] += xi * xj
				}
				outer = outer[i+1:]
			}
		}
	})
}

// addTexture adds one sample for each of the locations at to the only Gaussian. Every sum runs over the locations in order, whoever
// computes it.
func (a *moments) addTexture(src []source, at []int) {
	if a.n == 0 && len(at) > 0 {
		for k := range src {
			a.shift[k] = float64(*src[k].value(0, at[0]))
		}
	}
	cells := len(at)
	a.n += float64(cells)
	const chunk = 1024
	x := make([]float64, a.k*chunk)
	for lo := 0; lo < cells; lo += chunk {
		size := min(chunk, cells-lo)
		row := func(k int) []float64 { return x[k*chunk : k*chunk+size] }
		par.For(a.k, func(k int) {
			for p := range row(k) {
				row(k)[p] = float64(*src[k].value(0, at[lo+p])) - a.shift[k]
				a.sum[k] += row(k)[p]
			}
		})
		par.For(a.k, func(i int) {
			xi := row(i)
			for j := range i + 1 {
				sum := 0.0
				for p, v := range row(j) {
					sum += v * xi[p]
				}
				a.outer[cholesky.Packed(i)+j] += sum
			}
		})
	}
}

// finish turns the sums into means and sample covariances (ddof 1).
func (a *moments) finish() {
	par.Range(len(a.shift)/a.k, grain, func(lo, hi int) {
		for v := lo; v < hi; v++ {
			shift, sum, outer := a.shift[v*a.k:], a.sum[v*a.k:], a.covariance(v)
			for i := range a.k {
				for j := range i + 1 {
					outer[j] = (outer[j] - sum[i]*sum[j]/a.n) / (a.n - 1)
				}
				outer = outer[i+1:]
				shift[i] += sum[i] / a.n
			}
		}
	})
}

func (a *moments) covariance(v int) []float64 {
	t := cholesky.Packed(a.k)
	return a.outer[v*t : (v+1)*t]
}

// invert fills the model from finished moments.
func (m *Model) invert(ctx context.Context, a *moments) error {
	states, t := m.h*m.w, cholesky.Packed(a.k)
	m.mean = make([]float32, states*a.k)
	for i, v := range a.shift {
		if m.mean[i] = float32(v); math.IsNaN(v) || math.IsInf(float64(m.mean[i]), 0) {
			return fmt.Errorf("the features of a training image are not finite at location %d", i/a.k)
		}
	}
	global := make([]float64, t)
	par.Range(t, grain, func(lo, hi int) {
		for v := range states {
			for i, c := range a.covariance(v)[lo:hi] {
				global[lo+i] += c * m.opts.Global / float64(states)
			}
		}
	})
	m.factor = make([]float32, states*t)
	return par.Err(m.h, func(row int) error {
		sigma := make([]float64, t)
		for col := range m.w {
			if err := ctx.Err(); err != nil {
				return err
			}
			m.pool(a, row, col, sigma)
			for i := range sigma {
				sigma[i] = (1-m.opts.Global)*sigma[i] + global[i]
			}
			for i := range a.k {
				sigma[cholesky.Packed(i+1)-1] += m.opts.Ridge
			}
			if !cholesky.Invert(sigma, a.k) {
				return fmt.Errorf("the covariance at location (%d,%d) cannot be inverted: are the features finite?", row, col)
			}
			for i, v := range sigma {
				m.factorOf(row*m.w + col)[i] = float32(v)
			}
		}
		return nil
	})
}

// pool averages the covariances of the window around a location.
func (m *Model) pool(a *moments, row, col int, sigma []float64) {
	r := m.opts.Window / 2
	clear(sigma)
	count := 0.0
	for i := max(row-r, 0); i <= min(row+r, m.h-1); i++ {
		for j := max(col-r, 0); j <= min(col+r, m.w-1); j++ {
			count++
			for p, c := range a.covariance(i*m.w + j) {
				sigma[p] += c
			}
		}
	}
	for p := range sigma {
		sigma[p] /= count
	}
}
