//go:build cuda && cgo

package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"f2pad.example/cgo/fakecuda"
	"f2pad.example/cgo/gpu"
	"f2pad.example/engine"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	places "f2pad.example/engine/place"
	"f2pad.example/engine/place/placetest"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// onGPU: the tests run on a real GPU, and none may skip.
var onGPU = os.Getenv("F2PAD_GPU") == "1"

func TestMain(m *testing.M) {
	if onGPU {
		os.Exit(m.Run())
	}
	os.Exit(fakecuda.Main(m))
}

// long is for what the emulation takes long for.
func long(t *testing.T) {
	if os.Getenv("F2PAD_LONG") == "" && !onGPU {
		t.Skip("SKIPPED: the emulation takes long for it: see make test-gpu-long")
	}
}

func opened(t *testing.T, o gpu.Options) *Device {
	t.Helper()
	o.Cache = filepath.Join(t.TempDir(), "cubin")
	d, err := OpenWith(0, Float32, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(), "something was left on the GPU") })
	return d
}

func seed(t *testing.T) uint64 {
	if !onGPU {
		return 1
	}
	s := uint64(time.Now().UnixNano())
	t.Logf("seed %d", s)
	return s
}

// The emulation looks with one method, or for long with all of them.
func TestPlace(t *testing.T) {
	placetest.Test(t, opened(t, gpu.Options{Debug: true}), seed(t), os.Getenv("F2PAD_LONG") == "" && !onGPU)
}

// What a call sends, launches and fetches is counted, and its time on the device if that is asked for.
func TestCounters(t *testing.T) {
	d := opened(t, gpu.Options{})
	maps := func() device.Counters {
		before := d.Counters()
		require.NoError(t, d.Maps(make([]float32, 2*4*4), 2, 4, 4, 32, 32, method.MapOptions{}, nil, make([]float32, 2*32*32)))
		return d.Counters().Sub(before)
	}
	c := maps()
	require.EqualValues(t, 1, c.Launches)
	require.EqualValues(t, 4*2*32*32, c.Downloaded)
	require.Greater(t, c.Uploaded, int64(4*2*4*4))
	require.Positive(t, c.Enqueue)
	require.Positive(t, c.Wait)
	require.Zero(t, c.Busy)

	d.Measure(true)
	timed := maps()
	require.Positive(t, timed.Busy)
	require.Equal(t, []int64{c.Launches, c.Uploaded, c.Downloaded}, []int64{timed.Launches, timed.Uploaded, timed.Downloaded})
	d.Measure(false)
	require.Zero(t, maps().Busy)

	wanted := make([]bool, 2*32*32)
	for p := range 77 {
		wanted[900+p] = true
	}
	before := d.Counters()
	require.NoError(t, d.Maps(make([]float32, 2*4*4), 2, 4, 4, 32, 32, method.MapOptions{}, wanted, make([]float32, 2*32*32)))
	some := d.Counters().Sub(before)
	require.EqualValues(t, 2, some.Launches)
	require.EqualValues(t, 4*77, some.Downloaded)
	require.Less(t, some.Uploaded-c.Uploaded, int64(4*77), "runs, not every pixel")
	before = d.Counters()
	require.NoError(t, d.Maps(make([]float32, 2*4*4), 2, 4, 4, 32, 32, method.MapOptions{}, make([]bool, 2*32*32), make([]float32, 2*32*32)))
	require.Equal(t, before, d.Counters(), "nothing is wanted")
	require.Error(t, d.Maps(nil, 2, 4, 4, 32, 32, method.MapOptions{}, nil, nil))
}

// On a device with little memory a bank stays on the host.
func TestBankBeyondTheMemory(t *testing.T) {
	const width = 64
	rows := make([]float32, 100_000*width)
	for i := range rows {
		rows[i] = float32(i % 977)
	}
	d := opened(t, gpu.Options{Memory: 8 << 20})
	b, err := d.newBank(rows, width)
	require.NoError(t, err)
	require.Nil(t, b.whole)
	require.Zero(t, d.gpu.Stats().Buffers, "the attempt left nothing behind")
}

