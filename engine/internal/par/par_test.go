package par

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForVisitsEachIndexOnce(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 1000} {
		seen := make([]int, n)
		For(n, func(i int) { seen[i]++ })
		for i, s := range seen {
			require.Equal(t, 1, s, "index %d of %d", i, n)
		}
	}
}

func TestRangeCovers(t *testing.T) {
	for _, c := range [][2]int{{0, 4}, {1, 4}, {4, 4}, {9, 4}, {9, 0}} {
		seen := make([]int, c[0])
		Range(c[0], c[1], func(lo, hi int) {
			for i := lo; i < hi; i++ {
				seen[i]++
			}
		})
		for _, s := range seen {
			require.Equal(t, 1, s, "%v", c)
		}
	}
}

func TestErrReturnsTheLowestIndex(t *testing.T) {
	boom := errors.New("boom")
	err := Err(100, func(i int) error {
		if i%7 == 3 {
			return fmt.Errorf("%d: %w", i, boom)
		}
		return nil
	})
	require.ErrorIs(t, err, boom)
	require.EqualError(t, err, "3: boom")
	require.NoError(t, Err(3, func(int) error { return nil }))
}

func TestWorkersOwnTheirNumber(t *testing.T) {
	const workers, n = 3, 1000
	var busy [workers]atomic.Bool
	seen := make([]int, n)
	Workers(workers, n, func(w, i int) {
		if !busy[w].CompareAndSwap(false, true) {
			t.Errorf("two bodies at once on worker %d", w)
		}
		seen[i]++
		runtime.Gosched()
		busy[w].Store(false)
	})
	for i, s := range seen {
		require.Equal(t, 1, s, "index %d", i)
	}
}

func TestPanicIsTheCallers(t *testing.T) {
	for range 20 {
		var got any
		func() {
			defer func() { got = recover() }()
			Workers(4, 100, func(_, i int) {
				if i == 50 {
					panic("boom")
				}
			})
		}()
		require.Contains(t, fmt.Sprint(got), "boom")
		var n atomic.Int64
		Workers(4, 100, func(_, i int) { n.Add(1) })
		require.EqualValues(t, 100, n.Load(), "the next loop is whole")
	}
}
