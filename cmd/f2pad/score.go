package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"f2pad/cmd/f2pad/ui"
	"f2pad/engine"
	"f2pad/engine/dataset"
	"f2pad/engine/refine"
	"f2pad/engine/region"

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
	force                 bool
	roi                   regionFile
}

func (p *program) score() *cobra.Command {
	o := scoreOptions{batch: 8}
	cmd := &cobra.Command{
		Use:   "score --model MODEL --out DIR INPUT...",
		Short: "Score images and, on request, write their maps, masks and overlays",
		Long: `Score images. INPUT is files, folders, globs, or - for a list of files on standard input, one per line. DIR gets
results.jsonl, one line for each input in their order, and on request maps/NAME.tiff (float32), masks/NAME.png and
overlays/NAME.png at the images' own size. Where a map is made, the line of an anomalous image lists the regions of its mask.

--threshold and --pixel-threshold decide in place of the model's thresholds ('f2pad eval' takes the same and says what they do);
--close, --fill and --min-area change the masks, in this order. All of these make another run.

Inputs that cannot be scored are reported, and the rest goes on (exit code 3). A run that was interrupted goes on where
it was when the same command is run again; so does one whose inputs have changed. Folders that hold results (run.json) and
DIR itself are no inputs. docs/scripting.md describes the files.`,
		Example: `  f2pad score --model leather.f2pad --out results photos/
  f2pad score --model leather.f2pad --out results --maps --masks --overlays photos/*.png
  find photos -name '*.jpg' | f2pad score --model leather.f2pad --out results --masks --refine residual -`,
		Args: cobra.MinimumNArgs(1),
		PreRunE: func(*cobra.Command, []string) error {
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
	sum     scoreSummary
	total   int // inputs to score; 0: not known
	done    int

	mu    sync.Mutex
	turns []turn // inputs that have been read, until their line is written
	any   bool   // there was an input
	found int    // inputs with a line of an earlier run
	err   error  // ended the reading of inputs
}

// turn is an input on its way: its line is written when those before it are.
type turn struct {
	item dataset.Item
	// err is why it is no image. Such inputs go through the engine, which fails on them: so their lines keep their place.
	err  error
	kept *kept // its line of an earlier run; nil: it is being scored
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
	_, err := ui.Fprintf(w, "%s: %d anomalous, %d normal, %d failed; %d of them finished by an earlier run\nresults: %s\n",
		counted(s.Images, "image"), s.Anomalous, s.Images-s.Anomalous-s.Failed, s.Failed, s.Kept, s.Results)
	return err
}

func (scored) MessageType() string { return "item" }

func (s scored) Text(w io.Writer) error {
	verdict := "normal"
	if s.Anomalous {
		verdict = "anomalous"
	}
	_, err := ui.Fprintf(w, "%-9s %10.5g  %s\n", verdict, s.ImageScore, s.path())
	return err
}

// input is an input as dataset.Inputs gives it.
type input struct {
	item dataset.Item
	err  error
}

func (p *program) scoreInputs(ctx context.Context, o scoreOptions, args []string) error {
	began := time.Now()
	found, err := look(args, o.out)
	if err != nil {
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
		Maps: o.maps, Masks: o.masks, Overlays: o.overlays, Labels: o.labels,
		Threshold: o.image, PixelThreshold: o.pixel, Regions: o.regions, ROI: o.roi.sha256, Executor: e.Executor(), Device: e.Device(),
	}
	j, err := openJournal(o.out, run, o.force, p.ui.Warn)
	if err != nil {
		return err
	}
	defer j.close()
	if !slices.Contains(args, "-") {
		if err := j.others(found.images, found.unlisted); err != nil {
			return err
		}
	}
	s := &scoring{
		program: p, journal: j, total: found.total,
		out: outputs{
			dir: o.out, kind: kind, maps: o.maps, masks: o.masks, overlays: o.overlays, labels: o.labels, regions: o.regions, claim: j.claim,
		},
		sum: scoreSummary{Results: j.path(resultsFile), runInfo: run},
	}
	if err := s.out.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var passed passedOver
	where := dataset.Search{Out: o.out, Left: p.ui.Warn, Ignored: passed.add}
	err = e.Score(ctx, s.todo(feed(ctx, where.Inputs(args, p.in))), s.emit)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = interrupted{fmt.Sprintf("%s done; the same command goes on from there", are(s.sum.Images, "image"))}
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

// survey is what is known of the inputs before anything is written.
type survey struct {
	total    int             // 0: not known
	images   map[uint64]bool // hashes of their paths, if out holds results
	unlisted bool            // some folder could not be listed
}

// look goes through the inputs that can be known beforehand. One that is not there or holds nothing is an error: it is
// more likely mistyped than meant. Of a list on standard input nothing is known.
func look(args []string, out string) (survey, error) {
	s := survey{images: map[uint64]bool{}}
	list := slices.Contains(args, "-")
	results := false
	for _, name := range []string{resultsFile, partFile, oldFile} {
		if _, err := os.Stat(filepath.Join(out, name)); err == nil {
			results = true
		}
	}
	named := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "-" })
	for item, err := range (dataset.Search{Out: out}).Inputs(named, nil) {
		if errors.Is(err, dataset.ErrNamed) {
			return s, err
		}
		s.total++
		s.unlisted = s.unlisted || err != nil
		if results {
			s.images[hash(item.Path)] = true
		}
	}
	if list {
		s.total = 0
	}
	return s, nil
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

// todo returns the inputs that are left to be scored. The others get their turn where they stand between them.
func (s *scoring) todo(next func() (input, bool)) iter.Seq[dataset.Item] {
	return func(yield func(dataset.Item) bool) {
		began := false
		for in, more := next(); more; in, more = next() {
			t := turn{item: in.item, err: in.err}
			k, ok, err := s.journal.keep(in.item)
			if ok {
				t.kept = &k
			}
			s.mu.Lock()
			if ok {
				s.found++
			} else if !began {
				began = true
				s.progress(engine.Progress{Phase: "score", Total: max(0, s.total-s.found)})
			}
			s.any = true
			if s.err = err; err == nil {
				s.turns = append(s.turns, t)
			}
			s.mu.Unlock()
			if err != nil || !ok && !yield(in.item) {
				return
			}
		}
	}
}

// pass gives those their turn whose lines were kept, up to the next input that was scored, and returns that; none where all
// have had theirs.
func (s *scoring) pass() (turn, bool, error) {
	for {
		s.mu.Lock()
		if len(s.turns) == 0 {
			s.mu.Unlock()
			return turn{}, false, nil
		}
		t := s.turns[0]
		s.turns = s.turns[1:]
		s.mu.Unlock()
		if t.kept == nil {
			return t, true, nil
		}
		if err := s.journal.copy(*t.kept); err != nil {
			return turn{}, false, err
		}
		s.sum.Kept++
		s.count(t.kept.anomalous)
	}
}

// errNoInputs ends a run whose list had no line.
var errNoInputs = errors.New("no inputs: the list on standard input is empty")

// end gives the last inputs their turn.
func (s *scoring) end() error {
	if _, _, err := s.pass(); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	if !s.any {
		return errNoInputs
	}
	return nil
}

func (s *scoring) count(anomalous bool) {
	s.sum.Images++
	if anomalous {
		s.sum.Anomalous++
	}
}

// emit writes what was found in an image: its outputs first, then its line, so that a line stands for finished work.
// An output whose name is the image's fault is that image's failure; any other error ends the run.
func (s *scoring) emit(r *engine.Result) error {
	t, ok, err := s.pass()
	if err != nil {
		return err
	}
	if !ok || t.item.Path != r.Item.Path {
		return fmt.Errorf("%s: its result came out of turn, which is a bug in f2pad", r.Item.Path)
	}
	if t.err != nil {
		r.Err = t.err
	}
	var line scored
	if r.Err == nil {
		line, r.Err = s.out.write(r)
		if r.Err != nil && !isNameFault(r.Err) {
			return r.Err
		}
	}
	if r.Err != nil {
		if err := s.journal.add(unscored{nameImage(r.Item.Path), r.Err.Error()}); err != nil {
			return err
		}
		s.sum.Failed++
		s.fail(r.Item.Path, r.Err)
	} else {
		if err := s.journal.add(line); err != nil {
			return err
		}
		if err := s.ui.Show(line); err != nil {
			return err
		}
	}
	s.count(r.Err == nil && r.Anomalous)
	s.done++
	s.mu.Lock()
	left := s.total - s.found
	s.mu.Unlock()
	if s.total > 0 {
		left = max(left, s.done) // there may be more than there were
	}
	s.progress(engine.Progress{Phase: "score", Done: s.done, Total: max(0, left)})
	return nil
}
