package engine

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"f2pad.example/engine/internal/par"

	"github.com/stretchr/testify/require"
)

func count(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// ordered is orderedWithin for values that take no memory to speak of.
func ordered[T, V any](ctx context.Context, items iter.Seq[T], ahead int, produce func(T) V, consume func(V) error) error {
	return orderedWithin(ctx, newRoom(0), items, ahead, func(it T, _ func(int64) error) V { return produce(it) }, consume, between{})
}

func TestOrderedKeepsTheOrder(t *testing.T) {
	var got []int
	var inWork, most atomic.Int64
	err := ordered(t.Context(), count(200), 3, func(i int) int {
		most.Store(max(most.Load(), inWork.Add(1)))
		time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
		inWork.Add(-1)
		return i * i
	}, func(v int) error {
		got = append(got, v)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, got, 200)
	for i, v := range got {
		require.Equal(t, i*i, v)
	}
	require.LessOrEqual(t, most.Load(), int64(5), "three wait, one is consumed, one is on its way")
}

func TestOrderedStops(t *testing.T) {
	boom := errors.New("boom")
	items := func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	}
	seen := 0
	require.ErrorIs(t, ordered(t.Context(), items, 2, func(i int) int { return i }, func(int) error {
		if seen++; seen == 5 {
			return boom
		}
		return nil
	}), boom)
	require.Equal(t, 5, seen)

	ctx, cancel := context.WithCancel(t.Context())
	block := make(chan struct{})
	defer close(block)
	stuck := func(yield func(int) bool) { // a source that never says it has ended, like an open standard input
		yield(0)
		<-block
	}
	require.ErrorIs(t, ordered(ctx, stuck, 2, func(i int) int { return i }, func(int) error {
		cancel()
		return nil
	}), context.Canceled)
}

// What waits for more items is told, once for every time that they run dry, after all that was there has been consumed.
func TestOrderedTellsWhenItemsRunDry(t *testing.T) {
	feed := make(chan int)
	items := func(yield func(int) bool) {
		for i := range feed {
			if !yield(i) {
				return
			}
		}
	}
	var got []int
	dry := make(chan int, 100)
	done := make(chan error)
	go func() {
		done <- orderedWithin(t.Context(), newRoom(0), items, 2, func(i int, _ func(int64) error) int { time.Sleep(2 * idleAfter); return i },
			func(v int) error { got = append(got, v); return nil },
			between{idle: func() error { dry <- len(got); return nil }})
	}()
	for want := range 3 {
		feed <- want
		require.Equal(t, want+1, <-dry, "slow work is waited for")
	}
	time.Sleep(3 * idleAfter)
	require.Empty(t, dry, "it is told once")
	close(feed)
	require.NoError(t, <-done)
	require.Equal(t, []int{0, 1, 2}, got)

	boom := errors.New("boom")
	feed = make(chan int, 1)
	feed <- 1
	defer close(feed)
	require.ErrorIs(t, orderedWithin(t.Context(), newRoom(0), items, 2, func(i int, _ func(int64) error) int { return i }, func(int) error { return nil },
		between{idle: func() error { return boom }}), boom)
}

// What a consumer began is done when it is ready, whether the next value is late or there is none.
func TestOrderedTellsWhatIsReady(t *testing.T) {
	begun, landed := make(chan struct{}), []chan struct{}{make(chan struct{}), make(chan struct{})}
	var ready chan struct{}
	items := func(yield func(int) bool) {
		_ = yield(0) && yield(1)
		<-landed[1]
	}
	var got []int
	boom := errors.New("boom")
	err := orderedWithin(t.Context(), newRoom(0), items, 2, func(i int, _ func(int64) error) int {
		if i == 1 {
			close(begun)
			<-landed[0]
		}
		return i
	}, func(i int) error {
		got = append(got, i)
		if ready = begun; i == 1 {
			ready = make(chan struct{})
			close(ready)
		}
		return nil
	}, between{
		ready: func() <-chan struct{} { return ready },
		landed: func() error {
			ready = nil
			close(landed[len(got)-1])
			if len(got) == 2 {
				return boom
			}
			return nil
		},
	})
	require.ErrorIs(t, err, boom)
	require.Equal(t, []int{0, 1}, got)
}

func TestOrderedPanicsWhereItsCallerSeesIt(t *testing.T) {
	require.PanicsWithError(t, "boom\n", func() {
		defer func() {
			p := recover()
			require.IsType(t, &par.Panic{}, p)
			panic(&par.Panic{Value: p.(*par.Panic).Value})
		}()
		ordered(t.Context(), count(9), 3, func(i int) int {
			if i == 4 {
				panic("boom")
			}
			return i
		}, func(int) error { return nil })
	})
}
