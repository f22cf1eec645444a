package peak

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOperations(t *testing.T) {
	perRound := map[string]float64{"AVX-512": 16 * 16, "AVX2": 12 * 8, "": 0}[Unit()]
	require.Equal(t, 2*perRound*rounds, Run(1))
	require.Equal(t, 3*Run(1), Run(3))
}

func TestCopyAll(t *testing.T) {
	src := make([]byte, 1001)
	for i := range src {
		src[i] = byte(i%255) + 1
	}
	for _, threads := range []int{1, 2, 3, 7} {
		dst := make([]byte, len(src))
		copyAll(threads, dst, src)
		require.True(t, slices.Equal(src, dst), "%d threads", threads)
	}
}

func TestCeilings(t *testing.T) {
	r := Ceilings(2)
	require.Equal(t, 2, r.Threads)
	require.Equal(t, Unit() != "", r.Flops > 0)
	require.Positive(t, r.Copy)
}
