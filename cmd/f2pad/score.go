package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"f2pad/engine"
	"f2pad/engine/dataset"
	"f2pad/engine/refine"

	"github.com/spf13/cobra"
)

// scoreOptions are the flags of score.
type scoreOptions struct {
	model, backbone       string
	out, refine           string
	maps, masks, overlays bool
	batch                 int
	force                 bool
}

func (p *program) score() *cobra.Command {
	o := scoreOptions{batch: 8}
	cmd := &cobra.Command{
		Use:   "score --model MODEL --out DIR INPUT...",
		Short: "Score images and, on request, write their maps, masks and overlays",
		Long: `Score images. INPUT is files, folders, globs, or - for a list of files on standard input, one per line. DIR gets
results.jsonl, one line for each input in their order, and on request maps/NAME.tiff (float32), masks/NAME.png and
overlays/NAME.png at the images' own size.

Inputs that cannot be scored are reported, and the rest goes on (exit code 3). A run that was interrupted goes on where
it was when the same command is run again. docs/scripting.md describes the files.`,
		Example: `  f2pad score --model leather.f2pad --out results photos/
  f2pad score --model leather.f2pad --out results --maps --masks --overlays photos/*.png
  find photos -name '*.jpg' | f2pad score --model leather.f2pad --out results --masks --refine residual -`,
		Args: cobra.MinimumNArgs(1),
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
	f.BoolVar(&o.masks, "masks", false, "write masks as PNG: what exceeds the label-free threshold in anomalous images")
	f.BoolVar(&o.overlays, "overlays", false, "write overlays as PNG: image, heat map and the mask's outline")
	f.Var(number{&o.batch, 1, 1024}, "batch", "images in work at once; results do not depend on it")
	f.BoolVar(&o.force, "force", false, "throw the results of earlier runs in DIR away")
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

// scoring is one run of score.
type scoring struct {
	*program
	out     outputs
	journal *journal
	// unlisted holds why an input is no image, until its turn comes. Such inputs go through the engine, which fails on
	// them: so their lines keep their place.
	unlisted sync.Map // path -> error
	sum      scoreSummary
	total    int // inputs to score; 0: not known
	done     int
}

// scoreSummary is the result of score.
type scoreSummary struct {
	Images    int     `json:"images"` // inputs in results.jsonl
	Anomalous int     `json:"anomalous"`
	Failed    int     `json:"failed"`
	Kept      int     `json:"kept"` // of the inputs: finished by an earlier run
	Results   string  `json:"results"`
	Seconds   float64 `json:"seconds"`
	runInfo
}

func (scoreSummary) MessageType() string { return "summary" }

func (s scoreSummary) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d images: %d anomalous, %d normal, %d failed; %d of them finished by an earlier run\nresults: %s\n",
		s.Images, s.Anomalous, s.Images-s.Anomalous-s.Failed, s.Failed, s.Kept, s.Results)
	return err
}

func (scored) MessageType() string { return "item" }

func (s scored) Text(w io.Writer) error {
	verdict := "normal"
	if s.Anomalous {
		verdict = "anomalous"
	}
	_, err := fmt.Fprintf(w, "%-9s %10.5g  %s\n", verdict, s.ImageScore, s.Image)
	return err
}

// input is an input as dataset.Inputs gives it.
type input struct {
	item dataset.Item
	err  error
}

func (p *program) scoreInputs(ctx context.Context, o scoreOptions, args []string) error {
	began := time.Now()
	m, err := p.load(o.model, o.backbone)
	if err != nil {
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
	opts.Batch = o.batch
	if kind != "" {
		opts.Maps = []refine.Kind{kind}
	}
	e, err := engine.New(m, opts)
	if err != nil {
		return err
	}
	defer func() {
		if err := e.Close(); err != nil {
			p.ui.Warn(err.Error())
		}
	}()
	run := runInfo{
		Version: version(), Model: m.SHA256(), Refine: nameOf(kind),
		Maps: o.maps, Masks: o.masks, Overlays: o.overlays, Executor: e.Executor(), Device: e.Device(),
	}
	j, err := openJournal(o.out, run, o.force)
	if err != nil {
		return err
	}
	defer j.close()
	s := &scoring{
		program: p, journal: j,
		out: outputs{dir: o.out, kind: kind, maps: o.maps, masks: o.masks, overlays: o.overlays},
		sum: scoreSummary{Results: j.path(resultsFile), runInfo: run},
	}
	if !slices.Contains(args, "-") {
		for range dataset.Inputs(args, nil, nil) {
			s.total++
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var passed passedOver
	todo, err := s.keep(feed(ctx, dataset.Inputs(args, p.in, passed.add)))
	if err != nil {
		return err
	}
	if err := e.Score(ctx, todo, s.emit); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%d images are done; the same command goes on from there: %w", s.sum.Images, err)
		}
		return err
	}
	if err := j.finish(); err != nil {
		return err
	}
	p.passedOver(passed)
	s.sum.Seconds = time.Since(began).Seconds()
	return p.ui.Show(s.sum)
}

// feed returns a function that gives the next input; none are left when ctx ends, even while standard input is waited for.
func feed(ctx context.Context, inputs iter.Seq2[dataset.Item, error]) func() (input, bool) {
	fed := make(chan input)
	go func() {
		defer close(fed)
		for item, err := range inputs {
			select {
			case fed <- input{item, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() (input, bool) {
		select {
		case in, ok := <-fed:
			return in, ok
		case <-ctx.Done():
			return input{}, false
		}
	}
}

// keep goes through the inputs that an earlier run finished and returns those that are left.
func (s *scoring) keep(next func() (input, bool)) (iter.Seq[dataset.Item], error) {
	in, more := next()
	for ; more; in, more = next() {
		l, ok, err := s.journal.keep(in.item.Path)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		s.sum.Kept++
		s.count(l.Anomalous)
		if l.Error != "" {
			s.sum.Failed++
			s.fail(in.item.Path, errors.New(l.Error))
		}
	}
	return func(yield func(dataset.Item) bool) {
		for ; more; in, more = next() {
			if in.err != nil {
				s.unlisted.Store(in.item.Path, in.err)
			}
			if !yield(in.item) {
				return
			}
		}
	}, nil
}

func (s *scoring) count(anomalous bool) {
	s.sum.Images++
	if anomalous {
		s.sum.Anomalous++
	}
}

// emit writes what was found in an image: its outputs first, then its line, so that a line stands for finished work.
// An error of an output ends the run.
func (s *scoring) emit(r *engine.Result) error {
	if err, ok := s.unlisted.LoadAndDelete(r.Item.Path); ok {
		r.Err = err.(error)
	}
	if r.Err != nil {
		if err := s.journal.add(unscored{r.Item.Path, r.Err.Error()}); err != nil {
			return err
		}
		s.sum.Failed++
		s.fail(r.Item.Path, r.Err)
	} else {
		line, err := s.out.write(r)
		if err != nil {
			return err
		}
		if err := s.journal.add(line); err != nil {
			return err
		}
		if err := s.ui.Show(line); err != nil {
			return err
		}
	}
	s.count(r.Anomalous)
	s.done++
	s.progress(engine.Progress{Phase: "score", Done: s.done, Total: max(0, s.total-s.sum.Kept)})
	return nil
}