func TestNoRoom(t *testing.T) {
	d := opened(t, gpu.Options{Memory: 1 << 20})
	_, err := d.newGaussians(make([]float32, 4000*48), make([]float32, 4000*48*49/2), 48)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "cuda:0")
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	_, err := Open(99, Float32)
	require.ErrorContains(t, err, "99")
	s := Look()
	require.NotEmpty(t, s.Devices)
	require.Empty(t, s.Reason)
	require.NotEmpty(t, s.Driver)
}

func TestMismatchedSizesAreRefused(t *testing.T) {
	d := opened(t, gpu.Options{})
	_, err := d.newGaussians([]float32{1, 2}, []float32{1}, 2)
	require.Error(t, err)
	_, err = d.newBank([]float32{1, 2, 3}, 2)
	require.Error(t, err)
	_, err = d.KCentre(t.Context(), []float32{1, 2, 3}, 2, 1, []int{0}, nil)
	require.Error(t, err)
	require.Error(t, d.Maps(make([]float32, 3), 1, 2, 2, 4, 4, method.MapOptions{}, nil, make([]float32, 16)))
	require.ErrorContains(t, d.Maps(make([]float32, 4), 1, 2, 2, 4, 4, method.MapOptions{}, make([]bool, 15), make([]float32, 16)), "15 pixels are wanted")
	b := broughtTo(t, d, nd.New(2, 3, 8, 12))
	defer b.Close()
	for what, s := range map[string]refine.Search{
		"image 2 of 8x12": {Image: 2, H: 8, W: 12}, "image -1": {Image: -1, H: 8, W: 12}, "of 12x8": {H: 12, W: 8},
		"with 95 values": {Y: make([]float32, 95), H: 8, W: 12}, "with 384 values": {Y: make([]float32, 4*96), H: 8, W: 12},
	} {
		require.ErrorContains(t, b.Costs([]refine.Search{s}), what)
	}
}

// The GPU and the CPU find the same, up to the rounding of a dozen iterations in float32.
var acrossDevices = compare.Tolerance{Abs: 5e-3, Rel: 5e-3}

func TestEngineOnTheGPU(t *testing.T) {
	long(t)
	dir := filepath.Join(t.TempDir(), "weave")
	require.NoError(t, synth.Write(t.Context(), dir, synth.Options{Texture: "weave", Train: 8, Test: 1, Size: 64, Seed: 4}, nil))
	data, err := dataset.MVTec(dir)
	require.NoError(t, err)
	for _, name := range engine.Methods() {
		d := opened(t, gpu.Options{})
		m, err := engine.Fit(t.Context(), data.Train, engine.FitOptions{Method: name, Seed: 1, Paintings: 8}, nil)
		require.NoError(t, err)
		score := func(o engine.Options) []*engine.Result {
			o.Maps = engine.Kinds()
			e, err := engine.New(m, o)
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			var all []*engine.Result
			require.NoError(t, e.Score(t.Context(), slices.Values(data.Test), func(r *engine.Result) error {
				require.NoError(t, r.Err)
				all = append(all, r)
				return nil
			}))
			return all
		}
		want, got := score(engine.Options{}), score(engine.Options{Places: []places.Place{d}})
		for i, w := range want {
			require.Equal(t, "cuda:0", got[i].Device)
			require.InEpsilon(t, w.Score, got[i].Score, 1e-4)
			for _, k := range engine.Kinds() {
				compare.Require(t, fmt.Sprintf("%s %s %s", name, w.Item.ID, k), nd.Data(got[i].Maps[k]), nd.Data(w.Maps[k]), acrossDevices)
			}
		}
		// An image's result does not depend on the batch.
		one := score(engine.Options{Places: []places.Place{d}, Batch: 1})
		for i := range got {
			require.Equal(t, got[i].Score, one[i].Score)
			for _, k := range engine.Kinds() {
				require.Equal(t, nd.Data(got[i].Maps[k]), nd.Data(one[i].Maps[k]), k)
			}
		}
	}
}
