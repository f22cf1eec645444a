package engine

import (
	"errors"
	"testing"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/place/placetest"
	"f2pad.example/engine/sight"

	"github.com/stretchr/testify/require"
)

// A batch goes to the place that has the least to do, of which what has ended is no part.
func TestTakeFromThePlaceWithTheLeastToDo(t *testing.T) {
	var all []place.Place
	for i := range 2 {
		all = append(all, &placetest.Faulty{Number: i})
	}
	e, err := New(fixture(t).model(t, "padim 128"), Options{Batch: 8, Places: all})
	require.NoError(t, err)
	defer e.Close()
	frames := make([]*sight.Frame, 2)
	for i := range frames {
		frames[i] = &sight.Frame{Y: nd.New(3, 8, 8)}
	}
	take := func() *compute {
		c, part := e.take(frames, nil)
		require.Len(t, part, len(frames))
		return c
	}
	a, b := e.at[0], e.at[1]
	require.Equal(t, []*compute{a, b, a, b}, []*compute{take(), take(), take(), take()})
	e.give(a, frames)
	require.Equal(t, []*compute{a, a, b}, []*compute{take(), take(), take()})
	rest, _ := e.take(frames, []*compute{a})
	require.Same(t, b, rest, "the other is full")
}

// Several batches may find that there is no room: the least that one has had counts.
func TestHalveNeverRaises(t *testing.T) {
	e, err := New(fixture(t).model(t, "padim 128"), Options{Batch: 8})
	require.NoError(t, err)
	defer e.Close()
	c, why := e.at[0], errors.New("no room")
	for _, most := range []int{6, 3, 4} {
		e.halve(c, most, why)
	}
	require.Equal(t, 3, c.most)
}
