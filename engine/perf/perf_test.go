package perf

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// clock is one that a test moves.
type clock struct{ now time.Duration }

func (c *clock) Now() time.Duration { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.now += max(d, 0)
	return ctx.Err()
}

// takes is a way that takes so many seconds in its runs, over and over.
func takes(c *clock, name string, order *[]string, seconds ...float64) Way {
	n := 0
	return Way{name, func() (float64, error) {
		s := seconds[n%len(seconds)]
		n++
		c.now += time.Duration(s * float64(time.Second))
		*order = append(*order, name)
		return s, nil
	}}
}

func TestRaceRunsInTurn(t *testing.T) {
	c, order := &clock{}, []string{}
	r, err := Race(context.Background(), c, Rule{Warm: 1, Least: 3, Most: 3}, takes(c, "a", &order, 1, 2, 3, 4), takes(c, "b", &order, 5))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "a", "b", "b", "a", "a", "b"}, order, "a warm-up, then another order each round")
	require.Equal(t, []Result{{Samples: []float64{2, 3, 4}}, {Samples: []float64{5, 5, 5}}}, r)
	r, err = Race(context.Background(), c, Rule{Least: 3})
	require.NoError(t, err)
	require.Empty(t, r)
}

func TestRaceEnds(t *testing.T) {
	for name, w := range map[string]struct {
		rule    Rule
		seconds []float64
		rounds  int
		settled bool
	}{
		"as soon as it is settled":           {Rule{Least: 3, Seconds: 100, Within: 0.02}, []float64{1, 1.01, 0.99}, 6, true},
		"not before the least":               {Rule{Least: 9, Seconds: 100, Within: 0.02}, []float64{1}, 9, true},
		"when the time is over":              {Rule{Least: 3, Seconds: 20, Within: 0.02}, []float64{1, 2}, 14, false},
		"with the least, when it was over":   {Rule{Least: 3, Seconds: 1, Within: 0.02}, []float64{1, 2}, 3, false},
		"when there are most":                {Rule{Least: 3, Most: 5, Seconds: 100, Within: 0.02}, []float64{1, 2}, 5, false},
		"by time alone where nothing counts": {Rule{Least: 3, Seconds: 7}, []float64{1}, 7, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, order := &clock{}, []string{}
			r, err := Race(context.Background(), c, w.rule, takes(c, "a", &order, w.seconds...))
			require.NoError(t, err)
			require.Len(t, r[0].Samples, w.rounds)
			require.Equal(t, w.settled, r[0].Settled)
		})
	}
	c, order := &clock{}, []string{}
	r, err := Race(context.Background(), c, Rule{Least: 1, Seconds: 40, Within: 0.02}, takes(c, "a", &order, 1), takes(c, "b", &order, 1, 2))
	require.NoError(t, err)
	require.Greater(t, len(r[0].Samples), 6, "all have to be settled")
	require.True(t, r[0].Settled)
	require.False(t, r[1].Settled)
}

func TestRaceFails(t *testing.T) {
	c := &clock{}
	for _, s := range []float64{0, -1} {
		_, err := Race(context.Background(), c, Rule{Least: 1}, Way{"bad", func() (float64, error) { return s, nil }})
		require.ErrorContains(t, err, fmt.Sprintf("bad: took %g s", s))
	}
	boom := errors.New("boom")
	_, err := Race(context.Background(), c, Rule{Warm: 1}, Way{"bad", func() (float64, error) { return 1, boom }})
	require.ErrorIs(t, err, boom)
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Race(ctx, c, Rule{Least: 9}, Way{"a", func() (float64, error) { cancel(); return 1, nil }})
	require.ErrorIs(t, err, context.Canceled)
}

// A Poisson process: gaps with the mean and the spread of an exponential distribution.
func TestArrivals(t *testing.T) {
	l := Load{Rate: 50, Count: 20000, Seed: 3}
	at := l.arrivals()
	require.Equal(t, at, l.arrivals(), "the same seed")
	l.Seed++
	require.NotEqual(t, at, l.arrivals())
	sum, squares, last := 0.0, 0.0, 0.0
	for _, a := range at {
		gap := a.Seconds() - last
		require.GreaterOrEqual(t, gap, 0.0)
		sum, squares, last = sum+gap, squares+gap*gap, a.Seconds()
	}
	n := float64(len(at))
	mean := sum / n
	require.InDelta(t, 1.0/50, mean, 4/50./141) // four standard errors of 20,000 gaps
	require.InDelta(t, 1, (squares/n-mean*mean)/(mean*mean), 0.08)
}

