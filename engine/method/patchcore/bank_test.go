package patchcore

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewBank(t *testing.T) {
	b, err := NewBank([]float32{0, 0, 3, 4, 1, 1}, 2)
	require.NoError(t, err)
	winner, dist, diff := make([]int32, 2), make([]float64, 2), make([]float32, 4)
	require.NoError(t, b.Nearest(context.Background(), []float32{2, 1, 3, 6}, winner, dist, diff))
	require.Equal(t, []int32{2, 1}, winner)
	require.Equal(t, []float64{1, 4}, dist)
	require.Equal(t, []float32{1, 0, 0, 2}, diff)

	for _, c := range []struct{ values, d int }{{0, 2}, {3, 2}, {4, 0}, {4, -1}} {
		_, err := NewBank(make([]float32, c.values), c.d)
		require.ErrorContains(t, err, "patchcore: a bank of", "%+v", c)
	}
}
