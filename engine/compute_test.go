package engine_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/compare"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/devicetest"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// bench is what the tests of devices share: a data set of 64 px images and a PaDiM of it.
type bench struct {
	*dataset.Dataset
	padim *engine.Model
}

func TestDevice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "weave")
	require.NoError(t, synth.Write(t.Context(), dir, synth.Options{Texture: "weave", Train: 8, Test: 6, Size: 64, Seed: 4}, nil))
	d, err := dataset.MVTec(dir)
	require.NoError(t, err)
	b := &bench{d, fit(t, d, engine.FitOptions{Method: "padim", Seed: 1, Paintings: 12})}
	t.Run("gives what the CPU gives", b.agrees)
	t.Run("fits", b.fits)
	t.Run("out of memory halves the batch", b.halves)
	t.Run("no room for one image", b.oneImage)
	t.Run("one image has the device to itself", b.sole)
	t.Run("lost", b.lost)
	t.Run("no room for the model", b.noModel)
	t.Run("other errors", b.otherErrors)
	t.Run("coreset falls back", b.coreset)
}

func fit(t *testing.T, d *dataset.Dataset, o engine.FitOptions) *engine.Model {
	t.Helper()
	m, err := engine.Fit(t.Context(), d.Train, o, nil)
	require.NoError(t, err)
	return m
}

func score(t *testing.T, m *engine.Model, o engine.Options, items []dataset.Item) ([]*engine.Result, error) {
	t.Helper()
	e, err := engine.New(m, o)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	var all []*engine.Result
	err = e.Score(t.Context(), slices.Values(items), func(r *engine.Result) error {
		all = append(all, r)
		return nil
	})
	return all, err
}

// A device in float64 and the CPU in float32 find the same, up to rounding in the maps of a dozen iterations.
var acrossDevices = compare.Tolerance{Abs: 2e-3, Rel: 2e-3}

func (b *bench) agrees(t *testing.T) {
	for _, m := range []*engine.Model{b.padim, fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12})} {
		require.Equal(t, device.CPU, m.Info.Device)
		cpu, err := score(t, m, engine.Options{Maps: engine.Kinds()}, b.Test)
		require.NoError(t, err)
		there, err := score(t, m, engine.Options{Maps: engine.Kinds(), Device: &devicetest.Naive{}}, b.Test)
		require.NoError(t, err)
		for i, r := range cpu {
			require.Equal(t, "cpu", r.Device)
			require.Equal(t, "naive:0", there[i].Device)
			require.InEpsilon(t, r.Score, there[i].Score, 1e-5)
			for _, k := range engine.Kinds() {
				compare.Require(t, fmt.Sprintf("%s %s %s", m.Info.Method, r.Item.ID, k), nd.Data(there[i].Maps[k]), nd.Data(r.Maps[k]), acrossDevices)
			}
		}
	}
}

func (b *bench) fits(t *testing.T) {
	var ops sync.Map
	dev := &devicetest.Naive{Fault: func(op string, _ int) error { ops.Store(op, true); return nil }}
	m := fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12, Options: engine.Options{Device: dev}})
	require.Equal(t, "naive:0", m.Info.Device.Device)
	for _, op := range []string{"kcentre", "bank", "nearest", "supports", "maps"} {
		_, ran := ops.Load(op)
		require.True(t, ran, op)
	}
	cpu := fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12})
	require.InEpsilon(t, cpu.Info.Calibration.ImageThreshold, m.Info.Calibration.ImageThreshold, 1e-5)
}

// A device that runs out of memory gets half as many images, whose results are those of a larger device.
func (b *bench) halves(t *testing.T) {
	m := b.padim
	want, err := score(t, m, engine.Options{Device: &devicetest.Naive{}}, b.Test)
	require.NoError(t, err)
	var notices []string
	var most atomic.Int64
	dev := &devicetest.Naive{Fault: func(op string, n int) error {
		if op == "maps" && n > 2 {
			return fmt.Errorf("%d images: %w", n, device.ErrOutOfMemory)
		}
		if op == "maps" {
			most.Store(max(most.Load(), int64(n)))
		}
		return nil
	}}
	got, err := score(t, m, engine.Options{Device: dev, Notice: func(s string) { notices = append(notices, s) }}, b.Test)
	require.NoError(t, err)
	require.Contains(t, notices[len(notices)-1], "naive:0: ")
	require.Contains(t, notices[len(notices)-1], " images at once from now on: ")
	require.EqualValues(t, 2, most.Load())
	require.Len(t, got, len(want))
	for i := range want {
		require.NoError(t, got[i].Err)
		require.Equal(t, want[i].Score, got[i].Score)
		require.Equal(t, "naive:0", got[i].Device)
	}
}

