package loop

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestHinge(t *testing.T) {
	e := Hinge{Weight: 16, Margin: 1}
	require.InDelta(t, 16*math.Log(4), e.Value(2), 1e-12)
	for _, z := range []float64{-1e30, -5, -1} {
		require.Zero(t, e.Value(z))
		require.Zero(t, e.Slope(z))
	}
	for _, z := range []float64{-0.99, -0.5, 0, 1, 30, 1e6} {
		const h = 1e-6
		require.InDelta(t, (e.Value(z+h)-e.Value(z-h))/(2*h), e.Slope(z), 1e-6, "z %g", z)
		require.Positive(t, e.Slope(z))
	}
}

const side, cells = 24, 6

var options = &Options{
	Iterations: 4, Energy: Hinge{Weight: 1, Margin: 1},
	Step: &pixel.StepOptions{
		Share: pixel.NewGaussian(1.5), Norm: pixel.NewGaussian(1), Momentum: 0.8, Decay: 0.95, Rate: 0.1, Lambda: 3,
		Penalty: pixel.NewGroupLog(0.1), From: 3,
	},
}

// problem has regions of the given boxes, from A = 1, and its own image.
func problem(seed float32, regions ...pixel.Box) Problem {
	p := Problem{Y: make([]float32, 3*side*side), H: side, W: side, Cells: slices.Repeat([]bool{true}, cells*cells)}
	for i := range p.Y {
		p.Y[i] = float32(math.Sin(float64(seed) + float64(i)*0.37))
	}
	for _, r := range regions {
		box := r.Grow(max(options.Step.Share.Radius(), options.Step.Norm.Radius()), side, side)
		var pixels []int32
		for y := r.Y0; y < r.Y1; y++ {
			for x := r.X0; x < r.X1; x++ {
				pixels = append(pixels, int32((y-box.Y0)*box.W()+x-box.X0))
			}
		}
		s := pixel.NewState(box, pixels, options.Step)
		for _, q := range pixels {
			s.C[q] = 0.5
			for c := range 3 {
				s.A[c*box.H()*box.W()+int(q)] = 1
			}
		}
		p.States = append(p.States, s)
	}
	return p
}

// pulled is a Gradient whose energy is half the squared image, over all of it, where any cell is wanted.
func pulled(_ context.Context, x *tensor.Dense, where []bool, _ Energy, energy []float64, dx *tensor.Dense) error {
	n := 3 * side * side
	clear(nd.Data(dx))
	for i := range energy {
		energy[i] = 0
		if !slices.Contains(where[i*cells*cells:][:cells*cells], true) {
			continue
		}
		for p, v := range nd.Data(x)[i*n:][:n] {
			energy[i] += float64(v) * float64(v) / 2
			nd.Data(dx)[i*n+p] = v
		}
	}
	return nil
}

func two() []Problem {
	return []Problem{
		problem(1, pixel.Box{Y0: 4, X0: 4, Y1: 9, X1: 8}, pixel.Box{Y0: 20, X0: 19, Y1: 24, X1: 24}),
		problem(2), problem(3, pixel.Box{Y0: 0, X0: 10, Y1: 3, X1: 12}),
	}
}

// What Run does is the formula in its package's comment, said by pixel's parts for one image.
func TestRun(t *testing.T) {
	ps, want := two(), two()
	told, err := Run(t.Context(), ps, options, pulled)
	require.NoError(t, err)
	require.Empty(t, told[1])
	for _, i := range []int{0, 2} {
		p := &want[i]
		require.Len(t, told[i], options.Iterations)
		for k := 1; k <= options.Iterations; k++ {
			x, dx, energy := nd.New(1, 3, side, side), nd.New(1, 3, side, side), make([]float64, 1)
			copy(nd.Data(x), p.Y)
			for _, s := range p.States {
				pixel.Compose(s, p.Y, side, side, nd.Data(x))
			}
			require.NoError(t, pulled(t.Context(), x, p.Cells, options.Energy, energy, dx))
			var sum pixel.Stats
			for _, s := range p.States {
				sum.Add(pixel.Step(s, nd.Data(dx), side, side, k, options.Step))
			}
			area := float64(len(p.States[0].Pixels))
			if i == 0 {
				area += float64(len(p.States[1].Pixels))
			}
			require.Equal(t, Iteration{energy[0], sum.Penalty, sum.Support, sum.Moved / area}, told[i][k-1], "image %d, iteration %d", i, k)
		}
		for j, s := range p.States {
			require.Equal(t, s.A, ps[i].States[j].A)
			require.Equal(t, s.Sum, ps[i].States[j].Sum)
		}
	}
}

// An image's problem has the same bytes for a result alone and in company.
func TestRunAlone(t *testing.T) {
	together := two()
	_, err := Run(t.Context(), together, options, pulled)
	require.NoError(t, err)
	alone := two()[2:]
	_, err = Run(t.Context(), alone, options, pulled)
	require.NoError(t, err)
	require.Equal(t, together[2].States[0].A, alone[0].States[0].A)
}

func TestRunEnds(t *testing.T) {
	never := func(context.Context, *tensor.Dense, []bool, Energy, []float64, *tensor.Dense) error { panic("asked") }
	told, err := Run(t.Context(), []Problem{problem(1), problem(2)}, options, never)
	require.NoError(t, err, "nothing to optimise")
	require.Len(t, told, 2)

	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	_, err = Run(ctx, two(), options, func(_ context.Context, x *tensor.Dense, w []bool, e Energy, energy []float64, dx *tensor.Dense) error {
		asked++
		cancel()
		return pulled(ctx, x, w, e, energy, dx)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, asked)

	boom := errors.New("boom")
	_, err = Run(t.Context(), two(), options, func(context.Context, *tensor.Dense, []bool, Energy, []float64, *tensor.Dense) error { return boom })
	require.ErrorIs(t, err, boom)

	for name, spoil := range map[string]func(energy []float64, dx []float32){
		"energy":   func(energy []float64, _ []float32) { energy[2] = math.Inf(1) },
		"gradient": func(_ []float64, dx []float32) { dx[2*3*side*side+10] = float32(math.NaN()) },
	} {
		asked = 0
		_, err = Run(t.Context(), two(), options, func(c context.Context, x *tensor.Dense, w []bool, e Energy, energy []float64, dx *tensor.Dense) error {
			require.NoError(t, pulled(c, x, w, e, energy, dx))
			if asked++; asked == 2 {
				spoil(energy, nd.Data(dx))
			}
			return nil
		})
		var bad *NotFinite
		require.ErrorAs(t, err, &bad, name)
		require.Equal(t, []int{2, 2}, []int{bad.Image, bad.Iteration}, name)
		require.ErrorContains(t, err, "image 2: the scorer's energy")
	}
}
