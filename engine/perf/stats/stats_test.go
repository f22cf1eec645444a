package stats

import (
	"math"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

var exact = compare.Tolerance{Abs: 1e-12} // float64 rounding

func TestTiming(t *testing.T) {
	for _, c := range []struct {
		samples         []float64
		median, low, up float64
	}{
		{[]float64{7}, 7, 7, 7},
		{[]float64{2, 1}, 1.5, 1.1, 1.9},
		{[]float64{5, 1, 4, 2, 3}, 3, 1.4, 4.6},
		{[]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, 5, 1, 9},
	} {
		before := append([]float64(nil), c.samples...)
		got := Of(c.samples)
		require.Equal(t, before, c.samples, "the samples are left in order")
		require.Equal(t, len(c.samples), got.Runs)
		compare.Require(t, "percentiles", []float64{got.Median, got.P10, got.P90}, []float64{c.median, c.low, c.up}, exact)
	}
	require.True(t, math.IsNaN(Of(nil).Median))
}

// Each ratio is of two samples of one round: a machine that slows down half way does not change it.
func TestRatiosArePaired(t *testing.T) {
	a, b := []float64{2, 4, 30, 40, 60}, []float64{1, 2, 10, 20, 30}
	r := Ratios(a, b)
	compare.Require(t, "ratios", []float64{r.Median, r.P10, r.P90}, []float64{2, 2, 2.6}, exact)
	require.Equal(t, r, Ratios(append(a, 1e9), b), "a sample without a partner")
	require.True(t, math.IsNaN(Ratios(nil, b).Median))
}

func upTo(n int) (samples []float64) {
	for i := range n {
		samples = append(samples, float64(i+1))
	}
	return samples
}

// The ranks of the tables in the literature: of n sorted samples the k-th from either end hold the median with 95 %.
func TestMedianInterval(t *testing.T) {
	for n, k := range map[int]int{6: 1, 8: 1, 9: 2, 11: 2, 12: 3, 15: 4, 20: 6, 30: 10, 50: 18, 100: 40, 2000: 956} {
		got, known := MedianInterval(upTo(n))
		require.True(t, known)
		require.Equal(t, Interval{float64(k), float64(n + 1 - k)}, got, "%d samples", n)
	}
	got, known := MedianInterval(upTo(5))
	require.False(t, known, "2/2^5 is more than .05")
	require.Equal(t, Interval{1, 5}, got)
	got, known = MedianInterval(nil)
	require.False(t, known)
	require.True(t, math.IsNaN(got.Low))
}

func TestSpread(t *testing.T) {
	s, known := Spread([]float64{2, 1, 3, 2, 2, 2, 2, 2.5})
	require.True(t, known)
	require.InDelta(t, 0.5, s, 1e-12) // the extremes, of eight
	s, _ = Spread([]float64{2, 1, 2.1, 2, 2, 2, 2, 2.1})
	require.InDelta(t, 0.5, s, 1e-12, "the farther end")
	s, known = Spread([]float64{1, 1.1})
	require.False(t, known)
	require.InDelta(t, 0.05/1.05, s, 1e-12)
}

// A hundredth of less than a hundred samples is not known.
func TestLatencies(t *testing.T) {
	l := Latencies(upTo(101))
	require.Equal(t, 51.0, l.P50)
	require.InDelta(t, 91, *l.P90, 1e-9)
	require.InDelta(t, 100, *l.P99, 1e-9)
	require.Equal(t, 101.0, l.Max)
	require.Equal(t, 101, l.Count)
	l = Latencies(upTo(99))
	require.NotNil(t, l.P90)
	require.Nil(t, l.P99)
	l = Latencies([]float64{3, 1, 2})
	require.Equal(t, Latency{P50: 2, Max: 3, Count: 3}, l)
}
