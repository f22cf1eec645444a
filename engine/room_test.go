package engine

import (
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"

	"github.com/stretchr/testify/require"
)

// ample is a reserve that has room for everything.
func ample(int64) error { return nil }

// TestRoomIsNeverExceeded: whatever the sizes, no more is out than there is; what is larger than all of it is alone, in its turn.
func TestRoomIsNeverExceeded(t *testing.T) {
	const total = 100
	sizes := make([]int64, 300)
	for i := range sizes {
		sizes[i] = 1 + rand.Int64N(59) // of nothing there is always room
		if i%20 == 7 {
			sizes[i] = 1000
		}
	}
	r := newRoom(total)
	var out, alone atomic.Int64
	var order []int
	var mu sync.Mutex
	seen := 0
	err := orderedWithin(t.Context(), r, count(len(sizes)), 4, func(i int, reserve func(int64) error) int {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		if i%13 == 5 {
			return i // needs nothing
		}
		if err := reserve(sizes[i]); err != nil {
			t.Error(err)
		}
		if sizes[i] > total/2 { // two of them are not out at once: the later one notes itself later
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
		}
		if n := out.Add(sizes[i]); sizes[i] > total {
			alone.Add(1)
			if n != sizes[i] {
				t.Errorf("%d of %d bytes are another's", n-sizes[i], n)
			}
		} else if n > total {
			t.Errorf("%d bytes are out, of %d", n, total)
		}
		return i
	}, func(i int) error {
		require.Equal(t, seen, i)
		seen++
		if i%13 != 5 {
			out.Add(-sizes[i])
		}
		return nil
	}, between{})
	require.NoError(t, err)
	require.Equal(t, len(sizes), seen)
	require.Greater(t, len(order), 15)
	require.True(t, slices.IsSorted(order), "room is given in the items' order")
	require.Positive(t, alone.Load())
	require.EqualValues(t, total, r.free)
}

// TestRoomIsNotWaitedForInVain: who waits when the work ends is told so.
func TestRoomIsNotWaitedForInVain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	told, second := make(chan error, 2), make(chan struct{})
	err := orderedWithin(ctx, newRoom(10), count(3), 3, func(i int, reserve func(int64) error) int {
		if i == 1 {
			close(second)
		}
		err := reserve(10)
		if i > 0 {
			told <- err
		} else {
			require.NoError(t, err)
		}
		return i
	}, func(int) error {
		<-second
		time.Sleep(10 * time.Millisecond) // most likely it waits for the first's
		cancel()
		return errors.New("over")
	}, between{})
	require.ErrorContains(t, err, "over")
	for range 1 {
		select {
		case err := <-told:
			require.True(t, err == nil || errors.Is(err, errStopped))
		case <-time.After(2 * time.Minute):
			t.Fatal("it still waits")
		}
	}

	r := newRoom(10)
	_, err = r.take(7, nil)
	require.NoError(t, err)
	stop := make(chan struct{})
	close(stop)
	_, err = r.take(4, stop)
	require.ErrorIs(t, err, errStopped)
}

// TestLargeImagesTakeTurns: however many there are, the process holds one of them, not as many as there are cores or fit a batch.
func TestLargeImagesTakeTurns(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: that large images take turns is not tested with -short")
	}
	p := fixture(t)
	dir := t.TempDir()
	img := image.NewPaletted(image.Rect(0, 0, 6600, 6600), color.Palette{color.RGBA{10, 20, 30, 255}, color.White})
	path := filepath.Join(dir, "large.png")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, png.Encode(f, img))
	require.NoError(t, f.Close())
	var items []dataset.Item
	for range 4 {
		items = append(items, dataset.Item{Path: path})
	}
	e, err := New(p.model(t, "padim 128"), Options{})
	require.NoError(t, err)
	defer e.Close()

	// One takes 500 MiB, and 540 while it is decoded, more than half of what is shared: what is held is one of each at most.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // more cores share more
	var most atomic.Uint64
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapAlloc))
			}
		}
	})
	n := 0
	require.NoError(t, e.Score(t.Context(), slices.Values(items), func(r *Result) error {
		require.NoError(t, r.Err)
		require.False(t, r.Image.IsGrey())
		n++
		return nil
	}))
	close(done)
	watch.Wait()
	require.Equal(t, len(items), n)
	t.Logf("%d MiB at most", most.Load()>>20)
	require.Less(t, most.Load(), uint64(1400<<20))
}

func TestReservingRefusesAFrameBeforeTheImageIsDecoded(t *testing.T) {
	asked := int64(0)
	reserve := reserving(func(n int64) error { asked = n; return nil }, Size{}, 4, 32)
	require.NoError(t, reserve(imageio.Need{Height: 40, Width: 50, Bytes: 1000}))
	require.EqualValues(t, 1000+24*40*52, asked)
	asked = 0
	require.ErrorIs(t, reserve(imageio.Need{Height: 1 << 24, Width: 8, Bytes: 1}), imageio.ErrTooLarge)
	require.Zero(t, asked)
}
