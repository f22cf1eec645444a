package index

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func line(n, from, to int, of func(i, n int) int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, of(i, n))
	}
	return out
}

func TestBeyondTheEnds(t *testing.T) {
	require.Equal(t, []int{1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1}, line(3, -5, 8, Mirror))
	require.Equal(t, []int{1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1}, line(3, -5, 8, Reflect))
	for i := -4; i < 5; i++ {
		require.Zero(t, Mirror(i, 1))
		require.Zero(t, Reflect(i, 1))
	}
	require.Equal(t, []int{0, 1, 0, 1, 0}, line(2, -2, 3, Reflect))
}

func TestQuotients(t *testing.T) {
	for a := -9; a <= 9; a++ {
		for b := 1; b <= 4; b++ {
			low, high := FloorDiv(a, b), CeilDiv(a, b)
			require.True(t, low*b <= a && a < (low+1)*b, "%d / %d", a, b)
			require.True(t, high*b >= a && a > (high-1)*b, "%d / %d", a, b)
		}
	}
}
