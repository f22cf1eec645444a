package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/perf/table"
)

// report is all that was measured.
type report struct {
	Date       time.Time         `json:"date"`
	Machine    string            `json:"machine"`
	Threads    int               `json:"threads"`
	Quick      bool              `json:"quick,omitempty"`
	LoadBefore string            `json:"load_before"` // load averages of the last minute
	LoadAfter  string            `json:"load_after"`
	ORT        string            `json:"ort,omitempty"`     // version of ONNX Runtime under ours
	NoORT      string            `json:"no_ort,omitempty"`  // why there is none
	Peers      map[string]string `json:"peers,omitempty"`   // versions
	NoPeer     string            `json:"no_peer,omitempty"` // why there is none
	Rows       []*row            `json:"rows"`
	Skipped    []string          `json:"skipped,omitempty"` // by -quick
}

// software names the versions of what ran.
func (r *report) software() string {
	parts := []string{"ours on ONNX Runtime " + r.ORT}
	if r.NoORT != "" {
		parts[0] = "ours without ONNX Runtime (" + r.NoORT + ")"
	}
	for _, name := range slices.Sorted(maps.Keys(r.Peers)) {
		parts = append(parts, name+" "+r.Peers[name])
	}
	if r.NoPeer != "" {
		parts = append(parts, "NO PEERS: "+r.NoPeer)
	}
	return strings.Join(parts, ", ")
}

// head says what is measured on.
func (r *report) head(w io.Writer) {
	fmt.Fprintf(w, "%s, %d threads, %s\n%s\n", r.Machine, r.Threads, r.Date.UTC().Format(time.RFC3339), r.software())
	if r.LoadBefore != "" {
		fmt.Fprintf(w, "load average before: %s\n", r.LoadBefore)
	}
}

// progress tells how a row went.
func (m *meter) progress(count string, r *row, took time.Duration) {
	fmt.Fprintf(m.out, "%s %s (%.0f s)\n", count, r.Name, took.Seconds())
	for _, e := range r.Entries {
		if !e.Peak {
			fmt.Fprintf(m.out, "    %s: %s ms\n", e.Name, table.MS(e.Time.Median))
		}
	}
	for _, s := range r.Missing {
		fmt.Fprintln(m.out, "    MISSING:", s)
	}
	if r.Error != "" {
		fmt.Fprintln(m.out, "    FAILED:", r.Error)
	}
}

// columns are ours that others are compared with, in the order in which they first appear.
func (r *report) columns() []string {
	var all []string
	for _, row := range r.Rows {
		for _, e := range row.Entries {
			if e.Ours != "" && !slices.Contains(all, e.Ours) {
				all = append(all, e.Ours)
			}
		}
	}
	return all
}

// table lists what every way of every row took.
func (r *report) table() *table.Table {
	t := &table.Table{Left: 2, Head: []string{"work", "by", "ms", "10 %", "90 %", "runs", "GFLOP/s", "of peak"}}
	columns := r.columns()
	for _, c := range columns {
		t.Head = append(t.Head, "time / ours on "+c, "10 % to 90 %")
	}
	blank := func(cells ...string) { t.Add(append(cells, make([]string, len(t.Head)-len(cells))...)...) }
	for _, row := range r.Rows {
		name := row.Name
		for _, e := range row.Entries {
			if e.Peak {
				blank(name, e.Name, "", "", "", fmt.Sprint(e.Time.Runs), table.Digits(e.Rate/1e9), "100 %")
				continue
			}
			cells := []string{name, e.Name, table.MS(e.Time.Median), table.MS(e.Time.P10), table.MS(e.Time.P90), fmt.Sprint(e.Time.Runs), "", ""}
			if e.Rate > 0 {
				cells[6] = table.Digits(e.Rate / 1e9)
				if e.Share > 0 {
					cells[7] = fmt.Sprintf("%.0f %%", 100*e.Share)
				}
			}
			for _, c := range columns {
				if q, ok := e.Ratios[c]; ok && e.Ours != c {
					cells = append(cells, fmt.Sprintf("%.2f", q.Median), spread(q))
				} else {
					cells = append(cells, "", "")
				}
			}
			t.Add(cells...)
		}
		if row.Error != "" {
			blank(name, "FAILED")
		}
		for _, s := range row.Missing {
			who, _, _ := strings.Cut(s, ":")
			blank(name, who+": missing, see below")
		}
	}
	return t
}

func spread(q stats.Ratio) string { return fmt.Sprintf("%.2f to %.2f", q.P10, q.P90) }

// writeMarkdown writes what belongs into bench/results.
func (r *report) writeMarkdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# CPU, %s\n\n", r.Date.Format("2 January 2006"))
	fmt.Fprintf(b, "`make bench-cpu`, %s UTC. %s. %d threads, ours and the peers'. Versions: %s.\n", r.Date.UTC().Format("15:04"), r.Machine, r.Threads, r.software())
	if r.LoadBefore != "" {
		fmt.Fprintf(b, "Load average of the last minute before the run %s, after it %s: what else ran is in there.\n", r.LoadBefore, r.LoadAfter)
	}
	if r.Quick {
		fmt.Fprint(b, "\n**A quick run: few runs of each row, good to see that it works and not to report.**\n")
	}
	fmt.Fprintf(b, `
The ways of a row ran in turn in one process and one Python beside it, each round in another order, so that all saw the same
machine and none found its data in the caches. Times are medians; 10 %% and 90 %% are percentiles of single runs. "time / ours" is
the median of the ratios within a round: above 1, ours is faster. "of peak" is the share of what all threads do in
registers (%s), measured in the same rounds. Before a row was timed, its results were compared as the list below says.

`, map[bool]string{true: "not measured on this machine", false: peak.Unit() + " multiply-adds"}[peak.Unit() == ""])
	r.table().Markdown(b)
	list := func(title string, of func(*row) []string) {
		first := true
		for _, row := range r.Rows {
			for _, s := range of(row) {
				if first {
					fmt.Fprintf(b, "%s\n\n", title)
					first = false
				}
				fmt.Fprintf(b, "- %s: %s\n", row.Name, strings.ReplaceAll(s, "\n", " "))
			}
		}
		if !first {
			fmt.Fprintln(b)
		}
	}
	list("Not measured:", func(r *row) []string {
		if r.Error != "" {
			return append([]string{"FAILED: " + r.Error}, r.Missing...)
		}
		return r.Missing
	})
	if len(r.Skipped) > 0 {
		fmt.Fprintf(b, "Left out of a quick run: %s.\n\n", strings.Join(r.Skipped, "; "))
	}
	list("How:", func(r *row) []string {
		notes := slices.Clone(r.Notes)
		for _, e := range r.Entries {
			if e.Note != "" {
				notes = append(notes, e.Name+": "+e.Note)
			}
		}
		return notes
	})
	list("Compared before, by relative error ||a - b|| / ||b||:", func(r *row) []string { return r.Checked })
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(r)
}
