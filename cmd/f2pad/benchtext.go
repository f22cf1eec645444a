package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/bench"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf/machine"
	tables "f2pad.example/engine/perf/table"
)

// Text writes what was measured: on what, the rows, stages, and cold starts.
func (m measured) Text(w io.Writer) error {
	r := m.Report
	var b strings.Builder
	model := "fitted for this run"
	if r.Model.Path != "" {
		model = r.Model.Path
	}
	ui.Fprintf(&b, "f2pad %s, %s\n", r.Program, r.Date.Format("2 January 2006 15:04 MST"))
	side := r.Model.Size.String()
	if !r.Model.Size.Native() {
		side += " px"
	}
	ui.Fprintf(&b, "model      %s on %s, %s; %s, sha256 %.12s\n", r.Model.Method, r.Model.Backbone, side, model, r.Model.SHA256)
	for _, e := range r.Executors {
		ui.Fprintf(&b, "network    %s %s on %s, %s\n", e.Executor, e.Version, e.Device, e.Precision)
	}
	ui.Fprintf(&b, "processor  %s, %d cores, %d used by Go\n", r.Machine.Processor, r.Machine.Cores, r.Machine.MaxProcs)
	ui.Fprintf(&b, "           load %s before, %s after; clocks %s before, %s after\n",
		known(r.Machine.LoadBefore), known(r.Machine.LoadAfter), clocks(r.Machine.ClocksBefore), clocks(r.Machine.ClocksAfter))
	ui.Fprintf(&b, "ceilings   %s before; %s after\n", ceiling(r.Rates.Before), ceiling(r.Rates.After))
	said := map[string]bool{}
	for _, d := range r.Devices {
		if d.Name == "" {
			continue
		}
		for gpu := range strings.SplitSeq(d.Device, "+") {
			if !said[gpu] {
				ui.Fprintf(&b, "%-10s %s, driver %s; %s before; %s after\n", gpu, d.Name, d.Driver,
					known(r.Machine.GPUsBefore[gpu]), known(r.Machine.GPUsAfter[gpu]))
			}
			said[gpu] = true
		}
	}
	ui.Fprintf(&b, "images     %d of %dx%d px, %s%s\n", r.Images.Count, r.Images.Width, r.Images.Height, r.Images.From, withDefect(r.Images.Defective))
	if r.Work != nil {
		ui.Fprintf(&b, "work       %.3f GFLOP of the network for an image\n", float64(r.Work.Flops)/1e9)
	}
	if len(r.Rows) > 0 {
		ui.Fprintf(&b, "\n")
		rowTable(r).Text(&b, "")
		for _, line := range remarks(r) {
			ui.Fprintf(&b, "%s\n", line)
		}
		if t := stageTable(r); len(t.Rows) > 0 {
			ui.Fprintf(&b, "\nstages, ms for an image; decode and frame run beside the others, what is set in is a part of the one before\n")
			t.Text(&b, "")
		}
		if t := busTable(r); len(t.Rows) > 0 {
			ui.Fprintf(&b, "\nbetween host and device, for an image; times of calls beside each other are added up\n")
			t.Text(&b, "")
		}
	}
	if t := coldTable(r); len(t.Rows) > 0 {
		ui.Fprintf(&b, "\nfrom the start of a process, medians in ms; files are in the system's cache\n")
		t.Text(&b, "")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func clocks(c *machine.Clocks) string {
	switch {
	case c == nil:
		return "unknown"
	case c.Least == c.Most:
		return fmt.Sprintf("%.0f MHz (%s)", c.Most, c.Source)
	}
	return fmt.Sprintf("%.0f to %.0f MHz (%s)", c.Least, c.Most, c.Source)
}

func ceiling(r peak.Rates) string {
	flops := "multiply-adds not measured here"
	if r.Flops > 0 {
		flops = fmt.Sprintf("%.0f GFLOP/s of %s multiply-adds", r.Flops/1e9, r.Unit)
	}
	return fmt.Sprintf("%s, %.1f GB/s of copies", flops, r.Copy/1e9)
}

func withDefect(n int) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprintf(", %d with a defect", n)
}

// ms is seconds in ms; "" of nil.
func ms(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return tables.MS(*seconds)
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// rowTable has a line for each row. Columns that say nothing are left out.
func rowTable(r *bench.Report) *tables.Table {
	t := &tables.Table{Left: 3, Head: []string{
		"scenario", "map", "device", "batch", "images/s", "ms/image", "spread", "rounds", "p50 ms", "p90", "p99", "max", "late",
		"suspicious", "of FMA", "of copy", "J/image", "time ratio", "10 % to 90 %",
	}}
	for _, row := range r.Rows {
		cells := make([]string, len(t.Head))
		set := func(column, text string) { cells[slices.Index(t.Head, column)] = text }
		set("scenario", string(row.Scenario))
		set("map", string(row.Map))
		set("device", row.Device)
		set("batch", fmt.Sprint(row.Batch))
		if row.Error != "" {
			set("images/s", "FAILED")
			t.Add(cells...)
			continue
		}
		if set("images/s", "none"); row.ImagesPerSecond > 0 {
			set("images/s", tables.Digits(row.ImagesPerSecond))
		}
		if row.Round != nil {
			set("ms/image", tables.MS(row.Round.Median/float64(r.Images.Count)))
			set("rounds", fmt.Sprint(len(row.Samples)))
			mark := ""
			if !row.Settled {
				mark = " *"
			}
			set("spread", percent(*row.Spread)+mark)
		}
		if l := row.Latency; l != nil {
			set("p50 ms", ms(&l.P50))
			set("p90", ms(l.P90))
			set("p99", ms(l.P99))
			set("max", ms(&l.Max))
		}
		if s := row.Server; s != nil && s.Rate > 0 {
			set("late", fmt.Sprintf("%d of %d", s.Late, s.Asked))
		}
		if row.Refined > 0 {
			set("suspicious", percent(row.Suspect))
		}
		if n := row.Network; n != nil {
			if set("of copy", percent(n.OfCopy)); n.OfFlops != nil {
				set("of FMA", percent(*n.OfFlops))
			}
		}
		if row.Joules != nil {
			set("J/image", tables.Digits(*row.Joules))
		}
		if a := row.Against; a != nil {
			set("time ratio", fmt.Sprintf("%.3f", a.Ratio.Median))
			set("10 % to 90 %", fmt.Sprintf("%.3f to %.3f", a.Ratio.P10, a.Ratio.P90))
		}
		t.Add(cells...)
	}
	return full(t)
}

// full leaves out the columns in which no row has anything.
func full(t *tables.Table) *tables.Table {
	var empty []string
	for i, name := range t.Head {
		if !slices.ContainsFunc(t.Rows, func(cells []string) bool { return cells[i] != "" }) {
			empty = append(empty, name)
		}
	}
	return t.Without(empty...)
}

// remarks say what the rows do not.
func remarks(r *bench.Report) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	unsettled, shared, refined, failed := 0, false, false, 0
	for _, row := range r.Rows {
		if row.Error != "" {
			failed++
			continue
		}
		if row.Round != nil && !row.Settled {
			unsettled++
		}
		shared = shared || row.Network != nil
		refined = refined || row.Refined > 0
	}
	if failed < len(r.Rows) {
		add("Every pass of a row gave the same results, bit for bit. spread: how far the 95 %% interval of the median reaches from it.")
	}
	if unsettled > 0 {
		add("* %s not within %s when %g s were over, or had less than six rounds: a longer --seconds, or a quieter machine, tells more.",
			are(unsettled, "row"), percent(r.Asked.Within), r.Asked.Seconds)
	}
	if refined {
		add("suspicious: the share of all pixels that the refinement works on; its time depends on it.")
	}
	if shared {
		add("of FMA, of copy: the network alone, while it ran on the images, of the processor's multiply-adds and of its copies in memory. " +
			"Caches keep some of the bytes from the memory.")
	}
	for _, row := range r.Rows {
		switch s := row.Server; {
		case row.Error != "":
			add("FAILED: %s: %s", row.Name(), row.Error)
		case s != nil && s.Rate == 0:
			add("%s: no rate that was tried, down to %s images/s, has 99 of 100 images done within %g ms.", row.Name(), tables.Digits(lowest(s)), 1e3*s.Bound)
		case s != nil && !s.Held:
			add("%s: %d of %d images were not done within %g ms, more than one in 100.", row.Name(), s.Late, s.Asked, 1e3*s.Bound)
		}
		if row.Note != "" {
			add("%s: %s.", row.Name(), row.Note)
		}
		if len(row.Shares) > 0 {
			var each []string
			for _, d := range slices.Sorted(maps.Keys(row.Shares)) {
				each = append(each, fmt.Sprintf("%s %.0f %%", d, 100*row.Shares[d]))
			}
			add("%s: of the images, %s.", row.Name(), strings.Join(each, ", "))
		}
		if a, m := row.Apart, row.MapsApart; a != nil {
			text := fmt.Sprintf("image scores differ by %.1e at most from those on %s", *a, r.Rows[0].Device)
			if *a == 0 {
				text = "image scores are those on " + r.Rows[0].Device
			}
			if m != nil {
				text += fmt.Sprintf("; maps differ by %.1e (RMS)", *m)
			}
			if share := row.MasksApart; share != nil {
				text += fmt.Sprintf(", masks in %.1e of the pixels (Dice %.4f)", *share, *row.MasksDice)
			}
			add("%s: %s.", row.Name(), text)
		}
	}
	return lines
}

// lowest is the lowest rate that was tried.
func lowest(s *bench.ServerRow) float64 {
	least := 0.0
	for i, t := range s.Trials {
		if i == 0 || t.Rate < least {
			least = t.Rate
		}
	}
	return least
}

// stageTable has a column for each device and map: of offline with the largest batch, or else the scenario that there is.
func stageTable(r *bench.Report) *tables.Table {
	best := map[string]*bench.Row{}
	var columns []string
	for _, row := range r.Rows {
		name := row.Device + " " + string(row.Map)
		old := best[name]
		if len(row.Stages) == 0 || row.Error != "" {
			continue
		}
		if old == nil {
			columns = append(columns, name)
		}
		if old == nil || row.Scenario == old.Scenario && row.Batch > old.Batch {
			best[name] = row
		}
	}
	t := &tables.Table{Left: 1, Head: []string{""}}
	for _, c := range columns {
		t.Head = append(t.Head, fmt.Sprintf("%s, %s, batch %d", c, best[c].Scenario, best[c].Batch))
	}
	for _, s := range engine.Stages() {
		name := string(s)
		if s.Part() {
			name = "  " + name
		}
		cells, any := []string{name}, false
		for _, c := range columns {
			cell := ""
			for _, at := range best[c].Stages {
				if at.Stage == s {
					cell, any = tables.MS(at.Seconds), true
				}
			}
			cells = append(cells, cell)
		}
		if any {
			t.Add(cells...)
		}
	}
	return t
}

func busTable(r *bench.Report) *tables.Table {
	t := &tables.Table{Left: 1, Head: []string{"row", "launches", "MB to it", "MB from it", "ms handing over", "ms waiting", "ms of the device"}}
	for _, row := range r.Rows {
		if b := row.Bus; b != nil && row.Error == "" {
			t.Add(row.Name(), tables.Digits(b.Launches), tables.Digits(b.Uploaded/1e6), tables.Digits(b.Downloaded/1e6),
				tables.MS(b.Enqueue), tables.MS(b.Wait), tables.MS(b.Busy))
		}
	}
	return t
}

func coldTable(r *bench.Report) *tables.Table {
	t := &tables.Table{Left: 1, Head: []string{
		"device", "to result", "10 %", "90 %", "processes", "program", "model", "devices", "engine", "first image", "the same again",
	}}
	for _, c := range r.Cold {
		if c.Error != "" {
			t.Add(append([]string{c.Device, "FAILED"}, make([]string, len(t.Head)-2)...)...)
			continue
		}
		t.Add(c.Device, tables.MS(c.Total.Median), tables.MS(c.Total.P10), tables.MS(c.Total.P90), fmt.Sprint(c.Total.Runs), tables.MS(c.Start),
			tables.MS(c.Load), tables.MS(c.Open), tables.MS(c.Engine), tables.MS(c.First), tables.MS(c.Next))
	}
	return t
}
