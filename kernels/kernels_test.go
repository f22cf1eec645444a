package kernels_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"f2pad.example/kernels"
	"f2pad.example/kernels/emu"
	"f2pad.example/kernels/kerneltest"

	"github.com/stretchr/testify/require"
)

// emulated is an emulated machine that draws another order of threads for every launch. Tests skip where there is no C++
// compiler.
func emulated(t *testing.T) kernels.Machine {
	t.Helper()
	start := emu.Start
	if races {
		start = emu.StartWatched
	}
	m, err := start()
	if errors.Is(err, emu.ErrNoCompiler) {
		t.Skip("SKIPPED: the kernels are not tested: there is no g++ to compile their emulation")
	}
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return &shuffled{Machine: m}
}

type shuffled struct {
	*emu.Machine
	mu sync.Mutex
}

func (s *shuffled) Launch(l kernels.Launch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.Seed++ }()
	return s.Machine.Launch(l)
}

// races tells whether the emulation watches for races (make race-kernels).
var races = os.Getenv("F2PAD_RACES") == "1"

// seed is that of the random data.
const seed = 1

// The committed PTX was made from the committed sources.
func TestPTXIsFresh(t *testing.T) {
	require.NotEmpty(t, kernels.Modules())
	for _, m := range kernels.Modules() {
		_, err := kernels.PTX(m)
		require.NoError(t, err)
	}
}

// Every kernel passes its suite in the emulation.
func TestKernels(t *testing.T) { kerneltest.All(t, emulated, seed) }

// No kernel goes untested.
func TestEveryModuleHasASuite(t *testing.T) {
	require.Equal(t, kernels.Modules(), kerneltest.Kernels())
}

// What is measured of convolutions is checked before, and the check sees what is wrong: here, at small sizes, that nothing was written.
func TestLayersAreChecked(t *testing.T) {
	m := emulated(t)
	layers := map[string]bool{}
	for _, c := range kerneltest.Benches() {
		if c.Kernel != "conv" {
			continue
		}
		layers[c.Size] = true
		b := &kerneltest.Bed{M: m, Rand: rand.New(rand.NewPCG(seed, 0)), Small: true}
		work, cost, err := c.Setup(b)
		require.NoError(t, err, c.Size)
		require.Error(t, b.Check(), c.Size)
		require.NoError(t, work(m), c.Size)
		require.NoError(t, b.Check(), c.Size)
		require.Positive(t, cost.Bytes)
		require.Positive(t, cost.Flops+cost.TensorFlops)
		require.NoError(t, b.Free())
	}
	require.Greater(t, len(layers), 60)
}
