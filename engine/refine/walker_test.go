package refine

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad/engine/compare"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// solved is for the random walker against a dense solve: float32 probabilities, and the solver's own tolerance of 1e-8
// on the residual, which weak edges amplify.
var solved = compare.Tolerance{Abs: 1e-5, Rel: 0}

// denseWalk solves the walk on the pixels whose seed is not outside, as one dense system.
func denseWalk(t *testing.T, y []float32, h, w int, seeds []uint8, beta, floor float64) []float64 {
	n := h * w
	var a mat.Dense
	a.ReuseAs(n, n)
	b := mat.NewVecDense(n, nil)
	for p := range n {
		if seeds[p] != unknown {
			a.Set(p, p, 1)
			if seeds[p] == foreground {
				b.SetVec(p, 1)
			}
			continue
		}
		for q := range n {
			if square(p/w-q/w)+square(p%w-q%w) != 1 || seeds[q] == outside {
				continue
			}
			d2 := 0.0
			for c := range 3 {
				d2 += math.Pow(float64(y[c*n+p])-float64(y[c*n+q]), 2)
			}
			g := math.Exp(-beta*d2) + floor
			a.Set(p, p, a.At(p, p)+g)
			a.Set(p, q, -g)
		}
	}
	var x mat.VecDense
	require.NoError(t, x.SolveVec(&a, b))
	return x.RawVector().Data
}

func newWalker(y []float32, h, w int, seeds []uint8, o *ContrastOptions) *walker {
	domain := make([]bool, h*w)
	for p, s := range seeds {
		domain[p] = s != outside
	}
	return &walker{y: y, h: h, w: w, domains: components(domain, h, w, false), o: o}
}

func TestRandomWalkerSolvesItsEquations(t *testing.T) {
	const h, w = 14, 15
	o := DefaultOptions(4).Contrast
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 3))
		y, seeds := make([]float32, 3*h*w), make([]uint8, h*w)
		for i := range y {
			y[i] = float32(0.5 + 0.03*rng.NormFloat64())
			if (i%(h*w)%w < 7) == (seed%2 == 0) {
				y[i] += 0.1 // a step edge
			}
		}
		for p := range seeds {
			switch k := rng.IntN(12); {
			case p/w >= 12 && p%w >= 12:
				seeds[p] = outside
			case k == 0:
				seeds[p] = foreground
			case k < 3:
				seeds[p] = background
			default:
				seeds[p] = unknown
			}
		}
		rw, walk := newWalker(y, h, w, seeds, &o).solve(seeds)
		require.LessOrEqual(t, walk.Residual, o.Tolerance)
		require.Positive(t, walk.Iterations)
		require.Less(t, walk.Iterations, 60)
		compare.Require(t, "probability", rw, denseWalk(t, y, h, w, seeds, 1000, 1e-6), solved)
	}
}

func TestRandomWalkerWithoutSeeds(t *testing.T) {
	const h, w = 3, 12
	o := DefaultOptions(4).Contrast
	y := make([]float32, 3*h*w)
	// Three domains: no background, no foreground, and both.
	seeds := make([]uint8, h*w)
	for i := range h {
		copy(seeds[i*w:], []uint8{
			foreground, unknown, unknown, outside, background, unknown, unknown, outside, foreground, unknown, background, background,
		})
	}
	rw, walk := newWalker(y, h, w, seeds, &o).solve(seeds)
	require.Equal(t, 3, walk.Unknowns)
	for i := range h {
		compare.Require(t, "probability", rw[i*w:(i+1)*w], []float64{0, 0, 0, 0, 0, 0, 0, 0, 1, 0.5, 0, 0}, solved)
	}
}

func TestSolverStopsAtItsLimit(t *testing.T) {
	const h, w = 30, 30
	o := DefaultOptions(4).Contrast
	o.MaxIterations = 2
	y, seeds := make([]float32, 3*h*w), make([]uint8, h*w)
	for p := range seeds {
		seeds[p] = unknown
	}
	seeds[0], seeds[h*w-1] = foreground, background
	rw, walk := newWalker(y, h, w, seeds, &o).solve(seeds)
	require.Equal(t, 2, walk.Iterations)
	require.Greater(t, walk.Residual, o.Tolerance)
	for _, v := range rw {
		require.True(t, v >= 0 && v <= 1)
	}
}
