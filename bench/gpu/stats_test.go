package main

import (
	"math"
	"testing"

	"f2pad/engine/compare"
	"f2pad/kernels"

	"github.com/stretchr/testify/require"
)

func TestTiming(t *testing.T) {
	exact := compare.Tolerance{Abs: 1e-12} // float64 rounding
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
		got := timingOf(c.samples)
		require.Equal(t, before, c.samples, "the samples are left in order")
		require.Equal(t, len(c.samples), got.Runs)
		compare.Require(t, "percentiles", []float64{got.Median, got.P10, got.P90}, []float64{c.median, c.low, c.up}, exact)
	}
	require.True(t, math.IsNaN(timingOf(nil).Median))
}

// The slowest unit decides; a unit whose ceiling is unknown does not.
func TestFloor(t *testing.T) {
	c := ceilings{memory: 1000, fp32: 100, bf16: 400}
	for _, x := range []struct {
		cost    kernels.Cost
		seconds float64
		unit    string
	}{
		{kernels.Cost{Bytes: 2000, Flops: 100}, 2, memory},
		{kernels.Cost{Bytes: 2000, Flops: 300}, 3, fp32},
		{kernels.Cost{Bytes: 2000, Flops: 300, TensorFlops: 1600, Tensor: bf16}, 4, bf16},
		{kernels.Cost{Bytes: 2000, TensorFlops: 1e9, Tensor: tf32}, 2, memory},
		{kernels.Cost{TensorFlops: 1e9, Tensor: tf32}, 0, ""},
		{kernels.Cost{}, 0, ""},
	} {
		seconds, unit := c.floor(x.cost)
		require.Equal(t, x.seconds, seconds, "%+v", x.cost)
		require.Equal(t, x.unit, unit, "%+v", x.cost)
	}
	c.raise(memory, 500)
	require.EqualValues(t, 1000, c[memory])
	c.raise(tf32, 5)
	require.EqualValues(t, 5, c[tf32])
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{0.01234567: "0.0123", 1.2345: "1.23", 12.345: "12.3", 1234.5: "1234", 0: "0.0000"} {
		require.Equal(t, want, digits(v))
	}
	require.Equal(t, "1.50", ms(0.0015))
	require.Equal(t, "", per(0, 1, 1), "no such work")
	require.Equal(t, "2.00", per(4e9, 2, 1e9))
}
