package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/perf/table"
)

// all is the category that pools the classes.
const all = engine.All

// page is all that was measured.
type page struct {
	Date       time.Time `json:"date"`
	Machine    string    `json:"machine"`
	LoadBefore string    `json:"load_before"` // load averages of the last minute
	LoadAfter  string    `json:"load_after"`
	Commit     string    `json:"commit"`
	Binary     string    `json:"program_sha256"`
	Limit      int       `json:"limit"`
	Results    []*result `json:"results"`
	Skipped    []string  `json:"skipped,omitempty"` // what this machine has not
	Failed     []string  `json:"failed,omitempty"`
	Open       int       `json:"open,omitempty"` // combinations without a result
	Verdicts   []verdict `json:"verdicts"`
}

// executors names what the results were computed on.
func (p *page) executors() string {
	var names []string
	for _, r := range p.Results {
		name := fmt.Sprintf("%s %s on %s, %s", r.Executor.Executor, r.Executor.Version, r.Executor.Device, r.Executor.Precision)
		if r.Device.Device != "cpu" {
			name += fmt.Sprintf(", methods and refinement on %s %s", r.Device.Device, r.Device.Name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, "; ")
}

// markdown writes what belongs into bench/results.
func (p *page) markdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# Accuracy, %s\n\n", p.Date.Format("2 January 2006"))
	fmt.Fprintf(b, "`make accuracy`, %s UTC. %s. Commit %s, program sha256 %.12s. Network: %s.\n", p.Date.UTC().Format("15:04"), p.Machine, p.Commit, p.Binary, p.executors())
	images := "All test images."
	if p.Limit > 0 {
		images = fmt.Sprintf("At most %d test images of each class, at even distances by name.", p.Limit)
	}
	fmt.Fprintf(b, "%s Profile f2pad, seed 0.\n", images)
	if p.LoadBefore != "" {
		fmt.Fprintf(b, "Load average of the last minute before the run %s, after it %s: what else ran is in the seconds.\n", p.LoadBefore, p.LoadAfter)
	}
	list(b, "**Not measured:**", p.missing())
	fmt.Fprintf(b, `
%sresidual%s is the control: the refinement that never asks the network again. Metrics are of all pixels of a class' images and of all normal ones
together, at the images' own size; %sall%s pools the classes. "worse" is the share of the images with a defect whose own pixel AP is below
that of %sbase%s by more than .01. Intervals hold with 95 %%: percentiles of 1,000 resamples of the images, the same ones for all
maps. Seconds are of scoring and refining one image, without reading files.
`, "`", "`", "`", "`", "`", "`")
	fmt.Fprintln(b)
	for _, name := range p.datasets() {
		p.dataset(b, name)
	}
	fmt.Fprint(b, "## Summary\n\n")
	p.summary(b)
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// missing lists what there is no result for.
func (p *page) missing() []string {
	out := slices.Clone(p.Skipped)
	for _, f := range p.Failed {
		out = append(out, "FAILED: "+f)
	}
	if p.Open > 0 {
		out = append(out, fmt.Sprintf("%d combinations have not been run, or failed", p.Open))
	}
	return out
}

func (p *page) datasets() (names []string) {
	for _, r := range p.Results {
		if !slices.Contains(names, r.Dataset) {
			names = append(names, r.Dataset)
		}
	}
	return names
}

// dataset writes the tables of one data set.
func (p *page) dataset(b *strings.Builder, name string) {
	rows := &table.Table{Left: 5, Head: []string{"method", "backbone", "size", "class", "map", "n", "image AUROC", "pixel AP", "AUPRO",
		"oracle Dice", "label-free Dice", "boundary F", "worse", "s/image"}}
	gains := &table.Table{Left: 4, Head: []string{"method", "backbone", "size", "class", "f2pad - base", "f2pad - residual", "residual - base"}}
	train, failed := 0, 0
	for _, r := range p.Results {
		if r.Dataset != name {
			continue
		}
		train, failed = r.Train, failed+r.Failed
		size := fmt.Sprint(r.Size)
		for _, row := range r.rows() {
			worse := ""
			if row.Map != "base" {
				worse = show(row.Worse)
			}
			rows.Add(r.Method, r.Backbone, size, row.Category, row.Map, fmt.Sprint(row.Images), show(row.ImageAUROC), show(row.PixelAP),
				show(row.AUPRO), show(row.DiceOracle), show(row.DiceLabelFree), show(row.BoundaryF), worse, table.Digits(row.SecondsPerImage))
		}
		for _, c := range pair([]*result{r}, "f2pad") {
			gains.Add(r.Method, r.Backbone, size, c.row.Category, interval(c.row.PixelAP-c.base.PixelAP, c.row.OverBase),
				interval(c.row.PixelAP-c.control.PixelAP, c.row.OverControl), interval(c.control.PixelAP-c.base.PixelAP, c.control.OverBase))
		}
	}
	fmt.Fprintf(b, "## %s\n\n%d normal images to fit and calibrate with.", name, train)
	if failed > 0 {
		fmt.Fprintf(b, " %d times an image failed and was not counted.", failed)
	}
	fmt.Fprint(b, "\n\n")
	rows.Markdown(b)
	fmt.Fprint(b, "Differences of pooled pixel AP and their intervals:\n\n")
	gains.Markdown(b)
}

// summary writes the verdicts.
func (p *page) summary(w io.Writer) {
	if len(p.Verdicts) == 0 {
		fmt.Fprintln(w, "Nothing has been measured.")
		return
	}
	for _, v := range p.Verdicts {
		word := "HELD: "
		switch {
		case v.Remark:
			word = ""
		case !v.Held:
			word = "BROKEN: "
		}
		fmt.Fprintf(w, "- %s%s: %s.\n", word, v.Bound, v.Says)
		for _, s := range v.Breaks {
			fmt.Fprintf(w, "  - %s\n", s)
		}
	}
}

func list(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n\n", title)
	for _, s := range lines {
		fmt.Fprintf(b, "- %s\n", s)
	}
}

func (p *page) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(p)
}

// show writes a metric with three decimals and no leading zero.
func show(v metric.Value) string {
	if !v.Defined() {
		return "n/a"
	}
	return decimals(float64(v), 3)
}

func decimals(v float64, n int) string {
	return strings.TrimPrefix(fmt.Sprintf("%.*f", n, v), "0")
}

// signed writes a difference with four decimals: what the optimisation adds is small.
func signed(v float64) string {
	text := fmt.Sprintf("%+.4f", v)
	if text == "-0.0000" {
		text = "+0.0000"
	}
	return text[:1] + strings.TrimPrefix(text[1:], "0")
}

// interval writes a difference with its interval.
func interval(v metric.Value, i *metric.Interval) string {
	if i == nil || !v.Defined() {
		return "n/a"
	}
	return fmt.Sprintf("%s (%s to %s)", signed(float64(v)), signed(i.Low), signed(i.High))
}
