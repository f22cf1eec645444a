package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/export"
	"f2pad.example/engine/run"

	"github.com/spf13/cobra"
)

func (p *program) export() *cobra.Command {
	var o export.Options
	var unfinished bool
	rows := rowsOfImages
	var names, formats []string
	for _, f := range export.Formats() {
		names = append(names, f.Name)
		formats = append(formats, fmt.Sprintf("  %-12s %s", f.Name, f.About))
	}
	cmd := &cobra.Command{
		Use:   "export --format FORMAT --out PATH DIR",
		Short: "Make of the results of score what other tools read",
		Long: `Make of the results in DIR, which 'f2pad score --out DIR' wrote, what other tools read. PATH is a file, or a folder with the formats
mvtec and mvtec-ad2. FORMAT is one of

` + strings.Join(formats, "\n") + `

Tables have a row for each image, or for each region. All others but mvtec need masks (score --masks), mvtec and mvtec-ad2 maps (score --maps).
Each region is an annotation, whose score is the highest value of the map in it. Polygons go along the edges of pixels, around holes, too, in
pixels from the upper left corner.

Images whose mask or map is not there are reported and left out, and the rest goes on (exit code 3). What failed in score is a row of the
tables of images, and in the others left out; the summary counts it. docs/scripting.md describes every format.`,
		Example: `  f2pad export --format csv --out results.csv results
  f2pad export --format parquet --rows regions --polygons --out regions.parquet results
  f2pad export --format coco --relative-to photos --out coco.json results
  f2pad export --format cvat --polygons --simplify 1 --relative-to photos --out annotations.xml results
  f2pad export --format labelstudio --relative-to photos --out tasks.json results
  f2pad export --format mvtec --out anomaly_maps results`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: positions(folders),
		PreRunE: func(*cobra.Command, []string) error {
			o.EachRegion = rows == rowsOfRegions
			_, err := o.Check()
			return err
		},
		RunE: p.verb(func(ctx context.Context, args []string) error { return p.exportRun(ctx, o, args[0], unfinished) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(formatName{choice{&o.Format, names}}, "format", "what to write (required)")
	f.StringVar(&o.Out, "out", "", "`PATH` to write to (required)")
	f.Var(choice{&rows, []string{rowsOfImages, rowsOfRegions}}, "rows", "csv, parquet: what a row is")
	f.BoolVar(&o.Polygons, "polygons", false, "regions as polygons: in annotations in place of masks, in tables of regions as one more column (needs masks)")
	f.Float64Var(&o.Simplify, "simplify", 0, "leave out corners of polygons that are at most `PX` pixels off without them; 0: none")
	f.StringVar(&o.Label, "label", "", "coco, cvat, labelstudio: what a region is called; default: "+export.DefaultLabel)
	f.StringVar(&o.RelativeTo, "relative-to", "", "coco, cvat, labelstudio: name images by their paths below `DIR`; default: as they were given to score")
	f.StringVar(&o.Prefix, "prefix", "", "coco, cvat, labelstudio: `TEXT` before images' names; default of labelstudio: "+export.LocalFiles)
	f.StringVar(&o.Object, "object", "", "mvtec, mvtec-ad2: `NAME` of what all images show; default: the folder that test, test_private, ... is in")
	f.BoolVar(&unfinished, "unfinished", false, "export what there is of a run that is not finished")
	required(cmd, "format", "out")
	return cmd
}

// formatName is the flag --format; its values are too many for a line of help.
type formatName struct{ choice }

func (formatName) Type() string { return "FORMAT" }

// The values of --rows.
const (
	rowsOfImages  = "images"
	rowsOfRegions = "regions"
)

// exportSummary is the result of export.
type exportSummary struct{ export.Summary }

func (exportSummary) MessageType() string { return "summary" }

func (s exportSummary) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "%s: %d exported with %s, %d failed in score, %d left out\n%s: %s\n",
		counted(s.Images, "image"), s.Exported, counted(s.Regions, "region"), s.Failed, s.LeftOut, s.Format, s.Path)
	return err
}

func (p *program) exportRun(ctx context.Context, o export.Options, dir string, unfinished bool) error {
	r, err := run.OpenResults(dir, unfinished)
	if errors.Is(err, run.ErrUnfinished) {
		return fmt.Errorf("%w: run its command again, or export what there is with --unfinished", err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.Finished {
		p.ui.Warn(fmt.Sprintf("%s: the run is not finished: %s so far", dir, counted(r.Lines, "line")))
	}
	if s := r.Info.Shard; s != nil {
		p.ui.Warn(fmt.Sprintf("%s: holds the results of shard %s only; 'f2pad merge' makes one run of all", dir, s))
	}
	o.Progress = func(done, total int) { p.progress(engine.Progress{Phase: "export", Done: done, Total: total}) }
	o.LeftOut = p.fail
	sum, err := export.Export(ctx, r, o)
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted{"interrupted: the same command does it again"}
	case errors.Is(err, export.ErrOwn):
		return fmt.Errorf("%w: choose another --out", err)
	case err != nil:
		return err
	}
	return p.ui.Show(exportSummary{sum})
}
