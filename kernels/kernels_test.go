package kernels_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
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
	if races {
		return watched{&shuffled{Machine: m}}
	}
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

// watched finds races in whatever order threads run; what an order does to results, the plain emulation tells.
type watched struct{ *shuffled }

func (watched) Once() {}

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

// dry is a machine that takes launches, within CUDA's limits, and has addresses instead of memory.
type dry struct {
	t    *testing.T
	next kernels.Ptr
	most int
}

func (d *dry) Alloc(bytes int) (kernels.Ptr, error) {
	d.next += 1 << 40
	d.most = max(d.most, bytes)
	return d.next, nil
}
func (d *dry) Free(kernels.Ptr) error             { return nil }
func (d *dry) Write(kernels.Ptr, []byte) error    { return nil }
func (d *dry) Read([]byte, kernels.Ptr) error     { return nil }
func (d *dry) Copy(_, _ kernels.Ptr, _ int) error { return nil }
func (d *dry) Launch(l kernels.Launch) error {
	require.LessOrEqual(d.t, l.Grid[0], math.MaxInt32, l.Kernel)
	require.LessOrEqual(d.t, max(l.Grid[1], l.Grid[2]), 1<<16-1, l.Kernel)
	return nil
}

// On a GPU each kernel is tried on arrays past 4 GiB (cgo/gpu's TestFar). What needs no memory of it is tried here: none is forgotten, and
// their launches take so many items.
func TestFarIsOfEveryKernel(t *testing.T) {
	d := &dry{t: t}
	require.Equal(t, kernels.Modules(), kerneltest.Far(t, d, 1<<32, false, seed))
	require.Greater(t, d.most, 1<<32)
}

// charged adds up what launches say that they cost.
type charged struct {
	dry
	cost kernels.Cost
}

func (c *charged) Launch(l kernels.Launch) error {
	c.cost.Bytes, c.cost.Flops, c.cost.TensorFlops = c.cost.Bytes+l.Cost.Bytes, c.cost.Flops+l.Cost.Flops, c.cost.TensorFlops+l.Cost.TensorFlops
	if l.Cost.Tensor != "" {
		c.cost.Tensor = l.Cost.Tensor
	}
	return nil
}

// A launch says what it costs. What only the device knows is left out, and of pointwise programs all but half of what they write; convolutions count what
// their last step is filled up with, and in float32 on tensor cores three products for one.
func TestLaunchesSayTheirCost(t *testing.T) {
	less := []string{"cut", "energy", "pixel_step", "pointwise"}
	seen := map[string]bool{}
	for _, b := range kerneltest.Benches() {
		layer := strings.HasPrefix(b.Size, "resnet18 layer")
		if seen[b.Kernel] && !layer || b.Kernel == "conv" && !layer {
			continue
		}
		seen[b.Kernel] = true
		d := &charged{dry: dry{t: t}}
		work, want, err := b.Setup(&kerneltest.Bed{M: d, Rand: rand.New(rand.NewPCG(1, 2)), Small: true})
		require.NoError(t, err, b.Kernel, b.Size)
		d.cost = kernels.Cost{} // of what was prepared
		require.NoError(t, work(d), b.Kernel, b.Size)
		got, name := d.cost, b.Kernel+" "+b.Size
		switch {
		case layer:
			require.GreaterOrEqual(t, got.Bytes, want.Bytes, name)
			products := got.Flops + got.TensorFlops
			if got.Tensor == "tf32" {
				products /= 3
			}
			require.GreaterOrEqual(t, products, want.Flops+want.TensorFlops, name)
			require.LessOrEqual(t, products, 4*(want.Flops+want.TensorFlops), name) // of few channels a step is half empty
		case slices.Contains(less, b.Kernel):
			require.LessOrEqual(t, got.Bytes, want.Bytes, name)
			require.LessOrEqual(t, got.Flops, want.Flops, name)
		default:
			require.Equal(t, want, got, name)
		}
	}
	require.Greater(t, len(seen), 20)
}
