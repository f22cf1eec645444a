package engine_test

import (
	"errors"
	"fmt"
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

	"github.com/stretchr/testify/require"
)

// faulty are so many places, each asked with its number.
func faulty(n int, fault func(number int, op string, images int) error) (all []place.Place) {
	for i := range n {
		p := &placetest.Faulty{Number: i}
		if fault != nil {
			p.Fault = func(op string, images int) error { return fault(i, op, images) }
		}
		all = append(all, p)
	}
	return all
}

// many are the test images three times, so that there are batches enough for all.
func (b *bench) many() []dataset.Item { return slices.Repeat(b.Test, 3) }

// requireSameResults: the same bytes in the same order, wherever they were computed. It returns how many images each place had.
func requireSameResults(t *testing.T, want, got []*engine.Result) map[string]int {
	t.Helper()
	on := map[string]int{}
	require.Len(t, got, len(want))
	for i, w := range want {
		require.NoError(t, got[i].Err)
		require.Equal(t, w.Item.ID, got[i].Item.ID)
		require.Equal(t, w.Score, got[i].Score)
		require.Len(t, got[i].Maps, len(w.Maps))
		for k := range w.Maps {
			require.Equal(t, nd.Data(w.Maps[k]), nd.Data(got[i].Maps[k]), "%s %s", w.Item.ID, k)
		}
		on[got[i].Device]++
	}
	return on
}

// Each place works while the others do: the first batches meet in all of them, and what is found is what one place finds.
func (b *bench) several(t *testing.T) {
	o := engine.Options{Batch: 2, Maps: []refine.Kind{refine.F2PAD}}
	want, err := score(t, b.padim, o, b.many())
	require.NoError(t, err)
	const n = 3
	var mu sync.Mutex
	met, all := map[int]bool{}, make(chan struct{})
	o.Places = faulty(n, func(number int, op string, images int) error {
		if op != "begin" {
			return nil
		}
		if images != 1 {
			return fmt.Errorf("%d images, want half of a batch", images)
		}
		mu.Lock()
		if met[number] = true; len(met) == n {
			select {
			case <-all:
			default:
				close(all)
			}
		}
		mu.Unlock()
		select {
		case <-all:
			return nil
		case <-time.After(time.Minute):
			return errors.New("the others were given nothing")
		}
	})
	e, err := engine.New(b.padim, o)
	require.NoError(t, err)
	require.Equal(t, n, e.Places())
	require.Equal(t, device.Info{Device: "faulty:0+faulty:1+faulty:2", Name: "Faulty"}, e.Device())
	require.Equal(t, "go", e.Executor().Executor)
	require.NoError(t, e.Close())
	got, err := score(t, b.padim, o, b.many())
	require.NoError(t, err)
	require.Len(t, requireSameResults(t, want, got), n)

	o.Places = append(o.Places, &placetest.Faulty{Number: 1})
	_, err = engine.New(b.padim, o)
	require.ErrorContains(t, err, "faulty:1 twice")
}

// What a lost place was given is computed again by those that are there, and last by what takes over.
func (b *bench) oneLost(t *testing.T) {
	want, err := score(t, b.padim, engine.Options{Maps: []refine.Kind{refine.Base}}, b.many())
	require.NoError(t, err)
	dies := func(last int) []place.Place {
		var calls [3]atomic.Int64
		return faulty(3, func(number int, op string, _ int) error {
			if number <= last && op == "maps" && calls[number].Add(1) > 1 {
				return fmt.Errorf("number %d: %w", number, device.ErrLost)
			}
			return nil
		})
	}
	for last := range 3 {
		var notices []string
		o := engine.Options{
			Batch: 2, Maps: []refine.Kind{refine.Base}, Places: dies(last), Fallback: place.NewHost(nil),
			Notice: func(s string) { notices = append(notices, s) },
		}
		got, err := score(t, b.padim, o, b.many())
		require.NoError(t, err)
		on := requireSameResults(t, want, got)
		require.Len(t, notices, last+1)
		all := fmt.Sprint(notices)
		switch last {
		case 0:
			require.Contains(t, all, "faulty:0: faulty:1+faulty:2 takes over its images: ")
			require.Zero(t, on["cpu"])
		case 1:
			require.Contains(t, all, ": faulty:2 takes over its images: ")
			require.Zero(t, on["cpu"])
		case 2:
			require.Contains(t, notices[2], ": the CPU takes over the remaining images: ")
			require.Equal(t, "cpu", got[len(got)-1].Device)
		}
	}
	_, err = score(t, b.padim, engine.Options{Batch: 2, Maps: []refine.Kind{refine.Base}, Places: dies(2)}, b.many())
	require.ErrorIs(t, err, device.ErrLost)
}

