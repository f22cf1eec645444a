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
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/place/placetest"
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
	t.Run("several", b.several)
	t.Run("one of several lost", b.oneLost)
	t.Run("one of several out of memory", b.oneFull)
	t.Run("no room for the model in one of several", b.noModelThere)
	t.Run("fits in several", b.fitsInSeveral)
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
	defer func() {
		require.NoError(t, e.Close())
		for _, p := range o.Places {
			if p, ok := p.(*placetest.Faulty); ok {
				require.Zero(t, p.Open(), "%s", p.Info().Device)
			}
		}
	}()
	var all []*engine.Result
	err = e.Score(t.Context(), slices.Values(items), func(r *engine.Result) error {
		all = append(all, r)
		return nil
	})
	return all, err
}

func (b *bench) agrees(t *testing.T) {
	for _, m := range []*engine.Model{b.padim, fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12})} {
		require.Equal(t, device.CPU, m.Info.Device)
		cpu, err := score(t, m, engine.Options{Maps: engine.Kinds()}, b.Test)
		require.NoError(t, err)
		there, err := score(t, m, engine.Options{Maps: engine.Kinds(), Places: []place.Place{&placetest.Faulty{}}}, b.Test)
		require.NoError(t, err)
		for i, r := range cpu {
			require.Equal(t, "cpu", r.Device)
			require.Equal(t, "faulty:0", there[i].Device)
			require.Equal(t, r.Score, there[i].Score)
			for _, k := range engine.Kinds() {
				require.Equal(t, nd.Data(r.Maps[k]), nd.Data(there[i].Maps[k]), "%s %s %s", m.Info.Method, r.Item.ID, k)
			}
		}
	}
}

func (b *bench) fits(t *testing.T) {
	var ops sync.Map
	dev := &placetest.Faulty{Fault: func(op string, _ int) error { ops.Store(op, true); return nil }}
	m := fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12, Options: engine.Options{Places: []place.Place{dev}}})
	require.Equal(t, "faulty:0", m.Info.Device.Device)
	for _, op := range []string{"kcentre", "detector", "begin", "score", "maps"} {
		_, ran := ops.Load(op)
		require.True(t, ran, op)
	}
	cpu := fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12})
	require.InEpsilon(t, cpu.Info.Calibration.ImageThreshold, m.Info.Calibration.ImageThreshold, 1e-5)
}

// A device that runs out of memory gets half as many images, whose results are those of a larger device.
func (b *bench) halves(t *testing.T) {
	m := b.padim
	want, err := score(t, m, engine.Options{Places: []place.Place{&placetest.Faulty{}}}, b.Test)
	require.NoError(t, err)
	var notices []string
	var most atomic.Int64
	dev := &placetest.Faulty{Fault: func(op string, n int) error {
		if op == "maps" && n > 2 {
			return fmt.Errorf("%d images: %w", n, device.ErrOutOfMemory)
		}
		if op == "maps" {
			most.Store(max(most.Load(), int64(n)))
		}
		return nil
	}}
	got, err := score(t, m, engine.Options{Places: []place.Place{dev}, Notice: func(s string) { notices = append(notices, s) }}, b.Test)
	require.NoError(t, err)
	require.Contains(t, notices[len(notices)-1], "faulty:0: ")
	require.Contains(t, notices[len(notices)-1], " images at once from now on: ")
	require.EqualValues(t, 2, most.Load())
	require.Len(t, got, len(want))
	for i := range want {
		require.NoError(t, got[i].Err)
		require.Equal(t, want[i].Score, got[i].Score)
		require.Equal(t, "faulty:0", got[i].Device)
	}
}

