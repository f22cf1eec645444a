package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/artifact"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/report"

	"github.com/spf13/cobra"
)

// evalOptions are the flags of eval.
type evalOptions struct {
	data, model, backbone, report, sheet string
	maps                                 []refine.Kind // none: all that the model makes
	limit                                int
	spread                               bool
	image, pixel                         *float64 // thresholds in place of the model's
	regions                              region.Options
	worst                                int
	roi                                  regionFile
}

func (p *program) eval() *cobra.Command {
	var o evalOptions
	cmd := &cobra.Command{
		Use:   "eval --data DIR --model MODEL",
		Short: "Measure a model's maps against ground truth",
		Long: `Measure a model's maps against ground truth, at the images' own size, side by side: the method's own map (none: "base"),
the refinement that never asks the network again (residual: the control) and all of F2PAD. What f2pad adds over residual is
the merit of the optimisation, of the further questions to the detector and of the pixel classifier; the rest of the gain is
the control's. A model that does not make all of them is measured on those that it makes.

Below the table is what the thresholds decide, the model's or those of --threshold and --pixel-threshold: false alarms, misses, what
is marked in good images, and the images that the model does worst on. Images without ground truth count in what is measured of
images, not of pixels; what the data do not define is "-".

"worse" is the share of the images with a defect on which a map's pixel AP is below the base map's by more than .01. The intervals of the
differences hold with 95 %: they come from 1,000 resamples of the images, the same ones for all maps.`,
		Example: `  f2pad eval --data mvtec/leather --model leather.f2pad
  f2pad eval --data mvtec/leather --model leather.f2pad --limit 10 --report leather.html
  f2pad eval --data mvtec/leather --model leather.f2pad --refine none,f2pad --json | tail -n 1
  f2pad eval --data mvtec/leather --model leather.f2pad --threshold 2.5 --min-area 20 --fill`,
		Args: cobra.NoArgs,
		RunE: p.verb(func(ctx context.Context, _ []string) error { return p.evaluate(ctx, o) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.data, "data", "", "`DIR` with a data set in MVTec AD's layout (required)")
	f.StringVar(&o.model, "model", "", "`MODEL` file (required)")
	backboneFile(f, &o.backbone)
	f.Var(kinds{&o.maps}, "refine", "maps to measure, a list of "+strings.Join(refineNames, ", ")+" (default: all that the model makes)")
	f.Var(number{&o.limit, 0, mostImages}, "limit", "images per class; 0: all")
	f.BoolVar(&o.spread, "spread", false, "take the images of --limit at even distances by name, not the first")
	thresholdFlags(f, &o.image, &o.pixel)
	regionFlags(f, &o.regions)
	o.roi.flag(f, "measure in this region of interest only, and in the model's if it has one")
	o.worst = worstListed
	f.Var(number{&o.worst, 0, mostImages}, "worst", "list this many of the images that the model does worst on")
	f.StringVar(&o.report, "report", "", "HTML `FILE` to write: tables, charts and gallery in one")
	f.StringVar(&o.sheet, "sheet", "", "PNG `FILE` to write: the images that refining changed most, and typical ones, side by side with their maps")
	required(cmd, "data", "model")
	return cmd
}

const worstListed = 20

// evaluation is the result of eval.
type evaluation struct {
	Rows     []metric.Row `json:"rows"`
	Failed   int          `json:"failed"`
	Model    string       `json:"model_sha256"`
	Report   *string      `json:"report"`
	Sheet    *string      `json:"sheet"`
	Executor exec.Info    `json:"executor"`
	Device   device.Info  `json:"device"`
	shown    bool         // the table was
	Notices  []string     `json:"notices,omitempty"` // maps that the model does not make; where the work was done in another way than it began

	Images    counts           `json:"images"`
	Decisions metric.Decisions `json:"decisions"`
	Regions   region.Options   `json:"regions"`
	ROI       *string          `json:"roi"` // SHA-256 of the file of --roi; null: the model's
	Worst     []worst          `json:"worst"`
	Remarks   []string         `json:"remarks"`
	decided   *report.Decisions
}

// counts are the images that were evaluated.
type counts struct {
	Good      int `json:"good"`
	Defective int `json:"defective"`
	WithMask  int `json:"with_mask"` // of the defective ones
}

// worst is an image that the model does badly on.
type worst struct {
	Image    string       `json:"image"` // path
	Category string       `json:"category"`
	Why      engine.Fault `json:"why"`
	Score    float64      `json:"image_score"`
	AP       metric.Value `json:"pixel_ap"`
}

func (evaluation) MessageType() string { return "summary" }

func (e evaluation) Text(w io.Writer) error {
	if !e.shown {
		if err := e.table().Text(w); err != nil {
			return err
		}
	}
	for _, file := range []struct {
		name string
		path *string
	}{{"report", e.Report}, {"sheet", e.Sheet}} {
		if file.path == nil {
			continue
		}
		if _, err := ui.Fprintf(w, "%s: %s\n", file.name, *file.path); err != nil {
			return err
		}
	}
	return nil
}

// table is what eval measured, before it is written to files.
type table struct {
	Rows   []metric.Row `json:"rows"`
	Failed int          `json:"failed"`

	decided *report.Decisions
}

func (e *evaluation) table() table { return table{e.Rows, e.Failed, e.decided} }

func (table) MessageType() string { return "table" }

func (t table) Text(w io.Writer) error {
	rows := slices.Clone(t.Rows)
	for i := range rows {
		rows[i].Category = ui.Printable(rows[i].Category) // a folder's name
	}
	if _, err := io.WriteString(w, report.NewTable(rows).Text()+t.decided.Text()); err != nil {
		return err
	}
	if t.Failed > 0 {
		if _, err := ui.Fprintf(w, "%s failed and %s not counted\n", counted(t.Failed, "image"), isAre(t.Failed)); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) evaluate(ctx context.Context, o evalOptions) error {
	m, err := p.load(o.model, o.backbone)
	if err != nil {
		return err
	}
	if len(o.maps) == 0 {
		p.missing(m, engine.Kinds()...)
		o.maps = m.Kinds()
	} else if err := made(m, o.maps...); err != nil {
		return err
	}
	data, err := dataset.MVTec(o.data)
	if err != nil {
		return err
	}
	p.ignored(data)
	if err := o.roi.read(p); err != nil {
		return err
	}
	if len(data.Test) == 0 {
		return fmt.Errorf("%s: no test images", o.data)
	}
	if err := errors.Join(writable(o.report), writable(o.sheet)); err != nil {
		return err
	}
	opts, err := p.computing()
	if err != nil {
		return err
	}
	opts.Maps, opts.ImageThreshold, opts.PixelThreshold, opts.ROI = o.maps, o.image, o.pixel, o.roi.region
	run := engine.EvalOptions{
		Options: opts, Limit: o.limit, Spread: o.spread, Progress: p.progress,
		Regions: o.regions, Worst: o.worst,
		Failed: func(it dataset.Item, err error) { p.fail(it.Path, err) },
	}
	g := newGallery(m)
	if o.report != "" || o.sheet != "" {
		run.Visit = g.add
	}
	found, err := engine.Evaluate(ctx, m, data.Test, run)
	if err != nil {
		return err
	}
	for _, remark := range found.Remarks {
		p.ui.Warn(remark)
	}
	on, networks := place.Together(opts.Places)
	result := evaluation{
		Rows: found.Rows, Failed: p.failed, Model: m.SHA256(), Executor: networks, Device: on, Notices: p.notices,
		Images:    counts{len(found.Good), len(found.Bad), found.WithMask},
		Decisions: found.Decisions, Regions: o.regions, ROI: o.roi.sha256, Worst: []worst{}, Remarks: append([]string{}, found.Remarks...),
		decided: &report.Decisions{
			Decisions: found.Decisions, Good: found.Good, Bad: found.Bad, WithMask: found.WithMask, Images: found.Images,
		},
	}
	for _, it := range found.Worst {
		result.Worst = append(result.Worst, worst{it.Item.Path, it.Item.Class, it.Why, it.Score, it.AP})
		result.decided.Worst = append(result.decided.Worst, report.Worst{ID: it.Item.ID, Why: string(it.Why), Score: it.Score, AP: it.AP})
	}
	if o.report != "" || o.sheet != "" { // writing them may fail; what was measured is not lost with them
		if err := p.ui.Show(result.table()); err != nil {
			return err
		}
		result.shown = true
	}
	if o.report != "" {
		r := report.Report{
			Title: "F2PAD on " + filepath.Base(filepath.Clean(o.data)), Date: time.Now().Format("2 January 2006, 15:04"),
			Run: facts(o, m, result), Rows: found.Rows, Notes: notes(o, m, result), Decisions: result.decided,
			Gallery: g.choose(), Empty: empty(result),
		}
		r.Crossing, r.Left = g.crossing()
		if err := artifact.WriteFileAtomic(o.report, r.Write); err != nil {
			return err
		}
		result.Report = &o.report
	}
	if o.sheet != "" {
		m, err := report.Sheet(g.sheet(), empty(result))
		if err != nil {
			return err
		}
		if err := imageio.WritePNG(o.sheet, m); err != nil {
			return err
		}
		result.Sheet = &o.sheet
	}
	return p.ui.Show(result)
}

// notes are what a reader of the report has to know about its figures.
func notes(o evalOptions, m *engine.Model, e evaluation) []string {
	var out []string
	if o.image != nil {
		out = append(out, "The image threshold was given (--threshold): it is not the model's.")
	}
	if o.pixel != nil {
		out = append(out, "The pixel threshold was given (--pixel-threshold): what is called label-free here is measured at it.")
	}
	if i := m.Info.ROI; i.Pixels > 0 {
		out = append(out, fmt.Sprintf("Only what lies in the model's region of interest counts, %.3g %% of an image.", 100*float64(i.Pixels)/float64(i.Width*i.Height)))
	}
	if o.roi.path != "" {
		out = append(out, fmt.Sprintf("Only what lies in the region of interest %s counts (--roi).", o.roi.path))
	}
	if o.regions != (region.Options{}) {
		out = append(out, fmt.Sprintf("Masks at the pixel threshold were changed before they were measured: gaps closed by a disc of %d px, holes filled: %t, "+
			"regions under %d px dropped.", o.regions.Close, o.regions.Fill, o.regions.MinArea))
	}
	for _, remark := range e.Remarks {
		out = append(out, "Note: "+remark+".")
	}
	if e.Failed > 0 {
		out = append(out, fmt.Sprintf("%d images failed and are not counted.", e.Failed))
	}
	return out
}

// empty says why there are no images to choose for a gallery, if there are none.
func empty(e evaluation) string {
	switch {
	case e.Images.Good+e.Images.Defective == 0:
		return "no test image could be evaluated"
	case e.Images.Defective == 0:
		return "they are chosen by their average precision, and all test images are good"
	case e.Images.WithMask == 0:
		return "they are chosen by their average precision, and no defective image has ground truth"
	}
	return "they are chosen by their average precision, and no ground truth marks a defect"
}

func facts(o evalOptions, m *engine.Model, e evaluation) []report.Fact {
	i := m.Info
	return []report.Fact{
		{Name: "data set", Value: o.data},
		{Name: "model", Value: fmt.Sprintf("%s (sha256 %.12s)", o.model, m.SHA256())},
		{Name: "method", Value: fmt.Sprintf("%s, profile %s", i.Method, i.Profile)},
		{Name: "backbone", Value: i.Backbone},
		{Name: "size", Value: i.Size.String()},
		{Name: "training images", Value: fmt.Sprintf("%d, and %d others for calibration", i.Train, i.Calibration.Source.Images)},
		{Name: "test images", Value: fmt.Sprintf("%d good, %d defective, %d of these with ground truth", e.Images.Good, e.Images.Defective, e.Images.WithMask)},
		{Name: "network", Value: fmt.Sprintf("%s on %s, %s", e.Executor.Executor, e.Executor.Device, e.Executor.Precision)},
		{Name: "method and refinement", Value: strings.Join(append([]string{e.Device.Device, e.Device.Name}, e.Notices...), " ")},
		{Name: "version", Value: version()},
	}
}
