package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/run"

	"github.com/spf13/cobra"
)

// scoreOptions are the flags of score.
type scoreOptions struct {
	model, backbone       string
	out, refine           string
	maps, masks, overlays bool
	labels                bool
	image, pixel          *float64 // thresholds in place of the model's
	regions               region.Options
	batch                 int
	force, profile        bool
	metrics               string // file
	watch                 bool
	rescan                int // seconds
	column                string
	roi                   regionFile
	shard                 *run.Shard
}

func (p *program) score() *cobra.Command {
	o := scoreOptions{rescan: 30}
	cmd := &cobra.Command{
		Use:   "score --model MODEL --out DIR INPUT...",
		Short: "Score images and, on request, write their maps, masks and overlays",
		Long: `Score images. INPUT is files, folders, globs, or - for a list of files on standard input, one per line. A file called .tar,
.tar.gz, .tgz or .zip is an archive, whose images are scored without being unpacked to disk; WebDataset's shards are such. One called
.parquet is a table whose rows have images, or their paths. All of these may also be in an object store: s3://BUCKET/KEY, azblob://, gs://
and file:// name an object, all images below a prefix, or what matches a glob. DIR gets
results.jsonl, one line for each input in their order, and on request maps/NAME.tiff (float32), masks/NAME.png and
overlays/NAME.png at the images' own size. Where a map is made, the line of an anomalous image lists the regions of its mask.

--threshold and --pixel-threshold decide in place of the model's thresholds ('f2pad eval' takes the same and says what they do);
--close, --fill and --min-area change the masks, in this order. All of these make another run.

With --shard I/N this is one of N runs, each into its own DIR, here or on another machine, of the same inputs in the same order.

With --watch it goes on when all is scored, with what is new or was replaced, until it is interrupted (exit code 0 or 3 if all was
scored then, otherwise 130). After each pass results.jsonl is what a run without --watch would have written.

Inputs that cannot be scored are reported, and the rest goes on (exit code 3). A run that was interrupted goes on where
it was when the same command is run again; so does one whose inputs have changed. Folders that hold results (run.json) and
DIR itself are no inputs. docs/scripting.md describes the files.`,
		Example: `  f2pad score --model leather.f2pad --out results photos/
  f2pad score --model leather.f2pad --out results --maps --masks --overlays photos/*.png
  f2pad score --model leather.f2pad --out results --masks --profile photos/
  f2pad score --model leather.f2pad --out results --metrics /var/lib/node_exporter/leather.prom shards/*.tar
  f2pad score --model leather.f2pad --out results 'data/train-*.parquet'
  f2pad score --model leather.f2pad --out results s3://factory/line1/2026-11/
  f2pad score --model leather.f2pad --out results --masks --watch incoming/
  f2pad score --model leather.f2pad --out part1 --shard 1/2 shards/*.tar
  find photos -name '*.jpg' | f2pad score --model leather.f2pad --out results --masks --refine residual -`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: anyFile,
		PreRunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.watch && o.shard != nil:
				return errors.New("--watch and --shard: what an image's shard is changes with the inputs")
			case o.watch && slices.Contains(args, "-"):
				return errors.New("--watch: a list on standard input is scored as its lines arrive, without it")
			case !o.watch && cmd.Flags().Changed("rescan"):
				return errors.New("--rescan is of --watch")
			}
			if noMap := !o.maps && !o.masks && !o.overlays && (o.refine == "" || o.refine == "none"); noMap &&
				(o.pixel != nil || o.regions != region.Options{}) {
				return errors.New("--pixel-threshold, --close, --fill and --min-area need a map: --maps, --masks, --overlays or --refine")
			}
			if o.labels && !o.overlays {
				return errors.New("--labels are on --overlays")
			}
			return nil
		},
		RunE: p.verb(func(ctx context.Context, args []string) error { return p.scoreInputs(ctx, o, args) }),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.model, "model", "", "`MODEL` file (required)")
	backboneFile(f, &o.backbone)
	f.StringVar(&o.out, "out", "", "`DIR` to write to (required)")
	f.Var(choice{&o.refine, refineNames}, "refine",
		"map to make (default with --maps, --masks or --overlays: the most refined of the model; otherwise none)")
	f.BoolVar(&o.maps, "maps", false, "write maps as float32 TIFF")
	f.BoolVar(&o.masks, "masks", false, "write masks as PNG: what exceeds the pixel threshold in anomalous images")
	f.BoolVar(&o.overlays, "overlays", false, "write overlays as PNG: image, heat map and the mask's outline")
	f.BoolVar(&o.labels, "labels", false, "write verdict, score and threshold into the overlays' upper left corner")
	thresholdFlags(f, &o.image, &o.pixel)
	regionFlags(f, &o.regions)
	o.roi.flag(f, "score in this region of interest only, and in the model's if it has one")
	f.Var(number{&o.batch, 0, 1024}, "batch", "images in work at once, on each of several GPUs; 0: 8, or more where they are small. Results do not depend on it")
	f.Var(shardFlag{&o.shard}, "shard", "score every N-th of the inputs only, beginning with the I-th; 'f2pad merge' makes one run of all N")
	f.StringVar(&o.column, "parquet-column", "", "`COLUMN` of Parquet files that has the images or their paths (default: the one that has any)")
	f.BoolVar(&o.watch, "watch", false, "go on with what is new, until interrupted")
	f.Var(number{&o.rescan, 1, 1 << 20}, "rescan", "with --watch: seconds until inputs are looked at without word of a change (stores, network file systems)")
	f.BoolVar(&o.force, "force", false, "throw the results of earlier runs in DIR away")
	f.BoolVar(&o.profile, "profile", false, "say in the end where the time went, stage by stage; with GOMAXPROCS=1 also the processor's")
	f.StringVar(&o.metrics, "metrics", "", "`FILE` (.prom) that is written every 5 s for Prometheus' node_exporter: images, rate, time left, stages, memory")
	required(cmd, "model", "out")
	return cmd
}

