package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/place/placetest"
	"f2pad.example/engine/sight"

	"github.com/stretchr/testify/require"
)

// yard is where lanes are tested: work on a batch, named by its images, begins when begun says so and ends when it is let go.
type yard struct {
	begun   chan string
	let     map[string]chan error
	emitted chan string
}

func newYard(t *testing.T, most, images int) (*yard, *lanes) {
	y := &yard{begun: make(chan string, 10), let: map[string]chan error{}, emitted: make(chan string, 20)}
	for i := range 10 {
		for n := range 3 {
			y.let[named(i, n+1)] = make(chan error, 1)
		}
	}
	return y, &lanes{
		ctx: t.Context(), most: func() int { return most }, held: func() int { return most }, each: limits{images, 100 / most, batchValues}, all: limits{pixels: 100, values: batchValues},
		ended: make(chan struct{}, 1),
		work: func(b []decoded) error {
			var all []string
			for _, d := range b {
				all = append(all, d.res.Item.ID)
			}
			name := strings.Join(all, "")
			y.begun <- name
			return <-y.let[name]
		},
		emit: func(r *Result) error { y.emitted <- r.Item.ID; return nil },
	}
}

// named is the batch of n images from i on.
func named(i, n int) string {
	s := ""
	for k := range n {
		s += fmt.Sprint(i + k)
	}
	return s
}

// framed is image i with a frame of so many pixels.
func framed(i, pixels int) decoded {
	return decoded{
		res:   &Result{Item: dataset.Item{ID: fmt.Sprint(i)}, Image: &imageio.Image{Pix: nd.New(3, 1, 1)}},
		frame: &sight.Frame{Y: nd.New(3, 1, pixels)},
	}
}

func (y *yard) out() string {
	s := ""
	for len(y.emitted) > 0 {
		s += <-y.emitted
	}
	return s
}

func TestLanesWorkSideBySideAndEmitInOrder(t *testing.T) {
	y, l := newYard(t, 2, 2)
	for i := range 4 {
		require.NoError(t, l.add(framed(i, 1)))
	}
	require.ElementsMatch(t, []string{"01", "23"}, []string{<-y.begun, <-y.begun}, "neither has ended")
	require.NoError(t, l.add(framed(4, 1)))
	y.let["23"] <- nil
	added := make(chan error)
	go func() { added <- l.add(framed(5, 1)) }()
	require.Never(t, func() bool { return len(y.begun) > 0 }, 20*time.Millisecond, time.Millisecond)
	require.Empty(t, y.out())
	y.let["01"] <- nil // the third batch begins when the first has ended, though the second may have ended before
	require.NoError(t, <-added)
	require.Equal(t, "45", <-y.begun)
	out := y.out()
	y.let["45"] <- nil
	<-l.ready()
	require.NoError(t, l.add(framed(6, 1)))
	y.let["6"] <- nil
	require.NoError(t, l.finish())
	require.Equal(t, "0123456", out+y.out())
	require.Nil(t, l.ready())
	require.NoError(t, l.finish(), "of nothing")
}

// No more batches wait for one before them than are in work.
func TestLanesWaitForABatchThatTakesLong(t *testing.T) {
	y, l := newYard(t, 2, 1)
	l.held = func() int { return 4 }
	for i := range 4 {
		require.NoError(t, l.add(framed(i, 1)))
		y.let[fmt.Sprint(i+1)] <- nil
	}
	begun := map[string]bool{}
	for range 4 {
		begun[<-y.begun] = true
	}
	require.Equal(t, map[string]bool{"0": true, "1": true, "2": true, "3": true}, begun)
	added := make(chan error)
	go func() { added <- l.add(framed(4, 1)) }()
	require.Never(t, func() bool { return len(y.begun) > 0 }, 20*time.Millisecond, time.Millisecond)
	y.let["0"] <- nil
	require.NoError(t, <-added)
	require.Equal(t, "4", <-y.begun)
	require.NoError(t, l.finish())
	require.Equal(t, "01234", y.out())
}

// As many are in work as may be, however many may wait.
func TestLanesWorkOnNoMoreAtOnce(t *testing.T) {
	y, l := newYard(t, 2, 1)
	l.held = func() int { return 9 }
	require.NoError(t, l.add(framed(0, 1)))
	require.NoError(t, l.add(framed(1, 1)))
	require.ElementsMatch(t, []string{"0", "1"}, []string{<-y.begun, <-y.begun})
	added := make(chan error)
	go func() { added <- l.add(framed(2, 1)) }()
	require.Never(t, func() bool { return len(y.begun) > 0 }, 20*time.Millisecond, time.Millisecond)
	y.let["1"] <- nil
	require.NoError(t, <-added)
	require.Equal(t, "2", <-y.begun)
	require.Empty(t, y.out())
	y.let["0"] <- nil
	y.let["2"] <- nil
	require.NoError(t, l.finish())
	require.Equal(t, "012", y.out())
}