// A place without room halves its own batches, and an image that it has no room for at all goes to another one.
func (b *bench) oneFull(t *testing.T) {
	want, err := score(t, b.padim, engine.Options{}, b.many())
	require.NoError(t, err)
	for _, room := range []int{2, 0} {
		var most [2]atomic.Int64
		fault := func(number int, op string, n int) error {
			if op != "maps" {
				return nil
			}
			if number == 1 && n > room {
				return fmt.Errorf("%d images: %w", n, device.ErrOutOfMemory)
			}
			most[number].Store(max(most[number].Load(), int64(n)))
			return nil
		}
		var notices []string
		o := engine.Options{Batch: 8, Places: faulty(2, fault), Notice: func(s string) { notices = append(notices, s) }}
		for _, o.Fallback = range []place.Place{nil, place.NewHost(nil)} {
			got, err := score(t, b.padim, o, b.many())
			require.NoError(t, err)
			on := requireSameResults(t, want, got)
			require.Zero(t, on["cpu"], "the other has room for all")
			require.EqualValues(t, 4, most[0].Load())
			require.EqualValues(t, room, most[1].Load())
			require.NotEmpty(t, notices)
			for _, n := range notices {
				require.Contains(t, n, "faulty:1: ")
				require.Contains(t, n, " at once from now on: ")
			}
		}
	}
	// That a place had no room for one says nothing of the next.
	var calls [2]atomic.Int64
	turns := faulty(2, func(number int, op string, n int) error {
		call := 0
		if op == "begin" && n == 1 {
			call = int(calls[number].Add(1))
		}
		if op == "begin" && (n > 1 || number == 0 && call == 1 || number == 1 && call == 2) {
			return device.ErrOutOfMemory
		}
		return nil
	})
	got, err := score(t, b.padim, engine.Options{Batch: 4, Places: turns}, b.Test[:2])
	require.NoError(t, err)
	require.Equal(t, map[string]int{"faulty:0": 1, "faulty:1": 1}, requireSameResults(t, want[:2], got))

	// Where no place has room for an image it fails, or all go to what takes over.
	full := faulty(2, func(_ int, op string, _ int) error {
		if op == "maps" {
			return device.ErrOutOfMemory
		}
		return nil
	})
	got, err = score(t, b.padim, engine.Options{Places: full}, b.Test)
	require.NoError(t, err)
	for _, r := range got {
		require.ErrorIs(t, r.Err, device.ErrOutOfMemory)
	}
	var notices []string
	got, err = score(t, b.padim, engine.Options{Places: full, Fallback: place.NewHost(nil), Notice: func(s string) { notices = append(notices, s) }}, b.Test)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"cpu": len(b.Test)}, requireSameResults(t, want[:len(b.Test)], got))
	require.Contains(t, notices[len(notices)-1], "faulty:0+faulty:1: the CPU takes over the remaining images: ")
}

// A place that the model does not fit is an error, or left out where somebody takes over.
func (b *bench) noModelThere(t *testing.T) {
	small := faulty(2, func(number int, op string, _ int) error {
		if number == 1 && op == "detector" {
			return device.ErrOutOfMemory
		}
		return nil
	})
	_, err := engine.New(b.padim, engine.Options{Places: small})
	require.ErrorIs(t, err, device.ErrOutOfMemory)
	require.ErrorContains(t, err, "faulty:1")
	var notices []string
	e, err := engine.New(b.padim, engine.Options{Places: small, Fallback: place.NewHost(nil), Notice: func(s string) { notices = append(notices, s) }})
	require.NoError(t, err)
	require.Equal(t, []string{"faulty:0 takes over: engine: faulty:1: out of device memory"}, notices)
	require.Equal(t, "faulty:0", e.Device().Device)
	require.NoError(t, e.Close())
}

// A fit learns in the first place and calibrates in all, and the model is that of one.
func (b *bench) fitsInSeveral(t *testing.T) {
	var mu sync.Mutex
	on := map[string]map[int]bool{}
	o := engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12}
	o.Places = faulty(2, func(number int, op string, _ int) error {
		mu.Lock()
		defer mu.Unlock()
		if on[op] == nil {
			on[op] = map[int]bool{}
		}
		on[op][number] = true
		if op == "kcentre" && number == 0 {
			return device.ErrOutOfMemory
		}
		return nil
	})
	var notices []string
	o.Notice = func(s string) { notices = append(notices, s) }
	m := fit(t, b.Dataset, o)
	require.Equal(t, "faulty:0+faulty:1", m.Info.Device.Device)
	require.Equal(t, "faulty:0+faulty:1", m.Info.Calibration.Source.Device.Device)
	require.Equal(t, []string{"faulty:0: faulty:1 chooses the coreset: out of device memory"}, notices)
	require.Len(t, on["begin"], 2)
	one := fit(t, b.Dataset, engine.FitOptions{Method: "patchcore", Seed: 1, Paintings: 12})
	m.Info.Calibration.Source = one.Info.Calibration.Source
	require.Equal(t, one.Info.Calibration, m.Info.Calibration)
}
