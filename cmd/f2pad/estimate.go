package main

import (
	"context"
	"fmt"
	"io"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
)

// What a fit must be for its estimate to be said before it: to look at a few images costs it little then, and it is worth knowing.
const (
	longImages  = 100
	longSeconds = 60
)

// estimate is what a fit will take.
type estimate struct{ engine.Estimate }

func (estimate) MessageType() string { return "estimate" }

func (e estimate) Text(w io.Writer) error {
	bank := ""
	if e.Bank > 0 {
		bank = fmt.Sprintf(", a bank of %d out of %d patches", e.Bank, e.Patches)
	}
	_, err := ui.Fprintf(w, "estimate: %s of %dx%d px to the network, %d to learn from and %d held out%s: some %s and %s of memory\n",
		counted(e.Images, "image"), e.Width, e.Height, e.Train, e.HeldOut, bank, roughly(e.Seconds), size(e.Bytes))
	return err
}

// roughly words a duration.
func roughly(seconds float64) string {
	switch {
	case seconds >= 90*60:
		return fmt.Sprintf("%.1f h", seconds/3600)
	case seconds >= 90:
		return fmt.Sprintf("%.0f min", seconds/60)
	}
	return fmt.Sprintf("%.0f s", max(1, seconds))
}

// dryRun says what a fit will take, and does not do it.
func (p *program) dryRun(ctx context.Context, items []dataset.Item, o engine.FitOptions) error {
	e, err := engine.Plan(ctx, items, o)
	if err != nil {
		return err
	}
	return p.ui.Show(estimate{*e})
}

// foretell says what a fit will take, if that is long. What keeps it from saying so, the fit meets itself, and may go on without: few of
// its images may be as those that were looked at.
func (p *program) foretell(ctx context.Context, items []dataset.Item, o engine.FitOptions) error {
	if len(items) < longImages {
		return nil
	}
	e, err := engine.Plan(ctx, items, o)
	if err != nil {
		return ctx.Err()
	}
	if e.Seconds >= longSeconds {
		p.ui.Note(estimate{*e})
	}
	return nil
}