// An image that does not fit alone fails by itself, or goes to the CPU if that may take over.
func (b *bench) oneImage(t *testing.T) {
	m := b.padim
	tooMuch := func() *placetest.Faulty {
		return &placetest.Faulty{Fault: func(op string, _ int) error {
			if op == "maps" {
				return device.ErrOutOfMemory
			}
			return nil
		}}
	}
	got, err := score(t, m, engine.Options{Places: []place.Place{tooMuch()}}, b.Test[:3])
	require.NoError(t, err)
	require.Len(t, got, 3)
	for _, r := range got {
		require.ErrorIs(t, r.Err, device.ErrOutOfMemory)
		require.ErrorContains(t, r.Err, r.Item.Path)
	}
	got, err = score(t, m, engine.Options{Places: []place.Place{tooMuch()}, Fallback: place.NewHost(nil)}, b.Test[:3])
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
	dev := &placetest.Faulty{Fault: func(op string, _ int) error {
		if op != "begin" && op != "maps" {
			return nil
		}
		mu.Lock()
		ops = append(ops, op)
		mu.Unlock()
		if op == "begin" {
			another <- struct{}{}
			for deadline := time.Now().Add(20 * time.Millisecond); len(another) < 2 && time.Now().Before(deadline); {
				runtime.Gosched() // there is time for another batch to come in between
			}
		} else {
			<-another
		}
		return nil
	}}
	_, err := score(t, b.padim, engine.Options{Batch: 2, Places: []place.Place{dev}}, b.Test)
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]string{"begin", "maps"}, len(b.Test)), ops)
}

// When a device is lost in the middle, the CPU takes over the images that remain, and says so; or the run ends.
func (b *bench) lost(t *testing.T) {
	m := b.padim
	for _, op := range []string{"begin", "score", "maps", "smooth", "costs", "offsets", "spreads", "compare", "optimise"} {
		dies := func() *placetest.Faulty {
			var calls atomic.Int64
			return &placetest.Faulty{Fault: func(o string, _ int) error {
				if o == op && calls.Add(1) > 2 {
					return fmt.Errorf("%s: %w", op, device.ErrLost)
				}
				return nil
			}}
		}
		all := engine.Options{Batch: 1, Maps: []refine.Kind{refine.F2PAD}}
		all.Places = []place.Place{dies()}
		_, err := score(t, m, all, b.Test)
		require.ErrorIs(t, err, device.ErrLost, op)
		require.ErrorContains(t, err, op)

		var notices []string
		all.Places, all.Fallback, all.Notice = []place.Place{dies()}, place.NewHost(nil), func(s string) { notices = append(notices, s) }
		got, err := score(t, m, all, b.Test)
		require.NoError(t, err, op)
		require.Len(t, notices, 1, op)
		require.Contains(t, notices[0], "faulty:0: the CPU takes over the remaining images: ")
		require.Equal(t, "cpu", got[len(got)-1].Device)
		require.Len(t, got, len(b.Test))
	}
}

// A model that does not fit is an error at once, or computed on the CPU.
func (b *bench) noModel(t *testing.T) {
	m := b.padim
	dev := &placetest.Faulty{Fault: func(op string, _ int) error {
		if op == "detector" {
			return device.ErrOutOfMemory
		}
		return nil
	}}
	_, err := engine.New(m, engine.Options{Places: []place.Place{dev}})
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "faulty:0")
	var notices []string
	e, err := engine.New(m, engine.Options{Places: []place.Place{dev}, Fallback: place.NewHost(nil), Notice: func(s string) { notices = append(notices, s) }})
	require.NoError(t, err)
	require.Equal(t, device.CPU, e.Device())
	require.Len(t, notices, 1)
	require.NoError(t, e.Close())
}

// Other errors of a device end the run, also where the CPU could take over: they are not its to hide.
func (b *bench) otherErrors(t *testing.T) {
	m := b.padim
	boom := errors.New("boom")
	fails := func(at string) []place.Place {
		return []place.Place{&placetest.Faulty{Fault: func(op string, _ int) error {
			if op == at {
				return boom
			}
			return nil
		}}}
	}
	_, err := score(t, m, engine.Options{Places: fails("maps"), Fallback: place.NewHost(nil)}, b.Test)
	require.ErrorIs(t, err, boom)
	_, err = engine.New(m, engine.Options{Places: fails("detector"), Fallback: place.NewHost(nil)})
	require.ErrorIs(t, err, boom)
}

func (b *bench) coreset(t *testing.T) {
	dev := &placetest.Faulty{Fault: func(op string, _ int) error {
		if op == "kcentre" {
			return device.ErrOutOfMemory
		}
		return nil
	}}
	o := engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12, Options: engine.Options{Places: []place.Place{dev}}}
	_, err := engine.Fit(t.Context(), b.Train, o, nil)
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	var notices []string
	o.Fallback, o.Notice = place.NewHost(nil), func(s string) { notices = append(notices, s) }
	fit(t, b.Dataset, o)
	require.Equal(t, []string{"faulty:0: the CPU chooses the coreset: out of device memory"}, notices)
}
