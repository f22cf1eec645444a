package metric

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The intervals are those of Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17,
// 1998, table I, method 3; and, of all, the mirror of none.
func TestNewRateIsWilsons(t *testing.T) {
	for _, c := range []struct {
		count, of int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}, {20, 20, 0.8389, 1}} {
		r := NewRate(c.count, c.of)
		require.InDelta(t, float64(c.count)/float64(c.of), float64(r.Share), 1e-12)
		require.InDelta(t, c.low, r.Interval.Low, 5e-5, "%d of %d", c.count, c.of)
		require.InDelta(t, c.high, r.Interval.High, 5e-5, "%d of %d", c.count, c.of)
	}
	require.Zero(t, NewRate(0, 10).Interval.Low)
	require.EqualValues(t, 1, NewRate(10, 10).Interval.High)
	b, err := json.Marshal(CategoryRate{"hole", NewRate(0, 0)})
	require.NoError(t, err)
	require.JSONEq(t, `{"category":"hole","count":0,"of":0,"share":null,"interval":null}`, string(b))
}

func TestNewMean(t *testing.T) {
	require.False(t, NewMean(nil, 100, 0).Mean.Defined())
	one := NewMean([]float64{0.5}, 100, 0)
	require.EqualValues(t, 0.5, one.Mean)
	require.Nil(t, one.Interval, "one image says nothing about others")

	rng := rand.New(rand.NewPCG(1, 1))
	values := make([]float64, 100)
	for i := range values {
		values[i] = rng.NormFloat64()
	}
	given := slices.Clone(values)
	m := NewMean(values, 4000, 7)
	require.Equal(t, given, values, "they are not changed")
	require.Equal(t, 100, m.Images)
	require.InDelta(t, 0, float64(m.Mean), 0.3)
	require.InDelta(t, float64(m.Mean)-0.196, m.Interval.Low, 0.04, "1.96 standard errors of a tenth")
	require.InDelta(t, float64(m.Mean)+0.196, m.Interval.High, 0.04)
	slices.Reverse(values)
	require.Equal(t, m, NewMean(values, 4000, 7), "the order makes no difference")
}

func TestCurvesOfImages(t *testing.T) {
	var m Images
	for _, s := range []scored{{3, true}, {2, false}, {2, true}, {1, false}, {0, true}, {5, true}} {
		require.NoError(t, m.Add(s.score, s.anomalous))
	}
	require.Equal(t, []Point{{0, 0}, {0, 0.25}, {0, 0.5}, {0.5, 0.75}, {1, 0.75}, {1, 1}}, m.ROC())
	require.Equal(t, []Point{{0.25, 1}, {0.5, 1}, {0.75, 0.75}, {0.75, 0.6}, {1, 4.0 / 6}}, m.PR())
	require.InDelta(t, 0.25+0.25+0.25*0.75+0.25*4/6, float64(m.AP()), 1e-12)
	area := 0.0
	roc := m.ROC()
	for i := range roc[1:] {
		area += (roc[i+1].X - roc[i].X) * (roc[i+1].Y + roc[i].Y) / 2
	}
	require.InDelta(t, float64(m.AUROC()), area, 1e-12)

	var good Images
	require.NoError(t, good.Add(1, false))
	require.Nil(t, good.ROC())
	require.Nil(t, good.PR())
	require.False(t, good.AP().Defined())
	var bad Images
	require.NoError(t, bad.Add(1, true))
	require.Nil(t, bad.ROC())
	require.Equal(t, []Point{{1, 1}}, bad.PR())
}

// At the limit, as few cases as were seen, or fewer, have a probability of 5 %.
func TestAtMostIsTheLimitOfClopperAndPearson(t *testing.T) {
	for _, c := range [][2]int{{0, 1}, {0, 19}, {1, 6}, {4, 99}, {17, 18}, {0, 5000}} {
		k, n := c[0], c[1]
		p := AtMost(k, n)
		tail, term := 0.0, math.Pow(1-p, float64(n))
		for i := range k + 1 {
			tail += term
			term *= float64(n-i) / float64(i+1) * p / (1 - p)
		}
		require.InDelta(t, 0.05, tail, 1e-9, "%v", c)
	}
	require.Equal(t, 1.0, AtMost(3, 3))
	require.Equal(t, 1.0, AtMost(0, 0))
}
