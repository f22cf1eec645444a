// Package export makes of the results of a run what other tools read.
//
//	export.go       Export, what it is asked for, and the way of each line
//	formats.go      the formats: what each holds, takes and needs
//	picture.go      the regions of an image, as its mask has them
//	runs.go         how masks are written as lengths of runs
//	names.go        what images are called elsewhere
//	table.go        rows of images or regions; csv.go, parquet.go
//	coco.go, cvat.go, labelstudio.go, mvtec.go
//
// docs/scripting.md describes what is written.
package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/run"
)

// Options say what is written, and where.
type Options struct {
	Format string // one of Formats
	Out    string // the file, or the folder

	// What follows is for some formats only (Format.Takes). The zero values are the defaults.

	EachRegion bool    // tables have a row for each region; otherwise for each image
	Polygons   bool    // outlines of regions; in annotations, in place of their pixels
	Simplify   float64 // px that a corner of a polygon may be off when it is left out
	Label      string  // what a region is called; DefaultLabel
	RelativeTo string  // a folder that images' names are relative to; "": as they were given to score
	Prefix     string  // before images' names
	Object     string  // what images show, where their paths do not say it

	Progress func(done, total int)           // may be nil
	LeftOut  func(image string, cause error) // told of each image (or line, of one that is broken) that is left out, which cause names; may be nil
}

// DefaultLabel is what a region is called.
const DefaultLabel = "defect"

// Summary is what came of an export. Images are those exported, those failed and those left out.
type Summary struct {
	Format   string  `json:"format"`
	Path     string  `json:"path"`
	Images   int     `json:"images"` // lines of the results
	Exported int     `json:"exported"`
	Failed   int     `json:"failed"`   // in the run
	LeftOut  int     `json:"left_out"` // of what was scored: could not be exported
	Regions  int     `json:"regions"`  // of the exported images
	Finished bool    `json:"finished"` // the run is
	Seconds  float64 `json:"seconds"`
}

// ErrOwn means that an export would overwrite the run's own files.
var ErrOwn = errors.New("is the run's own")

// Export writes results in a format. A file appears when it is complete; of a folder, which may hold those of other runs, each file
// does. Images whose masks or maps are not there or broken are told and left out, and so are those whose names do not fit; they do
// not end it. It holds some hundred lines at once. The summary is of what was done, also with an error.
func Export(ctx context.Context, r *run.Results, o Options) (Summary, error) {
	began := time.Now()
	x := &exporting{Options: o, results: r, sum: Summary{Format: o.Format, Path: o.Out, Finished: r.Finished}}
	if x.Label == "" {
		x.Label = DefaultLabel
	}
	f, err := o.Check()
	if err == nil {
		err = x.prepare(f)
	}
	switch {
	case err != nil:
	case f.Folder:
		err = x.export(ctx, f, nil)
	default:
		err = artifact.WriteFileAtomic(o.Out, func(w io.Writer) error { return x.export(ctx, f, w) })
	}
	x.sum.Seconds = time.Since(began).Seconds()
	return x.sum, err
}

// exporting is one Export at work.
type exporting struct {
	Options
	results *run.Results
	sum     Summary
}

// prepare finds out what cannot work before there is work.
func (x *exporting) prepare(f Format) error {
	masks, maps := f.needs(x.Options)
	switch info := x.results.Info; {
	case masks && !info.Masks:
		return fmt.Errorf("%s: the run wrote no masks, which %s is made of: score with --masks", x.results.Dir, f.Name)
	case maps && !info.Maps:
		return fmt.Errorf("%s: the run wrote no maps, which %s is made of: score with --maps", x.results.Dir, f.Name)
	case x.EachRegion && info.Refine == run.RefineName("") && !info.Masks && !info.Maps && !info.Overlays:
		return fmt.Errorf("%s: the run made no maps, so that there are no regions: score with --masks, --maps, --overlays or --refine", x.results.Dir)
	}
	own, err := x.results.Owns(x.Out)
	if err != nil {
		return err
	}
	if own {
		return fmt.Errorf("%s %w", x.Out, ErrOwn)
	}
	if f.Folder {
		return artifact.WritableFolder(x.Out)
	}
	if info, err := os.Stat(x.Out); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", x.Out)
	}
	return artifact.WritableFolder(filepath.Dir(x.Out))
}

// sink takes the images of a run into one format.
type sink interface {
	// take does what can be done while others are taken, and returns what is to be done in the images' order. The error of take is the
	// image's, which is left out; so is a fault that write returns, any other ends the export.
	take(e *entry) (write func() error, err error)
	// end writes what follows the last image.
	end() error
}

// fault is why an image is left out.
type fault struct{ error }

func (f fault) Unwrap() error { return f.error }

// entry is a line on its way.
type entry struct {
	*exporting
	run.Outcome
	number  int // of the line, from 1 on
	regions int // how many are exported

	write func() error
	err   error
}

// perCore is how many lines are worked on at once for each core.
const perCore = 32

func (x *exporting) export(ctx context.Context, f Format, w io.Writer) error {
	to, err := f.open(x, w)
	if err != nil {
		return err
	}
	if c, ok := to.(io.Closer); ok {
		defer c.Close()
	}
	next, stop := iter.Pull2(x.results.All())
	defer stop()
	batch := make([]entry, 0, perCore*runtime.GOMAXPROCS(0))
	for more := true; more; {
		batch = batch[:0]
		for more && len(batch) < cap(batch) {
			var e entry
			if e.Outcome, e.err, more = next(); !more {
				break
			}
			if e.err != nil && !errors.Is(e.err, run.ErrBrokenLine) {
				return e.err
			}
			x.sum.Images++
			e.exporting, e.number = x, x.sum.Images
			batch = append(batch, e)
		}
		par.For(len(batch), func(i int) {
			if e := &batch[i]; e.err == nil && (e.Error == "" || f.failed) {
				if e.write, e.err = to.take(e); e.err != nil {
					e.err = fault{e.err}
				}
			}
		})
		for i := range batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := x.commit(&batch[i]); err != nil {
				return err
			}
		}
	}
	return to.end()
}

// commit writes an image, or tells that it is left out.
func (x *exporting) commit(e *entry) error {
	if e.err == nil && e.write != nil {
		e.err = e.write()
	}
	switch {
	case e.err == nil && e.Error != "":
		x.sum.Failed++
	case e.err == nil:
		x.sum.Exported++
		x.sum.Regions += e.regions
	case errors.As(e.err, &fault{}), errors.Is(e.err, run.ErrBrokenLine):
		x.sum.LeftOut++
		if x.LeftOut != nil {
			x.LeftOut(cmp.Or(e.Path(), fmt.Sprintf("line %d", e.number)), e.err)
		}
	default:
		return e.err
	}
	if x.Progress != nil {
		x.Progress(e.number, max(e.number, x.results.Lines))
	}
	return nil
}

// at is the path of one of the run's outputs.
func (e *entry) at(name string) string { return filepath.Join(e.results.Dir, filepath.FromSlash(name)) }
