//go:build !race

// The race detector allocates on its own account.

package par

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWorkersDoesNotAllocate(t *testing.T) {
	var sum atomic.Int64
	body := func(_, i int) { sum.Add(int64(i)) }
	Workers(4, 100, body)
	require.Zero(t, testing.AllocsPerRun(100, func() { Workers(4, 100, body) }))
}
