package main

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf/stats"

	"github.com/stretchr/testify/require"
)

// fake is a way whose runs take the given seconds, and which notes when it ran.
func fake(name, ours string, order *[]string, seconds ...float64) way {
	n := 0
	return way{name: name, ours: ours, run: func() (float64, error) {
		*order = append(*order, name)
		s := seconds[n%len(seconds)]
		n++
		return s, nil
	}}
}

func TestRace(t *testing.T) {
	m := &meter{effort: effort{runs: 3, most: 3}}
	var order []string
	r := &row{}
	require.NoError(t, m.race(r,
		fake("a", "ort", &order, 99, 1, 2, 4), // the first is the warm-up, which does not count
		fake("b", "go", &order, 99, 10, 20, 40),
		fake("c", "", &order, 99, 2, 4, 80)))
	require.Equal(t, "abc abc bca cab", strings.Join([]string{
		strings.Join(order[:3], ""), strings.Join(order[3:6], ""), strings.Join(order[6:9], ""), strings.Join(order[9:], ""),
	}, " "), "each round has another order")
	require.Len(t, r.Entries, 3)
	require.Equal(t, stats.Timing{Median: 2, P10: 1.2, P90: 3.6, Runs: 3}, r.Entries[0].Time)
	require.Equal(t, []float64{2, 4, 80}, r.Entries[2].Samples)
	require.Equal(t, 2.0, r.Entries[2].Ratios["ort"].Median, "of the ratios 2, 2, 20")
	require.Equal(t, 0.2, r.Entries[2].Ratios["go"].Median)
	require.Equal(t, 0.1, r.Entries[0].Ratios["go"].Median)
	require.Zero(t, r.Entries[0].Rate, "no work is counted")
}

func TestRaceAgainstThePeak(t *testing.T) {
	if peak.Unit() == "" {
		t.Skip("SKIPPED: this machine's peak is not measured")
	}
	m := &meter{options: options{threads: 1}, effort: effort{runs: 1, most: 1}}
	var order []string
	r := &row{Work: 1e9}
	require.NoError(t, m.race(r, fake("a", "ort", &order, 0.5)))
	require.Len(t, r.Entries, 2)
	require.Equal(t, 2e9, r.Entries[0].Rate)
	require.True(t, r.Entries[1].Peak)
	require.InEpsilon(t, r.Entries[0].Rate/r.Entries[1].Rate, r.Entries[0].Share, 1e-9)
	require.Nil(t, r.Entries[1].Ratios)
}

// A row of which a way fails, or takes no time, has no figures at all.
func TestRaceFails(t *testing.T) {
	m := &meter{effort: effort{runs: 1, most: 1}}
	var order []string
	good := fake("good", "ort", &order, 1)
	for what, bad := range map[string]way{
		"boom":       {name: "bad", run: func() (float64, error) { return 1, errors.New("boom") }},
		"took 0 s":   fake("bad", "", &order, 0),
		"took NaN s": fake("bad", "", &order, math.NaN()),
	} {
		r := &row{}
		require.ErrorContains(t, m.race(r, good, bad), "bad: "+what)
		require.Empty(t, r.Entries)
	}
	require.NoError(t, m.race(&row{}))
}

func TestCheck(t *testing.T) {
	want := []float32{3, 4}
	r := &row{}
	require.NoError(t, r.check("x", []float32{3, 4.05}, want, 0.011))
	require.Equal(t, []string{"x: 1.0e-02 (limit 0.011)"}, r.Checked)
	require.ErrorContains(t, r.check("x", []float32{3, 4.05}, want, 0.009), "relative error 0.01")
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	require.Error(t, r.check("x", []float32{3, nan}, want, 1e9))
	require.Error(t, r.check("x", []float32{3, inf}, want, 1e9))
	require.Error(t, r.check("x", want, []float32{3, nan}, 1e9))
	require.Error(t, r.check("x", []float32{0, 0}, []float32{0, 0}, 1e9), "nothing was computed")
	require.ErrorContains(t, r.check("x", []float32{3}, want, 1e9), "1 values, want 2")
	require.Len(t, r.Checked, 1)
}

func TestChosen(t *testing.T) {
	all := []job{{name: "network a"}, {name: "network b", slow: true}, {name: "other"}}
	names := func(js []job) (s []string) {
		for _, j := range js {
			s = append(s, j.name)
		}
		return s
	}
	for _, c := range []struct {
		args          []string
		todo, skipped []string
	}{
		{nil, []string{"network a", "network b", "other"}, nil},
		{[]string{"-quick"}, []string{"network a", "other"}, []string{"network b"}},
		{[]string{"-quick", "-run", "^network"}, []string{"network a"}, []string{"network b"}},
		{[]string{"-run", "b|other"}, []string{"network b", "other"}, nil},
	} {
		o, err := parse(c.args, &bytes.Buffer{})
		require.NoError(t, err)
		todo, skipped, err := o.chosen(all)
		require.NoError(t, err)
		require.Equal(t, c.todo, names(todo))
		require.Equal(t, c.skipped, names(skipped))
	}
	for _, args := range [][]string{{"-run", "none"}, {"-quick", "-run", "network b"}} {
		o, err := parse(args, &bytes.Buffer{})
		require.NoError(t, err)
		_, _, err = o.chosen(all)
		require.ErrorContains(t, err, "finds no row")
	}
	for _, args := range [][]string{{"-run", "("}, {"x"}, {"-threads", "0"}, {"-what"}} {
		var said bytes.Buffer
		_, err := parse(args, &said)
		require.Error(t, err)
		require.NotEmpty(t, said.String())
	}
}

// Names are what -run and readers go by.
func TestJobsHaveNamesOfTheirOwn(t *testing.T) {
	var names []string
	for _, j := range jobs() {
		names = append(names, j.name)
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), len(names))
	var listed bytes.Buffer
	require.NoError(t, bench(options{list: true}, &listed))
	require.Equal(t, strings.Join(names, "\n")+"\n", listed.String())
}
