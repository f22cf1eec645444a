// Package perf measures how fast work is: ways to do it, in turn, until their times are known well enough (Race), and a server
// under arrivals at random (Serve). Its packages stats, machine and table sum samples up, say what they were taken on, and write
// them down.
package perf

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"f2pad.example/engine/perf/stats"
)

// Way is one way to do some work. Run does it once and returns the seconds that count.
type Way struct {
	Name string
	Run  func() (float64, error)
}

// Rule says when measuring ends. No further round begins when there are Most; when there are Least and the Seconds are over; or
// when there are Least and every way is settled: the 95 % interval of its median reaches no further from it than a share Within.
type Rule struct {
	Warm    int     // runs of each way before the first round, which do not count
	Least   int     // rounds
	Most    int     // rounds; 0: any number
	Seconds float64 // of all rounds together
	Within  float64 // 0: nothing is settled
	// Pause is a rest before every run: threads of what ran before may spin for a while.
	Pause time.Duration
}

// Result is what Race measured of a way.
type Result struct {
	Samples []float64 // seconds, one for each round: those of one round belong together
	Settled bool
}

// Race runs the ways in turn, each round in another order: all of them see the same machine, and none finds the caches as it left
// them. An error names the way; a time that is not above 0 and finite is one. When ctx ends, it returns ctx's error.
func Race(ctx context.Context, clock Clock, rule Rule, ways ...Way) ([]Result, error) {
	all := make([]Result, len(ways))
	if len(ways) == 0 {
		return all, nil
	}
	run := func(w Way) (float64, error) {
		if err := clock.Sleep(ctx, rule.Pause); err != nil {
			return 0, err
		}
		s, err := w.Run()
		if err == nil && !(s > 0 && !math.IsInf(s, 0)) {
			err = fmt.Errorf("took %g s", s)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", w.Name, err)
		}
		return s, nil
	}
	for range rule.Warm {
		for _, w := range ways {
			if _, err := run(w); err != nil {
				return nil, err
			}
		}
	}
	for n, start := 0, clock.Now(); !rule.over(n, clock.Now()-start, all); n++ {
		for k := range ways {
			i := (k + n) % len(ways)
			s, err := run(ways[i])
			if err != nil {
				return nil, err
			}
			all[i].Samples = append(all[i].Samples, s)
		}
		for i := range all {
			all[i].Settled = rule.settled(all[i].Samples)
		}
	}
	return all, nil
}

// over reports whether n rounds are enough.
func (r Rule) over(n int, spent time.Duration, all []Result) bool {
	switch {
	case r.Most > 0 && n >= r.Most:
		return true
	case n < r.Least:
		return false
	case spent.Seconds() >= r.Seconds:
		return true
	}
	return !slices.ContainsFunc(all, func(w Result) bool { return !w.Settled })
}

func (r Rule) settled(samples []float64) bool {
	spread, known := stats.Spread(samples)
	return r.Within > 0 && known && spread <= r.Within
}
