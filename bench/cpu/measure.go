package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf"
	"f2pad.example/engine/perf/stats"
)

// effort is how often the ways of a row are run, in turn: until runs and seconds are both reached, but no more than most
// times. Seconds are the row's.
type effort struct {
	runs, most int
	seconds    float64
}

var (
	thorough = effort{runs: 9, most: 50, seconds: 20}
	quick    = effort{runs: 2, most: 3, seconds: 2}
)

// pause lets the threads of what ran before come to rest: OpenMP's and ONNX Runtime's spin for a while.
const pause = 20 * time.Millisecond

// way is one way to do a row's work: checked, and ready to run.
type way struct {
	name string
	ours string // column that others are compared with: "ort", "go"; "" for a peer's and for what is no rival
	note string
	work float64 // operations of one run; 0: the row's
	peak bool    // the machine's ceiling, in place of the work
	// run returns the seconds of one run.
	run func() (float64, error)
}

// row is what was measured of one kind of work.
type row struct {
	Name    string   `json:"name"`
	Work    float64  `json:"operations,omitempty"` // of one run
	Entries []entry  `json:"entries"`
	Checked []string `json:"checked"`           // what was compared before, with the error
	Missing []string `json:"missing,omitempty"` // what could not be measured, and why
	Notes   []string `json:"notes,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// entry is what one way took.
type entry struct {
	Name    string       `json:"name"`
	Ours    string       `json:"ours,omitempty"`
	Note    string       `json:"note,omitempty"`
	Time    stats.Timing `json:"time"`
	Rate    float64      `json:"operations_per_s,omitempty"`
	Peak    bool         `json:"peak,omitempty"`          // the machine's ceiling; the time is that of one operation
	Share   float64      `json:"share_of_peak,omitempty"` // of the ceiling in the same round, the median
	Samples []float64    `json:"samples_s"`
	// Ratios are this way's times over those of ours in the same round, by our column.
	Ratios map[string]stats.Ratio `json:"ratios,omitempty"`
}

// race runs the ways in turn, each round in another order, and fills the row.
func (m *meter) race(r *row, ways ...way) error {
	if len(ways) == 0 {
		return nil
	}
	if r.Work > 0 && peak.Unit() != "" {
		ways = append(ways, way{name: "multiply-adds in registers, " + peak.Unit(), peak: true, run: m.peak})
	}
	racers := make([]perf.Way, len(ways))
	for i, w := range ways {
		racers[i] = perf.Way{Name: w.name, Run: w.run}
	}
	e := m.effort
	rule := perf.Rule{Warm: 1, Least: e.runs, Most: e.most, Seconds: e.seconds, Pause: pause}
	results, err := perf.Race(context.Background(), perf.Wall(), rule, racers...)
	if err != nil {
		return err
	}
	samples := make([][]float64, len(ways))
	for i, got := range results {
		samples[i] = got.Samples
	}
	r.fill(ways, samples)
	return nil
}

// fill sums the samples up: those of one round belong together.
func (r *row) fill(ways []way, samples [][]float64) {
	for i, w := range ways {
		e := entry{Name: w.name, Ours: w.ours, Note: w.note, Peak: w.peak, Time: stats.Of(samples[i]), Samples: samples[i]}
		work := r.Work
		if w.work > 0 {
			work = w.work
		}
		if w.peak {
			work = 1 // samples are seconds per operation
		}
		if work > 0 {
			e.Rate = work / e.Time.Median
		}
		for j, o := range ways {
			if o.peak && !w.peak && work > 0 {
				e.Share = work * stats.Ratios(samples[j], samples[i]).Median
			}
		}
		if !w.peak {
			e.Ratios = map[string]stats.Ratio{}
			for j, o := range ways {
				if o.ours != "" {
					e.Ratios[o.ours] = stats.Ratios(samples[i], samples[j])
				}
			}
		}
		r.Entries = append(r.Entries, e)
	}
}

// peak returns the seconds per operation of the machine's ceiling.
func (m *meter) peak() (float64, error) {
	start := time.Now()
	n := peak.Run(m.threads)
	return time.Since(start).Seconds() / n, nil
}

// timed makes a run of work that is timed from here.
func timed(work func() error) func() (float64, error) {
	return func() (float64, error) {
		start := time.Now()
		err := work()
		return time.Since(start).Seconds(), err
	}
}

// check compares what a way computed with what another did and notes the error in the row: ||got - want|| / ||want||, which
// NaN and Inf fail.
func (r *row) check(what string, got, want []float32, limit float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d values, want %d", what, len(got), len(want))
	}
	var d2, w2 float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		d2 += d * d
		w2 += float64(w) * float64(w)
	}
	e := math.Sqrt(d2 / w2)
	if !(e <= limit) {
		return fmt.Errorf("%s: relative error %.3g, at most %g is allowed: not timed", what, e, limit)
	}
	r.Checked = append(r.Checked, fmt.Sprintf("%s: %.1e (limit %g)", what, e, limit))
	return nil
}