// kind is the map to make with a model, "" for none: unless it is named, the most refined that the model makes.
func (p *program) kind(o scoreOptions, m *engine.Model) (refine.Kind, error) {
	outputs := o.maps || o.masks || o.overlays
	switch {
	case o.refine == "" && outputs:
		p.missing(m, last(engine.Kinds()))
		return last(m.Kinds()), nil
	case o.refine == "" || o.refine == "none" && !outputs:
		return "", nil
	}
	kind := kindOf(o.refine)
	return kind, made(m, kind)
}

func last(kinds []refine.Kind) refine.Kind { return kinds[len(kinds)-1] }

// scoreSummary is the result of score.
type scoreSummary struct{ run.Summary }

func (scoreSummary) MessageType() string { return "summary" }

func (s scoreSummary) Text(w io.Writer) error {
	on := ""
	if len(s.Devices) > 1 {
		var each []string
		for _, d := range slices.Sorted(maps.Keys(s.Devices)) {
			each = append(each, fmt.Sprintf("%s %d", d, s.Devices[d]))
		}
		on = "computed on: " + strings.Join(each, ", ") + "\n"
	}
	_, err := ui.Fprintf(w, "%s: %d anomalous, %d normal, %d failed; %d of them finished by an earlier run\n%sresults: %s\n",
		counted(s.Images, "image"), s.Anomalous, s.Images-s.Anomalous-s.Failed, s.Failed, s.Kept, on, s.Results)
	return err
}

// watching is where score --watch is: all that there was is scored.
type watching struct {
	Images    int    `json:"images"`
	Anomalous int    `json:"anomalous"`
	Failed    int    `json:"failed"`
	Results   string `json:"results"`
}

func (watching) MessageType() string { return "watching" }

func (w watching) Text(out io.Writer) error {
	_, err := ui.Fprintf(out, "%s: %d anomalous, %d normal, %d failed; watching\n",
		counted(w.Images, "image"), w.Anomalous, w.Images-w.Anomalous-w.Failed, w.Failed)
	return err
}

// taken is what was taken for the images of a Parquet file.
type taken dataset.Column

func (taken) MessageType() string { return "parquet" }

func (t taken) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Path   string `json:"path"`
		Column string `json:"column"`
		Holds  string `json:"holds"`
	}{t.Path, t.Name, t.holds()})
}

func (t taken) holds() string {
	if t.Bytes {
		return "images"
	}
	return "paths"
}

func (t taken) Text(w io.Writer) error {
	_, err := ui.Fprintf(w, "%s: %s are in column %s\n", t.Path, t.holds(), t.Name)
	return err
}

