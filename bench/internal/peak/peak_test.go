package peak

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The rate lies between what a core did decades ago and what none does yet.
func TestRate(t *testing.T) {
	if Unit() == "" {
		t.Skip("SKIPPED: there is no loop for this machine")
	}
	for _, threads := range []int{1, 2} {
		best := 0.0
		for range 5 {
			start := time.Now()
			best = max(best, Run(threads)/time.Since(start).Seconds())
		}
		t.Logf("%d threads: %.0f GFLOP/s with %s", threads, best/1e9, Unit())
		require.Greater(t, best, 5e9)
		require.Less(t, best, float64(threads)*1e12)
	}
}

func TestOperations(t *testing.T) {
	if Unit() == "" {
		require.Zero(t, Run(1))
		return
	}
	width := map[string]float64{"AVX-512": 16, "AVX2": 8}[Unit()]
	require.Equal(t, 2*16*width*loops, Run(1))
	require.Equal(t, 3*Run(1), Run(3))
}
