// Command f2pad-beam scores images as 'f2pad score' does, as a pipeline of Apache Beam: on the runner Prism, which is part of it, or on a
// cluster, such as one of Flink. docs/beam.md says how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"

	"f2pad.example/beam/scoring"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/run"
	"f2pad.example/engine/run/lock"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/flink"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"
)

// The program's exit codes are those of f2pad.
const (
	exitFailure = 1
	exitUsage   = 2
	exitPartial = 3
)

const usage = `f2pad-beam scores images as 'f2pad score' does, as a pipeline of Apache Beam, and writes their results as Parquet.

Usage:
  f2pad-beam --model MODEL --out DIR [flags] INPUT...

INPUT is files, folders, globs, archives (.tar, .tar.gz, .tgz, .zip), or - for a list of files on standard input, one per line. Model,
inputs and DIR have to be at the same paths on all machines. DIR gets results-*.parquet, a row for each image.

Examples:
  f2pad-beam --model leather.f2pad --out results photos/
  f2pad-beam --model leather.f2pad --out results --runner flink --endpoint localhost:8099 --environment_type LOOPBACK shards/*.tar

Flags:
`

// beamFlags are those of Beam's that help shows.
var beamFlags = []string{"endpoint", "environment_type", "environment_config", "worker_binary", "parallelism", "job_name", "async"}

func main() {
	var j scoring.Job
	own := flag.NewFlagSet("", flag.ContinueOnError)
	own.StringVar(&j.Model, "model", "", "`MODEL` file (required)")
	own.StringVar(&j.Backbone, "backbone", "", "the model's ONNX `FILE`, if it is neither where it was nor beside the model")
	own.StringVar(&j.Out, "out", "", "`DIR` to write to (required)")
	own.IntVar(&j.Shards, "shards", 8, "files that the results are in")
	own.Func("refine", "`MAP` to make: none, residual or f2pad; its regions are listed (default: none, scores alone)", func(s string) error {
		kinds := map[string]refine.Kind{"none": "", string(refine.Residual): refine.Residual, string(refine.F2PAD): refine.F2PAD}
		kind, ok := kinds[s]
		if !ok {
			return errors.New("must be none, residual or f2pad")
		}
		j.Kind = kind
		return nil
	})
	number(own, &j.Threshold, "threshold", "image threshold in place of the model's")
	number(own, &j.PixelThreshold, "pixel-threshold", "pixel threshold of the map in place of the model's")
	own.IntVar(&j.Regions.Close, "close", 0, "close gaps in the masks by a disc of this radius in pixels")
	own.BoolVar(&j.Regions.Fill, "fill", false, "fill holes of the masks, after --close")
	own.IntVar(&j.Regions.MinArea, "min-area", 0, "drop regions of the masks with fewer pixels, after --fill")
	own.StringVar(&j.ROI, "roi", "", "score in this region of interest only: `FILE` with a mask, or with polygons (.json)")
	own.IntVar(&j.Batch, "batch", 8, "images in work at once in a process; results do not depend on it")
	memory := own.Int64("image-memory", imageio.DefaultMaxBytes>>20, "`MiB` that an image may take while it is decoded")
	own.StringVar(&j.Executor, "executor", scoring.GoExecutor, "what the network runs on: pure Go (go) or ONNX Runtime (ort)")
	own.StringVar(&j.Library, "ort-lib", "", "ONNX Runtime's shared library")
	force := own.Bool("force", false, "throw other results in DIR away")
	runner := own.String("runner", "prism", "what runs the pipeline: prism, flink or universal (any portable runner)")
	own.VisitAll(func(f *flag.Flag) { flag.Var(f.Value, f.Name, f.Usage) })
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		own.SetOutput(flag.CommandLine.Output())
		own.PrintDefaults()
		fmt.Fprint(flag.CommandLine.Output(), "\nFlags of Beam, for other runners than prism:\n")
		shown := flag.NewFlagSet("", flag.ContinueOnError)
		shown.SetOutput(flag.CommandLine.Output())
		flag.VisitAll(func(f *flag.Flag) {
			if slices.Contains(beamFlags, f.Name) {
				shown.Var(f.Value, f.Name, f.Usage)
			}
		})
		shown.PrintDefaults()
	}
	flag.Parse()
	beam.Init() // a worker goes no further

	j.ImageMemory = *memory << 20
	for _, arg := range flag.Args() {
		j.Inputs = append(j.Inputs, []byte(arg))
	}
	if err := check(j); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\nSee 'f2pad-beam --help'\n", err)
		os.Exit(exitUsage)
	}
	t, err := score(j, *runner, *force)
	switch {
	case errors.Is(err, run.ErrOther):
		err = fmt.Errorf("%w: choose another --out, or --force to throw its results away", err)
		fallthrough
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(exitFailure)
	case *jobopts.Async:
		fmt.Println("started; when it is done, there is", j.Out+"/_SUCCESS")
	default:
		fmt.Printf("%d images: %d anomalous, %d normal, %d failed\nresults: %s\n", t.Images, t.Anomalous, t.Images-t.Anomalous-t.Failed, t.Failed, j.Out)
	}
	if t.Failed > 0 {
		os.Exit(exitPartial)
	}
}

// number is a flag without a default.
func number(f *flag.FlagSet, value **float64, name, usage string) {
	f.Func(name, usage, func(s string) error {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || v-v != 0 {
			return errors.New("must be a number")
		}
		*value = &v
		return nil
	})
}

// check returns an error where the command line is wrong.
func check(j scoring.Job) error {
	switch {
	case j.Model == "" || j.Out == "":
		return errors.New("--model and --out are required")
	case len(j.Inputs) == 0:
		return errors.New("no INPUT")
	case j.Shards < 1 || j.Batch < 1 || j.ImageMemory < 1 || j.Regions.Close < 0 || j.Regions.MinArea < 0:
		return errors.New("--shards, --batch and --image-memory are at least 1, --close and --min-area at least 0")
	case j.Executor != scoring.GoExecutor && j.Executor != scoring.ORTExecutor:
		return errors.New("--executor is go or ort")
	case j.Kind == "" && (j.PixelThreshold != nil || j.Regions.Close+j.Regions.MinArea > 0 || j.Regions.Fill):
		return errors.New("--pixel-threshold, --close, --fill and --min-area need a map: --refine")
	}
	return nil
}

// score runs the job's pipeline, and says what came of it.
func score(j scoring.Job, runner string, force bool) (t scoring.Tally, err error) {
	if slices.ContainsFunc(j.Inputs, func(arg []byte) bool { return string(arg) == "-" }) {
		if j.List, err = io.ReadAll(os.Stdin); err != nil {
			return t, fmt.Errorf("list on standard input: %w", err)
		}
	}
	if err := os.MkdirAll(j.Out, 0o777); err != nil {
		return t, err
	}
	held, err := lock.Take(filepath.Join(j.Out, scoring.LockFile))
	if err != nil {
		return t, fmt.Errorf("%s: %w", j.Out, err)
	}
	defer held.Release()
	if err := j.Prepare(version(), force); err != nil {
		return t, err
	}
	p, s := beam.NewPipelineWithRoot()
	scoring.Build(s, j)
	if _, err := beam.Run(context.Background(), runner, p); err != nil || *jobopts.Async {
		return t, err
	}
	return j.Summary()
}

// version is that of f2pad in the program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