// scored is an image that was scored.
type scored struct{ run.Line }

func (scored) MessageType() string { return "item" }

func (s scored) Text(w io.Writer) error {
	verdict := "normal"
	if s.Anomalous {
		verdict = "anomalous"
	}
	_, err := ui.Fprintf(w, "%-9s %10.5g  %s\n", verdict, s.ImageScore, s.Path())
	return err
}

func (p *program) scoreInputs(ctx context.Context, o scoreOptions, args []string) error {
	began := time.Now()
	buckets := dataset.Buckets{Open: openStore}
	defer buckets.Close()
	where := dataset.Search{
		Out: o.out, MaxBytes: int64(p.imageMemory) << 20, Column: o.column, Buckets: &buckets, Empty: o.watch, Done: ctx.Done(),
	}
	survey, err := run.Look(where, args, o.shard)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	}
	m, err := p.load(o.model, o.backbone)
	if err != nil {
		return err
	}
	if err := o.roi.read(p); err != nil {
		return err
	}
	kind, err := p.kind(o, m)
	if err != nil {
		return err
	}
	opts, err := p.computing()
	if err != nil {
		return err
	}
	opts.Batch, opts.Fingerprints = o.batch, true
	opts.ImageThreshold, opts.PixelThreshold, opts.ROI = o.image, o.pixel, o.roi.region
	if kind != "" {
		opts.Maps = []refine.Kind{kind}
	}
	watch, err := p.watchRun(o.metrics, o.out, modelName(o.model))
	if err != nil {
		return err
	}
	defer watch.end(errors.New("no run"))
	opts.Timer = watch.timer()
	e, err := engine.New(m, opts)
	if err != nil {
		return err
	}
	defer func() {
		if err := e.Close(); err != nil {
			p.ui.Warn(err.Error())
		}
	}()
	var passed passedOver
	where.Left, where.Ignored, where.Took = p.ui.Warn, passed.add, func(c dataset.Column) { p.ui.Note(taken(c)) }
	ro := run.Options{
		Dir: o.out, Force: o.force, Kind: kind, Tell: watch.tell, Waiting: opts.WriteRoom(), Timer: opts.Timer,
		Info: run.Info{
			Version: version(), Model: m.SHA256(), Maps: o.maps, Masks: o.masks, Overlays: o.overlays, Labels: o.labels,
			Threshold: o.image, PixelThreshold: o.pixel, Regions: o.regions, ROI: o.roi.sha256, Shard: o.shard,
		},
	}
	var sum run.Summary
	busy := peak.Clock()
	if o.watch {
		sum, err = run.Watch(ctx, e, ro, run.Watching{
			Args: args, Search: where, Rescan: time.Duration(o.rescan) * time.Second,
			Passed: func(s run.Summary) error { return p.ui.Show(watching{s.Images, s.Anomalous, s.Failed, s.Results}) },
		})
		p.failed = sum.Failed // those that are left
	} else {
		sum, err = run.Run(ctx, e, ro, run.Inputs{Items: where.Inputs(args, p.in), Survey: survey})
	}
	busy = peak.Clock() - busy
	watch.end(err)
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted{fmt.Sprintf("%s done; the same command goes on from there", are(sum.Images, "image"))}
	case errors.Is(err, run.ErrOther):
		return fmt.Errorf("%w: choose another --out, or --force to throw its results away", err)
	case errors.Is(err, run.ErrNoInputs):
		return errors.New("no inputs: the list on standard input is empty")
	case err != nil:
		return err
	}
	p.passedOver(passed)
	sum.Seconds = time.Since(began).Seconds()
	if o.profile {
		if err := p.ui.Show(profileOf(sum.Images-sum.Kept, sum.Seconds, busy, watch.spent.Times())); err != nil {
			return err
		}
	}
	return p.ui.Show(scoreSummary{sum})
}

// tellRun passes on what a run tells.
func (p *program) tellRun(e run.Event) error {
	switch e := e.(type) {
	case run.Scored:
		return p.ui.Show(scored{e.Line})
	case run.Failed:
		p.fail(e.Path, e.Err)
	case run.Progress:
		p.progress(engine.Progress{Phase: "score", Done: e.Done, Total: e.Total})
	case run.Warning:
		p.ui.Warn(e.Text)
	}
	return nil
}