// In one place no more is lost when the program is killed than is in work; with several, as much as that waits besides.
func TestLanesBeginLittleBeyondWhatIsInWork(t *testing.T) {
	p := fixture(t)
	for _, c := range []struct{ places, most, held int }{{1, 2, 2}, {2, 4, 8}, {3, 6, 12}} {
		var all []place.Place
		for i := range c.places {
			all = append(all, &placetest.Faulty{Number: i})
		}
		e, err := New(p.model(t, "padim 128"), Options{Batch: 4, Places: all})
		require.NoError(t, err)
		l := e.lanes(t.Context(), nil)
		require.Equal(t, []int{c.most, c.held}, []int{l.most(), l.held()})
		if c.places > 1 {
			require.NoError(t, e.lose(e.at[0], device.ErrLost))
			require.Equal(t, []int{c.most - 2, 2 * (c.most - 2)}, []int{l.most(), l.held()}, "one is lost")
		}
		require.NoError(t, e.Close())
	}
}

// Fewer batches are in work when a place is lost.
func TestLanesAreThoseOfThePlacesThatAreLeft(t *testing.T) {
	y, l := newYard(t, 2, 1)
	require.NoError(t, l.add(framed(0, 1)))
	require.NoError(t, l.add(framed(1, 1)))
	l.most = func() int { return 1 }
	l.held = l.most
	added := make(chan error)
	go func() { added <- l.add(framed(2, 1)) }()
	y.let["1"] <- nil
	require.ElementsMatch(t, []string{"0", "1"}, []string{<-y.begun, <-y.begun})
	require.Never(t, func() bool { return len(y.begun) > 0 }, 20*time.Millisecond, time.Millisecond, "one is in work")
	y.let["0"] <- nil
	y.let["2"] <- nil
	require.NoError(t, <-added)
	require.NoError(t, l.finish())
	require.Equal(t, "012", y.out())
}

// What is in work never has more pixels than there is room for, but for one that is larger than that.
func TestLanesHaveRoomForSoManyPixels(t *testing.T) {
	y, l := newYard(t, 2, 2)
	require.NoError(t, l.add(framed(0, 60)))
	require.Equal(t, "0", <-y.begun, "half of the room closes a batch")
	added := make(chan error)
	go func() { added <- l.add(framed(1, 50)) }()
	y.let["0"] <- nil
	require.NoError(t, <-added)
	require.Equal(t, "0", y.out(), "both would have been too large together")
	require.Equal(t, "1", <-y.begun)
	require.NoError(t, l.add(framed(2, 10)))
	require.NoError(t, l.add(framed(3, 10)))
	require.Equal(t, "23", <-y.begun, "beside the other")
	y.let["1"] <- nil
	y.let["23"] <- nil
	require.NoError(t, l.add(framed(4, 1000)))
	require.Equal(t, "123", y.out())
	require.Equal(t, "4", <-y.begun)
	y.let["4"] <- nil
	require.NoError(t, l.finish())
}

func TestLanesEndWithAnError(t *testing.T) {
	boom := errors.New("boom")
	y, l := newYard(t, 2, 1)
	require.NoError(t, l.add(framed(0, 1)))
	require.NoError(t, l.add(framed(1, 1)))
	y.let["0"] <- boom
	require.ErrorIs(t, l.add(framed(2, 1)), boom)
	y.let["1"] <- nil
	require.ErrorIs(t, l.landAll(), boom)
	require.ErrorIs(t, l.finish(), boom)
	require.Empty(t, y.out(), "what follows the one that failed is not told")
	l.wait()
	require.Empty(t, l.flying)

	y, l = newYard(t, 1, 2)
	emitted := 0
	l.emit = func(*Result) error { emitted++; return boom }
	require.NoError(t, l.add(framed(0, 1)))
	require.NoError(t, l.add(framed(1, 1)))
	y.let["01"] <- nil
	require.ErrorIs(t, l.finish(), boom)
	require.Equal(t, 1, emitted)

	_, l = newYard(t, 1, 1)
	l.work = func([]decoded) error { panic("a bug") }
	require.NoError(t, l.add(framed(0, 1)))
	defer func() { require.Equal(t, "a bug", recover().(*par.Panic).Value) }()
	_ = l.finish()
}

func TestLanesBeginNothingWhenTheirContextHasEnded(t *testing.T) {
	y, l := newYard(t, 2, 1)
	ctx, cancel := context.WithCancel(t.Context())
	l.ctx = ctx
	emit := l.emit
	l.emit = func(r *Result) error { cancel(); return emit(r) }
	require.NoError(t, l.add(framed(0, 1)))
	require.NoError(t, l.add(framed(1, 1)))
	y.let["0"] <- nil
	require.ErrorIs(t, l.add(framed(2, 1)), context.Canceled)
	y.let["1"] <- nil
	require.NoError(t, l.landAll())
	require.Equal(t, "01", y.out(), "what had begun is finished")
}