// Every answer comes when what was before it is done: the latencies are those of the queue, computed anew.
func TestServe(t *testing.T) {
	for _, batch := range []int{1, 3} {
		c := &clock{now: time.Hour}
		l := Load{Rate: 100, Count: 200, Seed: 1, Batch: batch, Bound: 30 * time.Millisecond, Late: -1}
		work := func(n int) time.Duration { return time.Duration(6+3*n) * time.Millisecond }
		var asked [][2]int
		got, err := Serve(context.Background(), c, l, func(from, n int) error {
			asked = append(asked, [2]int{from, n})
			c.now += work(n)
			return nil
		})
		require.NoError(t, err)
		at := l.arrivals()
		var want []float64
		late, free, batches := 0, time.Duration(0), 0
		for i := 0; i < l.Count; {
			begin := max(free, at[i])
			n := 0
			for i+n < l.Count && n < batch && at[i+n] <= begin {
				n++
			}
			require.Equal(t, [2]int{i, n}, asked[batches])
			free = begin + work(n)
			for range n {
				want = append(want, (free - at[i]).Seconds())
				if free-at[i] > l.Bound {
					late++
				}
				i++
			}
			batches++
		}
		compare.Require(t, "latencies", got.Latencies, want, compare.Tolerance{Abs: 1e-12})
		require.Equal(t, late, got.Late)
		require.Positive(t, late)
		require.Equal(t, batches, got.Batches)
		require.InDelta(t, free.Seconds(), got.Seconds, 1e-12)
		require.False(t, got.Ended)
	}
}

// A server that cannot keep up: the wait is counted, and the trial ends early.
func TestServeEnds(t *testing.T) {
	slow := func(c *clock) func(int, int) error {
		return func(from, n int) error {
			c.now += time.Duration(n) * 100 * time.Millisecond
			return nil
		}
	}
	l := Load{Rate: 50, Count: 500, Bound: time.Second, Late: 5}
	c := &clock{}
	got, err := Serve(context.Background(), c, l, slow(c))
	require.NoError(t, err)
	require.True(t, got.Ended)
	require.Equal(t, 6, got.Late)
	require.Less(t, len(got.Latencies), 40)

	l.Late, l.Limit = -1, 20*time.Second
	c = &clock{}
	got, err = Serve(context.Background(), c, l, slow(c))
	require.NoError(t, err)
	require.True(t, got.Ended)
	require.Len(t, got.Latencies, 200)
	require.Greater(t, got.Late, 450, "what has no answer is late")
	require.Greater(t, got.Latencies[199], 15.0)

	ctx, cancel := context.WithCancel(context.Background())
	_, err = Serve(ctx, c, l, func(int, int) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	boom := errors.New("boom")
	_, err = Serve(context.Background(), c, l, func(int, int) error { return boom })
	require.ErrorIs(t, err, boom)
}

func TestSearch(t *testing.T) {
	var asked []float64
	bears := func(most float64) func(float64, int) (bool, error) {
		asked = nil
		return func(rate float64, n int) (bool, error) {
			require.Len(t, asked, n)
			asked = append(asked, rate)
			return rate <= most, nil
		}
	}
	rate, trials, err := Search(64, 5, bears(20))
	require.NoError(t, err)
	require.Equal(t, 20.0, rate)
	require.Equal(t, []float64{64, 32, 16, 24, 20, 22, 20}, asked, "in the end the answer once more")
	require.Len(t, trials, 7)
	require.Equal(t, Trial{22, false}, trials[5])
	rate, _, err = Search(64, 5, bears(100))
	require.NoError(t, err)
	require.Equal(t, 64.0, rate)
	require.Equal(t, []float64{64, 64}, asked, "no more than that is asked for")
	rate, _, err = Search(64, 5, bears(1))
	require.NoError(t, err)
	require.Zero(t, rate)

	// One that was borne by chance is not the answer; what was borne before it is.
	lucky := true
	rate, _, err = Search(64, 3, func(rate float64, _ int) (bool, error) {
		if rate == 24 {
			defer func() { lucky = false }()
			return lucky, nil
		}
		return rate <= 16, nil
	})
	require.NoError(t, err)
	require.Equal(t, 16.0, rate)
	boom := errors.New("boom")
	_, _, err = Search(64, 3, func(float64, int) (bool, error) { return false, boom })
	require.ErrorIs(t, err, boom)
}

func TestWall(t *testing.T) {
	w := Wall()
	before := w.Now()
	require.NoError(t, w.Sleep(context.Background(), time.Millisecond))
	require.GreaterOrEqual(t, w.Now()-before, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, w.Sleep(ctx, time.Hour), context.Canceled)
	require.ErrorIs(t, w.Sleep(ctx, 0), context.Canceled)
}
