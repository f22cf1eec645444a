package main

import (
	"testing"

	"f2pad.example/kernels"

	"github.com/stretchr/testify/require"
)

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

func TestPer(t *testing.T) {
	require.Equal(t, "", per(0, 1, 1), "no such work")
	require.Equal(t, "2.00", per(4e9, 2, 1e9))
}
