package ui

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a meter with a clock that the test moves.
func clock() (*Meter, func(time.Duration)) {
	now := time.Unix(1000, 0)
	m := &Meter{Every: 10 * time.Second, Now: func() time.Time { return now }}
	return m, func(d time.Duration) { now = now.Add(d) }
}

func TestMeterThinsOutAndMeasures(t *testing.T) {
	m, pass := clock()
	require.Empty(t, m.Update(Progress{"score", 1, 101}), "nothing is known yet")
	pass(5 * time.Second)
	require.Empty(t, m.Update(Progress{"score", 11, 101}), "too early")
	pass(5 * time.Second)
	require.Equal(t, []Reading{{
		Progress: Progress{"score", 21, 101}, Elapsed: 10 * time.Second, Rate: 2, Remaining: 40 * time.Second,
	}}, m.Update(Progress{"score", 21, 101}), "20 images in 10 s, 80 to go")
	pass(9 * time.Second)
	require.Empty(t, m.Update(Progress{"score", 50, 101}), "the interval starts anew")
}

func TestMeterReportsTheEndOfAPhaseOnce(t *testing.T) {
	m, pass := clock()
	m.Update(Progress{"score", 1, 2})
	pass(time.Second)
	due := m.Update(Progress{"score", 2, 2})
	require.Len(t, due, 1)
	require.Zero(t, due[0].Remaining)
	require.Empty(t, m.Flush())
}

func TestMeterEndsAPhaseWhenTheNextBegins(t *testing.T) {
	for name, next := range map[string]Progress{"other phase": {"b", 1, 9}, "same phase over again": {"a", 1, 9}} {
		m, pass := clock()
		m.Update(Progress{"a", 1, 9})
		pass(time.Second)
		m.Update(Progress{"a", 3, 9})
		pass(time.Second)
		require.Equal(t, []Reading{{Progress: Progress{"a", 3, 9}, Elapsed: 2 * time.Second, Rate: 1, Remaining: 6 * time.Second}},
			m.Update(next), name)
		pass(4 * time.Second)
		due := m.Flush()
		require.Equal(t, next, due[0].Progress, name)
		require.Equal(t, 5*time.Second, due[0].Elapsed, "%s: since the last step of the phase before", name)
		require.Equal(t, 1./5, due[0].Rate, name)
	}
}

// A batch of images is done all at once: its rate is not that of its last steps alone.
func TestMeterCountsTheFirstBatch(t *testing.T) {
	m, pass := clock()
	m.Update(Progress{"score", 0, 8})
	pass(4 * time.Second)
	for done := 1; done < 8; done++ {
		require.Empty(t, m.Update(Progress{"score", done, 8}))
	}
	require.Equal(t, []Reading{{Progress: Progress{"score", 8, 8}, Elapsed: 4 * time.Second, Rate: 2}}, m.Update(Progress{"score", 8, 8}))
}

func TestMeterWithoutTotal(t *testing.T) {
	m, pass := clock()
	m.Update(Progress{"list", 1, 0})
	pass(10 * time.Second)
	require.Equal(t, []Reading{{Progress: Progress{"list", 6, 0}, Elapsed: 10 * time.Second, Rate: 0.5}},
		m.Update(Progress{"list", 6, 0}))
}
