package serve

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"f2pad.example/engine/dataset"

	"github.com/stretchr/testify/require"
)

func jobOf(name string) *job { return newJob(dataset.Item{Path: name}) }

func namesOf(batch []*job) string {
	var names []string
	for _, j := range batch {
		names = append(names, j.item.Path)
	}
	return strings.Join(names, " ")
}

// taker takes batch after batch, and tells which, and when.
func taker(q *queue, most int, wait time.Duration) (took func() string) {
	type taken struct {
		names string
		after time.Duration
	}
	all := make(chan taken)
	began := time.Now()
	go func() {
		defer close(all)
		for batch := q.take(most, wait); batch != nil; batch = q.take(most, wait) {
			all <- taken{namesOf(batch), time.Since(began)}
		}
	}()
	return func() string {
		synctest.Wait()
		select {
		case one, ok := <-all:
			if !ok {
				return "ended"
			}
			return one.names + " " + one.after.String()
		default:
			return "nothing"
		}
	}
}

func enter(t *testing.T, q *queue) *place {
	t.Helper()
	p, err := q.enter()
	require.NoError(t, err)
	return p
}

func TestWhoComesAloneIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(9, nil)
		took := taker(q, 8, time.Hour)
		require.Equal(t, "nothing", took())
		enter(t, q).put(jobOf("a"))
		require.Equal(t, "a 0s", took())
		q.stop()
		require.Equal(t, "ended", took())
	})
}

func TestWhoIsBeingReceivedIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(9, nil)
		took := taker(q, 8, time.Second)
		a, b, c := enter(t, q), enter(t, q), enter(t, q)
		a.put(jobOf("a"))
		require.Equal(t, "nothing", took(), "two more are coming")
		time.Sleep(300 * time.Millisecond)
		b.put(jobOf("b"))
		require.Equal(t, "nothing", took(), "one more is coming")
		c.leave()
		require.Equal(t, "a b 300ms", took(), "nobody is, any more")

		a, b = enter(t, q), enter(t, q)
		a.put(jobOf("a"))
		time.Sleep(999 * time.Millisecond)
		require.Equal(t, "nothing", took())
		time.Sleep(time.Millisecond)
		require.Equal(t, "a 1.3s", took(), "it has waited a second for one who does not come")
		b.put(jobOf("b"))
		require.Equal(t, "b 1.3s", took())
		q.stop()
		took()
	})
}

// The time is that of whoever waits longest, also when the one before is gone.
func TestTheTimeIsThatOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(9, nil)
		took := taker(q, 8, time.Second)
		a, b, slow := enter(t, q), enter(t, q), enter(t, q)
		a.put(jobOf("a"))
		synctest.Wait()
		time.Sleep(700 * time.Millisecond)
		b.put(jobOf("b"))
		synctest.Wait()
		a.leave()
		time.Sleep(999 * time.Millisecond)
		require.Equal(t, "nothing", took())
		time.Sleep(time.Millisecond)
		require.Equal(t, "b 1.7s", took())
		slow.leave()
		q.stop()
		require.Equal(t, "ended", took())
	})
}

func TestImagesGatherWhileABatchIsInWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(9, nil)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			enter(t, q).put(jobOf(name))
		}
		slow := enter(t, q)
		took := taker(q, 2, time.Hour)
		require.Equal(t, "a b 0s", took(), "a full batch waits for nobody")
		require.Equal(t, "c d 0s", took())
		require.Equal(t, "nothing", took())
		slow.leave()
		require.Equal(t, "e 0s", took())
		q.stop()
		require.Equal(t, "ended", took())
	})
}

func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []int
		q := newQueue(2, func(n int) { told = append(told, n) })
		a, b := enter(t, q), enter(t, q)
		_, err := q.enter()
		require.ErrorIs(t, err, errFull)
		a.put(jobOf("a"))
		b.put(jobOf("b"))
		_, err = q.enter()
		require.ErrorIs(t, err, errFull, "who waits has a place")
		a.leave()
		a.leave()
		c := enter(t, q)
		_, err = q.enter()
		require.ErrorIs(t, err, errFull, "a place is given back once")
		took := taker(q, 8, time.Hour)
		c.put(jobOf("c"))
		require.Equal(t, "b c 0s", took(), "who left is not scored")
		_, err = q.enter()
		require.ErrorIs(t, err, errFull, "who is being scored has a place")
		b.leave()
		last := enter(t, q)
		q.stop()
		_, err = q.enter()
		require.ErrorIs(t, err, errStopping)
		require.Equal(t, "nothing", took(), "who was accepted is still coming")
		last.put(jobOf("last"))
		require.Equal(t, "last 0s", took())
		require.Equal(t, "ended", took())
		empty := make(chan struct{})
		go func() { q.empty(); close(empty) }()
		synctest.Wait()
		last.leave()
		synctest.Wait()
		select {
		case <-empty:
			t.Fatal("one is left")
		default:
		}
		c.leave()
		<-empty
		require.Equal(t, []int{1, 2, 1, 2, 1, 2, 1, 0}, told)
	})
}
