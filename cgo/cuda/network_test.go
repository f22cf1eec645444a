//go:build cuda && cgo

package cuda

import (
	"testing"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// networks is for float32 sums in one order: n terms leave some sqrt(n) half units in the last place (6e-8) of the sum of
// magnitudes; the suite's longest have a few hundred terms of size 1, its networks a dozen layers.
var networks = exectest.Tolerances{
	Forward:  compare.Tolerance{Abs: 1e-5, Rel: 1e-5},
	Gradient: compare.Tolerance{Abs: 2e-5, Rel: 2e-5},
}

func TestExecutor(t *testing.T) {
	exectest.Test(t, opened(t, gpu.Options{}).Executor(), networks)
}

// small is a network with a convolution of its own weights, w times their number.
func small(t *testing.T, w float32, side int) *graph.Graph {
	t.Helper()
	weights := nd.New(8, 3, 3, 3)
	for i := range nd.Data(weights) {
		nd.Data(weights)[i] = w * float32(i)
	}
	b := graph.NewBuilder("small")
	g, err := b.Graph(b.Op(graph.Relu, nil, b.Conv(b.Input("x", graph.N, 3, side, side), b.Const(weights), "", nil)))
	require.NoError(t, err)
	return g
}

// Nets share equal constants, and leave nothing on the device, whatever order they are closed in.
func TestNetsShareConstants(t *testing.T) {
	d := opened(t, gpu.Options{Debug: true})
	ex := d.Executor()
	buffers := func() int { return d.gpu.Stats().Buffers }
	compile := func(w float32, side int) exec.Net {
		n, err := ex.Compile(small(t, w, side), true)
		require.NoError(t, err)
		return n
	}
	a := compile(1, 8)
	first := buffers()
	b := compile(1, 8)
	require.Equal(t, first, buffers())
	c := compile(1, 9) // the same weights under other tables
	require.Less(t, buffers(), 2*first)
	other := compile(2, 8)
	require.Greater(t, buffers(), first)
	require.NoError(t, a.Close())
	require.NoError(t, a.Close(), "again")
	out := []*tensor.Dense{nd.New(2, 8, 6, 6)}
	require.NoError(t, b.Forward(t.Context(), []*tensor.Dense{nd.New(2, 3, 8, 8)}, out))
	for _, n := range []exec.Net{other, c, b} {
		require.NoError(t, n.Close())
	}
	require.Zero(t, buffers())
}

func TestNetworksBeyondTheMemory(t *testing.T) {
	d := opened(t, gpu.Options{Memory: 1 << 20})
	n, err := d.Executor().Compile(small(t, 1, 50), false)
	require.NoError(t, err)
	run := func(images int) error {
		return n.Forward(t.Context(), []*tensor.Dense{nd.New(images, 3, 50, 50)}, []*tensor.Dense{nd.New(images, 8, 48, 48)})
	}
	require.NoError(t, run(1))
	err = run(8)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "cuda:0")
	require.NoError(t, run(1), "fewer fit")
	require.NoError(t, n.Close())
	_, err = opened(t, gpu.Options{Memory: 1 << 12}).Executor().Compile(small(t, 1, 50), false)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
}
