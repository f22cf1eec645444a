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
