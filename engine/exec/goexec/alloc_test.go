//go:build !race

// The race detector allocates on its own account.

package goexec

import (
	"context"
	"runtime"
	"testing"

	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// From the second run on nothing is allocated, on one core (where AllocsPerRun measures) and on two.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	const images, h, w = 3, 16, 20
	n, err := New().Compile(small(t, h, w), true)
	require.NoError(t, err)
	defer n.Close()
	x, y := []*tensor.Dense{nd.New(images, 3, h, w)}, []*tensor.Dense{nd.New(images, 4, h, w)}
	ctx := context.Background()
	run := func() {
		require.NoError(t, n.Forward(ctx, x, y))
		require.NoError(t, n.Backward(ctx, y, x))
	}
	run()
	require.Zero(t, testing.AllocsPerRun(5, run), "on one core")

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for range 200 {
		run() // the runtime keeps the goroutines that it makes
	}
	const runs, noise = 200, 0.5 // allocations per run: the runtime's own, now and then
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		run()
	}
	runtime.ReadMemStats(&after)
	require.Less(t, float64(after.Mallocs-before.Mallocs)/runs, noise, "on two cores")
}
