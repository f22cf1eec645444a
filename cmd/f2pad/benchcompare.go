package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine/bench"
	tables "f2pad.example/engine/perf/table"

	"github.com/spf13/cobra"
)

// errSlower ends a comparison in which rows have become slower.
var errSlower = errors.New("slower")

func (p *program) benchCompare() *cobra.Command {
	threshold := 5.0
	cmd := &cobra.Command{
		Use:   "compare OLD NEW",
		Short: "Tell what has changed between two files of bench",
		Long: `Tell, row by row, how many times as long NEW takes as OLD. Both are files of 'f2pad bench --out', or what
'f2pad bench --json' wrote to its standard output.

A row is slower if it takes longer by more than --threshold percent and the 95 % interval of the ratio lies above 1. Streamed images
are compared with themselves where both have the same ones; of other rows the medians of the rounds are. What else differs between
the two, processor, model or what the machine could do at all, is said, and is the reader's to judge: compare runs of one machine.

The exit code is 4 if a row is slower, or has no result in NEW any more, 1 if a file cannot be read or no row is in both.`,
		Example: `  f2pad bench --out old.json
  f2pad bench --out new.json
  f2pad bench compare old.json new.json --threshold 5`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: positions(anyFile, anyFile),
		RunE: p.verb(func(_ context.Context, args []string) error {
			before, err := bench.Read(args[0])
			if err != nil {
				return err
			}
			after, err := bench.Read(args[1])
			if err != nil {
				return err
			}
			c := bench.Compare(before, after, threshold/100)
			if err := p.ui.Show(comparison{c}); err != nil {
				return err
			}
			switch {
			case len(c.Lost) > 0:
				return fmt.Errorf("%w: %s no result any more, %s more than %g %% longer", errSlower, have(len(c.Lost), "row"), take(c.Slower, "row"), threshold)
			case c.Slower > 0:
				return fmt.Errorf("%w: %s more than %g %% longer", errSlower, take(c.Slower, "row"), threshold)
			case len(c.Rows) == 0:
				return fmt.Errorf("%s and %s have no row in common that was measured", args[0], args[1])
			}
			return nil
		}),
	}
	cmd.Flags().Var(positive{&threshold}, "threshold", "percent that a row may take longer")
	return cmd
}

// take is "1 row takes", "2 rows take", and have "1 row has", "2 rows have".
func take(n int, what string) string { return counted(n, what) + verb(n, " takes", " take") }
func have(n int, what string) string { return counted(n, what) + verb(n, " has", " have") }

func verb(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// comparison is the result of bench compare.
type comparison struct{ *bench.Comparison }

func (comparison) MessageType() string { return "bench_comparison" }

func (c comparison) Text(w io.Writer) error {
	var b strings.Builder
	for _, d := range c.Differences {
		ui.Fprintf(&b, "differs: %s\n", d)
	}
	t := &tables.Table{Left: 1, Head: []string{"row", "old ms/image", "new ms/image", "ratio", "95 % interval", "pairs", ""}}
	for _, r := range c.Rows {
		interval, pairs, verdict := "", "", ""
		if r.Interval != nil {
			interval = fmt.Sprintf("%.3f to %.3f", r.Interval.Low, r.Interval.High)
		}
		if r.Pairs > 0 {
			pairs = fmt.Sprint(r.Pairs)
		}
		switch {
		case r.Slower:
			verdict = "SLOWER"
		case r.Faster:
			verdict = "faster"
		}
		t.Add(r.Row, tables.MS(r.Old), tables.MS(r.New), fmt.Sprintf("%.3f", r.Ratio), interval, pairs, verdict)
	}
	if len(t.Rows) > 0 {
		full(t).Text(&b, "")
	}
	for _, side := range []struct {
		where string
		rows  []string
	}{{"without a result any more", c.Lost}, {"only in the old one", c.Old}, {"only in the new one", c.New}} {
		for _, row := range side.rows {
			ui.Fprintf(&b, "%s: %s\n", side.where, row)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
