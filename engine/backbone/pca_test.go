package backbone

import (
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// vectors makes p vectors of c channels, [C,P]: two hidden numbers and a little noise, far from zero.
func vectors(r *rand.Rand, c, p int) []float32 {
	x := make([]float32, c*p)
	for k := range p {
		a, b := r.NormFloat64(), r.NormFloat64()
		for i := range c {
			x[i*p+k] = float32(1000 + a*math.Cos(float64(i)) + 0.3*b*float64(i%2) + 0.1*r.NormFloat64())
		}
	}
	return x
}

func TestMomentsDoNotDependOnTheBlocks(t *testing.T) {
	const c = 5
	r := rand.New(rand.NewPCG(1, 1))
	parts := [][]float32{vectors(r, c, 40), vectors(r, c, 1), vectors(r, c, 23)}
	blocks, whole := newMoments(c), newMoments(c)
	var all []float32
	for i := range c {
		for _, part := range parts {
			p := len(part) / c
			all = append(all, part[i*p:(i+1)*p]...)
		}
	}
	for _, part := range parts {
		blocks.add(part)
	}
	whole.add(all)
	require.Equal(t, 64, blocks.n)
	tol := compare.Tolerance{Rel: 1e-10, Abs: 1e-9} // float64 sums of 64 numbers near 1000
	compare.Require(t, "mean", blocks.mean, whole.mean, tol)
	compare.Require(t, "scatter", blocks.scatter, whole.scatter, tol)
}

func TestPCAOfAChannelThatNeverVaries(t *testing.T) {
	const c, p = 4, 50
	x := vectors(rand.New(rand.NewPCG(2, 1)), c, p)
	for k := range p {
		x[2*p+k] = 7
	}
	m := newMoments(c)
	m.add(x)
	deviation, directions, err := m.pca(c)
	require.NoError(t, err)
	require.Equal(t, minDeviation, deviation[2])
	require.Greater(t, deviation[0], 0.5)
	// It is the last component, alone: it has no variance.
	compare.Require(t, "last", directions[3*c:], []float64{0, 0, 1, 0}, compare.Tolerance{Abs: 1e-12})
}

func TestPCAErrors(t *testing.T) {
	m := newMoments(2)
	m.add([]float32{1, 2})
	_, _, err := m.pca(2)
	require.ErrorContains(t, err, "too few")
	m.add([]float32{float32(math.Inf(1)), 2})
	_, _, err = m.pca(2)
	require.ErrorContains(t, err, "not finite")
}
