package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"f2pad/engine"
	"f2pad/engine/artifact"
	"f2pad/engine/dataset"
	"f2pad/engine/device"
	"f2pad/engine/exec"
	"f2pad/engine/imageio"
	"f2pad/engine/metric"
	"f2pad/engine/refine"
	"f2pad/engine/report"

	"github.com/spf13/cobra"
)

// evalOptions are the flags of eval.
type evalOptions struct {
	data, model, backbone, report, sheet string
	maps                                 []refine.Kind // none: all that the model makes
	limit                                int
	spread                               bool
}

func (p *program) eval() *cobra.Command {
	var o evalOptions
	cmd := &cobra.Command{
		Use:   "eval --data DIR --model MODEL",
		Short: "Measure a model's maps against ground truth",
		Long: `Measure a model's maps against ground truth, at the images' own size, side by side: the method's own map (none: "base"),
the refinement without optimisation (residual: the control) and all of F2PAD. What f2pad adds over residual is the
optimisation's merit; the rest of the gain is the control's. A model that does not make all of them is measured on those that
it makes.

"worse" is the share of the images with a defect on which a map's pixel AP is below the base map's by more than .01. The intervals of the
differences hold with 95 %: they come from 1,000 resamples of the images, the same ones for all maps.`,
		Example: `  f2pad eval --data mvtec/leather --model leather.f2pad
  f2pad eval --data mvtec/leather --model leather.f2pad --limit 10 --report leather.html
  f2pad eval --data mvtec/leather --model leather.f2pad --refine none,f2pad --json | tail -n 1`,
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
	f.StringVar(&o.report, "report", "", "HTML `FILE` to write: table and gallery in one")
	f.StringVar(&o.sheet, "sheet", "", "PNG `FILE` to write: the images that refining changed most, and typical ones, side by side with their maps")
	required(cmd, "data", "model")
	return cmd
}

// evaluation is the result of eval.
type evaluation struct {
	Rows     []metric.Row `json:"rows"`
	Failed   int          `json:"failed"`
	Model    string       `json:"model_sha256"`
	Report   *string      `json:"report"`
	Sheet    *string      `json:"sheet"`
	Executor exec.Info    `json:"executor"`
	Device   device.Info  `json:"device"`
	Notices  []string     `json:"notices,omitempty"` // maps that the model does not make; where the work was done in another way than it began
}

func (evaluation) MessageType() string { return "summary" }

func (e evaluation) Text(w io.Writer) error {
	if _, err := io.WriteString(w, report.NewTable(e.Rows).Text()); err != nil {
		return err
	}
	if e.Failed > 0 {
		if _, err := fmt.Fprintf(w, "%d images failed and are not counted\n", e.Failed); err != nil {
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
		if _, err := fmt.Fprintf(w, "%s: %s\n", file.name, *file.path); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) evaluate(ctx context.Context, o evalOptions) error {
	if err := errors.Join(writable(o.report), writable(o.sheet)); err != nil {
		return err
	}
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
	if len(data.Test) == 0 {
		return fmt.Errorf("%s: no test images", o.data)
	}
	opts, err := p.computing()
	if err != nil {
		return err
	}
	opts.Maps = o.maps
	run := engine.EvalOptions{
		Options: opts, Limit: o.limit, Spread: o.spread, Progress: p.progress,
		Failed: func(it dataset.Item, err error) { p.fail(it.Path, err) },
	}
	g := newGallery(m)
	if o.report != "" || o.sheet != "" {
		run.Visit = g.add
	}
	rows, err := engine.Eval(ctx, m, data.Test, run)
	if err != nil {
		return err
	}
	result := evaluation{
		Rows: rows, Failed: p.failed, Model: m.SHA256(), Executor: opts.Executor.Info(), Device: deviceOf(opts), Notices: p.notices,
	}
	if o.report != "" {
		r := report.Report{
			Title: "F2PAD on " + filepath.Base(filepath.Clean(o.data)), Date: time.Now().Format("2 January 2006, 15:04"),
			Run: facts(o, m, result), Rows: rows, Gallery: g.choose(),
		}
		if err := artifact.WriteFileAtomic(o.report, r.Write); err != nil {
			return err
		}
		result.Report = &o.report
	}
	if o.sheet != "" {
		m, err := report.Sheet(g.sheet())
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

func facts(o evalOptions, m *engine.Model, e evaluation) []report.Fact {
	i := m.Info
	return []report.Fact{
		{Name: "data set", Value: o.data},
		{Name: "model", Value: fmt.Sprintf("%s (sha256 %.12s)", o.model, m.SHA256())},
		{Name: "method", Value: fmt.Sprintf("%s, profile %s", i.Method, i.Profile)},
		{Name: "backbone", Value: i.Backbone},
		{Name: "size", Value: i.Size.String()},
		{Name: "training images", Value: fmt.Sprintf("%d, and %d for calibration", i.Train, i.HeldOut)},
		{Name: "network", Value: fmt.Sprintf("%s on %s, %s", e.Executor.Executor, e.Executor.Device, e.Executor.Precision)},
		{Name: "method and refinement", Value: strings.Join(append([]string{e.Device.Device, e.Device.Name}, e.Notices...), " ")},
		{Name: "version", Value: version()},
	}
}