// An image that does not fit alone fails by itself, or goes to the CPU if that may take over.
func (b *bench) oneImage(t *testing.T) {
	m := b.padim
	tooMuch := func() *devicetest.Naive {
		return &devicetest.Naive{Fault: func(op string, _ int) error {
			if op == "maps" {
				return device.ErrOutOfMemory
			}
			return nil
		}}
	}
	got, err := score(t, m, engine.Options{Device: tooMuch()}, b.Test[:3])
	require.NoError(t, err)
	require.Len(t, got, 3)
	for _, r := range got {
		require.ErrorIs(t, r.Err, device.ErrOutOfMemory)
		require.ErrorContains(t, r.Err, r.Item.Path)
	}
	got, err = score(t, m, engine.Options{Device: tooMuch(), Fallback: true}, b.Test[:3])
	require.NoError(t, err)
	for _, r := range got {
		require.NoError(t, r.Err)
		require.Equal(t, "cpu", r.Device)
	}
}

// That one image does not fit says something of the device only if no other batch is there.
func (b *bench) sole(t *testing.T) {
	var mu sync.Mutex
	var ops []string
	another := make(chan struct{}, len(b.Test))
	dev := &devicetest.Naive{Fault: func(op string, _ int) error {
		if op != "distances" && op != "maps" {
			return nil
		}
		mu.Lock()
		ops = append(ops, op)
		mu.Unlock()
		if op == "distances" {
			another <- struct{}{}
			for deadline := time.Now().Add(20 * time.Millisecond); len(another) < 2 && time.Now().Before(deadline); {
				runtime.Gosched() // there is time for another batch to come in between
			}
		} else {
			<-another
		}
		return nil
	}}
	_, err := score(t, b.padim, engine.Options{Batch: 2, Device: dev}, b.Test)
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]string{"distances", "maps"}, len(b.Test)), ops)
}

// When a device is lost in the middle, the CPU takes over the images that remain, and says so; or the run ends.
func (b *bench) lost(t *testing.T) {
	m := b.padim
	for _, op := range []string{"distances", "maps", "smooth", "compare", "stepper"} {
		dies := func() *devicetest.Naive {
			var calls atomic.Int64
			return &devicetest.Naive{Fault: func(o string, _ int) error {
				if o == op && calls.Add(1) > 2 {
					return fmt.Errorf("%s: %w", op, device.ErrLost)
				}
				return nil
			}}
		}
		all := engine.Options{Batch: 1, Maps: []refine.Kind{refine.F2PAD}}
		all.Device = dies()
		_, err := score(t, m, all, b.Test)
		require.ErrorIs(t, err, device.ErrLost, op)
		require.ErrorContains(t, err, op)

		var notices []string
		all.Device, all.Fallback, all.Notice = dies(), true, func(s string) { notices = append(notices, s) }
		got, err := score(t, m, all, b.Test)
		require.NoError(t, err, op)
		require.Len(t, notices, 1, op)
		require.Contains(t, notices[0], "naive:0: the CPU takes over the remaining images: ")
		require.Equal(t, "cpu", got[len(got)-1].Device)
		require.Len(t, got, len(b.Test))
	}
}

// A model that does not fit is an error at once, or computed on the CPU.
func (b *bench) noModel(t *testing.T) {
	m := b.padim
	dev := &devicetest.Naive{Fault: func(op string, _ int) error {
		if op == "gaussians" {
			return device.ErrOutOfMemory
		}
		return nil
	}}
	_, err := engine.New(m, engine.Options{Device: dev})
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "naive:0")
	var notices []string
	e, err := engine.New(m, engine.Options{Device: dev, Fallback: true, Notice: func(s string) { notices = append(notices, s) }})
	require.NoError(t, err)
	require.Equal(t, device.CPU, e.Device())
	require.Len(t, notices, 1)
	require.NoError(t, e.Close())
}

// Other errors of a device end the run, also where the CPU could take over: they are not its to hide.
func (b *bench) otherErrors(t *testing.T) {
	m := b.padim
	boom := errors.New("boom")
	dev := &devicetest.Naive{Fault: func(op string, _ int) error {
		if op == "maps" {
			return boom
		}
		return nil
	}}
	_, err := score(t, m, engine.Options{Device: dev, Fallback: true}, b.Test)
	require.ErrorIs(t, err, boom)
}

func (b *bench) coreset(t *testing.T) {
	dev := &devicetest.Naive{Fault: func(op string, _ int) error {
		if op == "kcentre" {
			return device.ErrOutOfMemory
		}
		return nil
	}}
	o := engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12, Options: engine.Options{Device: dev}}
	_, err := engine.Fit(t.Context(), b.Train, o, nil)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	var notices []string
	o.Fallback, o.Notice = true, func(s string) { notices = append(notices, s) }
	fit(t, b.Dataset, o)
	require.Equal(t, []string{"naive:0: the CPU chooses the coreset: out of device memory"}, notices)
}
