package refine

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad/engine/compare"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// exact is for float64 sums in a different order.
var exact = compare.Tolerance{Abs: 1e-12, Rel: 1e-12}

// randomGraph has n unknowns, weights over six orders of magnitude, and some excess on every diagonal.
func randomGraph(n int, seed uint64) *level {
	rng := rand.New(rand.NewPCG(seed, 6))
	a := mat.NewSymDense(n, nil)
	for range 3 * n {
		if i, j := rng.IntN(n), rng.IntN(n); i != j {
			a.SetSym(i, j, math.Pow(10, -6*rng.Float64()))
		}
	}
	l := newLevel(n, 6*n)
	for i := range n {
		l.diagonal[i] = 1e-3
		for j := range n {
			if w := a.At(i, j); w > 0 {
				l.edge(int32(j), w)
				l.diagonal[i] += w
			}
		}
		l.end()
	}
	return l
}

func dense(l *level) *mat.Dense {
	n := len(l.diagonal)
	a := mat.NewDense(n, n, nil)
	for i := range n {
		a.Set(i, i, l.diagonal[i])
		to, weight := l.edges(i)
		for k, j := range to {
			a.Set(i, int(j), a.At(i, int(j))-weight[k])
		}
	}
	return a
}

func TestMergedIsTheSumOverGroups(t *testing.T) {
	for seed := range uint64(3) {
		levels := 0
		for l := randomGraph(60, seed); len(l.to) > 0; levels++ {
			next := l.merged()
			n, m := len(l.diagonal), len(next.diagonal)
			require.Less(t, m, n)
			sum := mat.NewDense(m, n, nil)
			for i, g := range l.group {
				sum.Set(int(g), i, 1)
			}
			var half, want mat.Dense
			half.Mul(sum, dense(l))
			want.Mul(&half, sum.T())
			compare.Require(t, "equations", dense(next).RawMatrix().Data, want.RawMatrix().Data, exact)
			seen := map[int32]bool{}
			to, _ := next.edges(0)
			for _, j := range to {
				require.False(t, seen[j], "two edges to one unknown")
				seen[j] = true
			}
			l = next
		}
		require.Greater(t, levels, 1)
	}
	require.Nil(t, newLevel(3, 0).merged())
}

// Unknowns are merged along strong edges alone: what is weakly tied to a group is not taken to be equal to it.
func TestMergedKeepsWeakEdges(t *testing.T) {
	l := newLevel(6, 10) // 0 -1- 1 -1- 2 -1e-6- 3 -1- 4 -0.2- 5
	for i, w := range []float64{0, 1, 1, 1e-6, 1, 0.2} {
		if i > 0 {
			l.edge(int32(i-1), w)
			l.diagonal[i] += w
		}
		if i < 5 {
			next := []float64{1, 1, 1e-6, 1, 0.2}[i]
			l.edge(int32(i+1), next)
			l.diagonal[i] += next
		}
		l.end()
	}
	next := l.merged()
	require.Len(t, next.diagonal, 3)
	require.Equal(t, []int32{0, 0, 0, 1, 1, 2}, l.group)
}

func TestGroupsAreBounded(t *testing.T) {
	const n = 100
	l := newLevel(n, 2*n)
	for i := range n {
		if i > 0 {
			l.edge(int32(i-1), 1)
		}
		if i < n-1 {
			l.edge(int32(i+1), 1)
		}
		l.diagonal[i] = 2
		l.end()
	}
	l.merged()
	members := map[int32]int{}
	for _, g := range l.group {
		members[g]++
		require.LessOrEqual(t, members[g], groupMost)
	}

	star := newLevel(n, 2*n) // would take a dozen levels in groups of 8
	for i := range n {
		if i == 0 {
			for j := 1; j < n; j++ {
				star.edge(int32(j), 1)
			}
		} else {
			star.edge(0, 1)
		}
		star.diagonal[i] = 1
		star.end()
	}
	require.LessOrEqual(t, len(star.merged().diagonal), int(stalled*n))
}

func TestSolveMatchesADenseSolve(t *testing.T) {
	for seed := range uint64(4) {
		const n = 120
		l := randomGraph(n, seed)
		rng := rand.New(rand.NewPCG(seed, 7))
		for i := range l.b {
			l.b[i] = rng.NormFloat64()
		}
		var want mat.VecDense
		require.NoError(t, want.SolveVec(dense(l), mat.NewVecDense(n, append([]float64(nil), l.b...))))
		x, iterations, residual := solve(l, 1e-12, 100)
		require.LessOrEqual(t, residual, 1e-12)
		require.Less(t, iterations, 40)
		// The condition number of these equations is below 1e4.
		compare.Require(t, "x", x, want.RawVector().Data, compare.Tolerance{Abs: 1e-8, Rel: 1e-8})
	}
	x, iterations, residual := solve(newLevel(2, 0), 1e-8, 10)
	require.Equal(t, []float64{0, 0}, x)
	require.Zero(t, iterations)
	require.Zero(t, residual)
}

// A woven texture has steep edges everywhere: a preconditioner that looks at neighbours only needs hundreds of iterations.
func TestIterationsStayFewOnATexture(t *testing.T) {
	const h, w = 120, 120
	o := DefaultOptions(4).Contrast
	y := texture(h, w, true, 1)
	seeds := make([]uint8, h*w)
	for p := range seeds {
		seeds[p] = unknown
	}
	for _, p := range []int{50*w + 20, 90*w + 70} {
		seeds[p] = foreground
	}
	for x := range w {
		seeds[x], seeds[(h-1)*w+x] = background, background
	}
	rw, walk := newWalker(y, h, w, seeds, &o).solve(seeds)
	require.LessOrEqual(t, walk.Residual, o.Tolerance)
	require.Less(t, walk.Iterations, 20) // 15; 25 with one step per level
	for p, v := range rw {               // harmonic: the weighted mean of the neighbours
		if seeds[p] != unknown {
			continue
		}
		num, den := 0.0, 0.0
		for _, q := range []int{p - w, p + w, p - 1, p + 1} {
			if q >= 0 && q < h*w && (q/w == p/w || q%w == p%w) {
				d2 := 0.0
				for c := range 3 {
					d2 += math.Pow(float64(y[c*h*w+p])-float64(y[c*h*w+q]), 2)
				}
				g := math.Exp(-1000*d2) + 1e-6
				num, den = num+g*float64(rw[q]), den+g
			}
		}
		require.InDelta(t, num/den, v, 1e-3, "pixel %d", p)
	}
}
