// Package engine is the public face of F2PAD: fit a detector on normal images, load it, score images in batches, refine
// their maps, evaluate them.
//
// A pixel's way: imageio decodes the file, a frame brings it to the model's size, the network (backbone) turns it into
// features, the method scores every location, refine turns scores into maps, and the frame brings maps back to the
// image's own size.
package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/roi"
	"f2pad.example/engine/sight"

	"gorgonia.org/tensor"
)

// Kinds lists the maps in the order in which reports show them, the most refined last; Model.Kinds those that a model makes.
func Kinds() []refine.Kind { return []refine.Kind{refine.Base, refine.Residual, refine.F2PAD} }

// Options configure an Engine. The zero value scores on the CPU in pure Go and makes no maps.
type Options struct {
	Places    []place.Place              // where everything is computed, each image in one of them: in which is left to chance, so they are of one kind; default: the CPU, in Go
	Fallback  place.Place                // takes over when all Places are lost or too small; nil: none does, and all of them have to have room for the model
	Notice    func(string)               // told when batches are halved, a place is lost, the Fallback takes over, or images are left out as copies, one call at a time; must not call the engine; may be nil
	Warn      func(dataset.Item, string) // told what is odd about an image that is used all the same (its Notes), in the images' order; may be nil
	Batch     int                        // images in work at once in each place, half of them in each of two batches; default 8, and more of small ones. Results do not depend on it
	Maps      []refine.Kind              // maps to make; none: scores only
	Memory    int64                      // bytes that the engine plans to stay within; see Memory. Default: no plan
	Shrink    bool                       // for Memory's sake windows may be smaller than MaxPixels, too, which moves maps by rounding
	MaxPixels int                        // pixels of the largest window that the network runs on at once; default 1<<19
	MaxSide   int                        // that a model may make every image as high and wide as, however small; default DefaultMaxSide, at most 8192
	Context   int                        // pixels of context around what the optimisation looks at; default: all that scores there depend on, or 24 if the receptive field reaches further than 32
	Limits    imageio.Limits             // of images that are accepted; zero fields mean imageio's defaults
	// ImageThreshold and PixelThreshold, that of every kind of map, take the place of the model's; nil: the model's.
	ImageThreshold, PixelThreshold *float64
	// ROI is what is inspected of images; of a model with a region of its own, what lies in both. nil: the model's. Maps are 0
	// outside, and image scores are of what is inside. Calibrate takes the model's alone.
	ROI *roi.Region
	// Unlike is told in what images that are scored, or calibrated on, differ from those that the model learned from, in the images'
	// order; may be nil.
	Unlike func(dataset.Item, Difference)
	// Planned is told how memory is shared out when an engine is made; may be nil.
	Planned func(Memory)
	// Timer is told how long each stage of the work on images took; it is called from several goroutines. May be nil.
	Timer Timer
	// Fingerprints asks for that of every image's file, at the cost of reading it once more, from the system's cache.
	Fingerprints bool

	alone bool // one batch at a time in each place, so that what it takes can be told from what others do
}

const (
	defaultBatch     = 8       // or as many small images as have defaultPixels,
	defaultPixels    = 1 << 19 // up to
	defaultMost      = 64
	defaultMaxPixels = 1 << 19
	batchPixels      = 1 << 23 // a batch of large frames is closed early: they wait in memory as float32 planes
	batchValues      = 1 << 27 // and so is one of large images: half a GiB of their own pixels
)

func (o Options) withDefaults() Options {
	if len(o.Places) == 0 {
		o.Places = []place.Place{place.NewHost(nil)}
	}
	if o.MaxSide == 0 {
		o.MaxSide = DefaultMaxSide
	}
	if o.MaxPixels == 0 {
		o.MaxPixels = defaultMaxPixels
	}
	return o
}

func (o *Options) warn(it dataset.Item, notes []string) {
	for _, note := range notes {
		if o.Warn != nil {
			o.Warn(it, note)
		}
	}
}

func (o *Options) unlike(it dataset.Item, all []Difference) {
	for _, d := range all {
		if o.Unlike != nil {
			o.Unlike(it, d)
		}
	}
}

// Stage is a part of the work on images, and Timer is told how long it took for so many of them. The stages of a batch follow one
// another; those of images that are decoded, and of other batches, run beside.
type (
	Stage = stage.Stage
	Timer = stage.Timer
	Took  = stage.Took
)

// Stages are all in the order of an image's way.
func Stages() []Stage { return stage.Order() }

// Spent adds up what a Timer is told: its Add is one. The zero value is ready, and safe for concurrent use.
type Spent = stage.Spent

// StageTime is a stage's sum.
type StageTime = stage.Time

// Engine scores images with a model. It is safe for concurrent use.
type Engine struct {
	model      *Model
	opts       Options
	threshold  float64 // of images
	thresholds map[refine.Kind]float64
	stride     int
	inspect    *sight.Inspection
	memory     Memory

	mu   sync.Mutex
	at   []*compute  // where the engine computes at the moment: one at least
	left []*compute  // where it computed before
	next place.Place // takes over; nil: none does, or has done so
}

// New returns an engine for m. Maps that m does not make are an error (ErrNoMap).
func New(m *Model, o Options) (*Engine, error) {
	if err := m.Makes(o.Maps...); err != nil {
		return nil, err
	}
	return newEngine(m, o)
}

// newEngine is New, also for a model that has no thresholds yet.
func newEngine(m *Model, o Options) (*Engine, error) {
	o = o.withDefaults()
	if o.Batch < 0 {
		return nil, fmt.Errorf("engine: batch of %d images", o.Batch)
	}
	for i, p := range o.Places {
		if slices.ContainsFunc(o.Places[:i], func(q place.Place) bool { return q.Info() == p.Info() }) {
			return nil, fmt.Errorf("engine: the places have %s twice", p.Info().Device)
		}
	}
	if h, w := m.Info.Size.Padded(m.backbone); max(h, w) > o.MaxSide {
		return nil, fmt.Errorf("engine: %w: the model makes %d x %d px of all images, from size.px %d and the backbone's least side %d and multiple %d; "+
			"at most %d a side are allowed (MaxSide)", imageio.ErrTooLarge, w, h, m.Info.Size.Px, m.backbone.MinSide(), m.backbone.Multiple(), o.MaxSide)
	}
	if b, ok := m.backbone.(backbone.External); ok && !b.Bound() {
		return nil, fmt.Errorf("engine: the model's network, %s, is not loaded: see LoadWith", b.File())
	}
	shared, err := o.share(m)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	o.Batch = shared.Batch
	if o.Planned != nil {
		o.Planned(shared)
	}
	e := &Engine{model: m, opts: o, memory: shared, stride: m.backbone.Stride(), inspect: sight.Inspect(m.roi, o.ROI), next: o.Fallback}
	e.threshold, e.thresholds = m.thresholds(o)
	spec := sight.Spec{Backbone: m.backbone, Method: m.method, MaxPixels: shared.Window, Context: o.Context, Timer: o.Timer}
	if err := e.bring(spec); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Executor says what the network runs on at the moment; of several places, see place.Together.
func (e *Engine) Executor() exec.Info {
	_, ex := place.Together(e.places())
	return ex
}

// Device says where the engine computes at the moment; of several places, see place.Together.
func (e *Engine) Device() device.Info {
	d, _ := place.Together(e.places())
	return d
}

// Places is in how many places the engine computes at the moment. Who gives it images in several calls of Score makes as many at once.
func (e *Engine) Places() int { return len(e.places()) }

// Close frees the engine's buffers, also on a device.
func (e *Engine) Close() error {
	var errs []error
	for _, c := range append(e.left, e.at...) {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// Result is what the engine found in one image.
type Result struct {
	Item  dataset.Item
	Err   error // the image could not be scored: the file and the reason. Nothing below is set
	Image *imageio.Image
	File  Fingerprint // of what was scored, if Options ask for it

	Score     float64 // the method's image score
	Threshold float64 // image threshold: the model's, or that of Options
	Anomalous bool    // Score > Threshold
	Refined   bool    // a suspicious region was found and refined
	Suspect   float64 // share of the frame's pixels in that region
	Device    string  // that computed it: "cpu", "cuda:0"

	Maps           map[refine.Kind]*tensor.Dense // [H,W] at the image's own size
	Inspected      []bool                        // [H,W]: the pixels in the region of interest, outside of which maps are 0; nil: all
	PixelThreshold map[refine.Kind]float64       // of Model.Kinds, label-free unless Options give another
	// Seconds is the wall time from features to that map, that of a batch divided by its images; Base: scores alone. Decoding is left
	// out. Another batch may be in work beside, which makes it longer.
	Seconds map[refine.Kind]float64
}

// decoded is an image on its way to a batch.
type decoded struct {
	res   *Result
	frame *sight.Frame
}

// decode reads an image and makes its frame. reserve is asked for the memory that it takes.
func (e *Engine) decode(it dataset.Item, reserve func(int64) error) decoded {
	r := &Result{Item: it}
	defer it.Release()
	defer e.opts.Timer.Pin()()
	lap := e.opts.Timer.Start(1)
	size, multiple, least := e.model.Info.Size, e.model.backbone.Multiple(), e.model.backbone.MinSide()
	im, err := e.read(r, reserving(reserve, size, multiple, least))
	if err != nil {
		r.Err = err
		return decoded{res: r}
	}
	lap(stage.Decode)
	f, err := sight.NewFrame(im, size, multiple, least)
	if err == nil {
		err = e.inspect.Restrict(f)
	}
	lap(stage.Frame)
	if err != nil {
		r.Err = fmt.Errorf("%s: %w", it.Path, err)
		return decoded{res: r}
	}
	r.Image, r.Inspected = im, f.Inspected
	return decoded{res: r, frame: f}
}

// read decodes the image of r and, where that is asked for, says which content it was that it decoded.
func (e *Engine) read(r *Result, reserve func(imageio.Need) error) (*imageio.Image, error) {
	if !e.opts.Fingerprints {
		return decodeImage(r.Item, e.opts.Limits, e.model.Info.WhiteLevel, reserve)
	}
	var err error
	if r.File, err = FingerprintOf(r.Item); err != nil {
		return nil, err
	}
	im, err := decodeImage(r.Item, e.opts.Limits, e.model.Info.WhiteLevel, reserve)
	if err != nil {
		return nil, err
	}
	return im, r.File.unchanged(r.Item)
}

// Score streams items through the model in batches and calls emit for each, in their order. An image that fails is
// emitted with Err set, and the rest goes on. Two batches are in work side by side in each place, and another one waits. Images that are decoded
// ahead share 1 GiB (256 MiB for each core where there are more than four); a larger one is decoded alone. A batch waits for no item
// that is not there: where items gives none for a moment, what is there is scored. When ctx ends, what is in work is
// finished and emitted, and Score returns ctx's error; an error of emit ends the run. Items are released when they are decoded.
func (e *Engine) Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*Result) error) error {
	l := e.lanes(ctx, emit)
	defer l.wait()
	// What waits in a batch has given its room back: it is bounded by the batch, which an image too large for that closes.
	err := orderedWithin(ctx, newRoom(e.memory.Decode), items, runtime.GOMAXPROCS(0), e.decode, l.add,
		between{idle: l.finish, ready: l.ready, landed: l.land})
	if err == nil {
		return l.finish()
	}
	if ctx.Err() != nil { // nobody is left with half of what is in work
		if err := l.landAll(); err != nil {
			return err
		}
	}
	return err
}

// scoreBatch scores the images of a batch: those of one size together, different sizes at the same time.
func (e *Engine) scoreBatch(ctx context.Context, batch []decoded) error {
	defer e.opts.Timer.Pin()()
	type size struct{ h, w int }
	at := map[size]int{}
	var groups [][]decoded
	for _, d := range batch {
		if d.frame == nil {
			continue
		}
		h, w := d.frame.Size()
		g, ok := at[size{h, w}]
		if !ok {
			g = len(groups)
			at[size{h, w}] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], d)
	}
	return par.Err(len(groups), func(i int) error { return e.scoreGroup(ctx, groups[i]) })
}

// scoreGroup scores images of one size.
func (e *Engine) scoreGroup(ctx context.Context, group []decoded) error {
	frames := make([]*sight.Frame, len(group))
	for i, d := range group {
		frames[i] = d.frame
	}
	maps, err := e.run(ctx, frames)
	if err != nil {
		return err
	}
	lap := e.opts.Timer.Start(len(frames))
	defer func() { lap(stage.Restore) }()
	for i, d := range group {
		r, m := d.res, maps[i]
		if m.err != nil {
			r.Err, r.Image, r.Inspected = fmt.Errorf("%s: %w", d.res.Item.Path, m.err), nil, nil
			continue
		}
		r.Score, r.Threshold = m.image, e.threshold
		r.Anomalous = r.Score > r.Threshold
		r.Refined, r.Suspect, r.Device, r.Seconds = m.refined, m.suspect, m.device, m.seconds
		r.Maps = make(map[refine.Kind]*tensor.Dense, len(e.opts.Maps))
		r.PixelThreshold = e.thresholds
		for k, t := range m.maps {
			r.Maps[k] = d.frame.Native(nd.Data(t))
		}
	}
	return nil
}

// found is what a batch's run gives for one frame: maps in the frame's space.
type found struct {
	err     error // no room on the device, or no finite values; nothing below is set
	image   float64
	s       []float32 // [h*w] scores
	refined bool
	suspect float64
	device  string
	maps    map[refine.Kind]*tensor.Dense // [H,W]
	seconds map[refine.Kind]float64
}

// runOn scores frames of one size and makes the engine's maps of them.
func (e *Engine) runOn(ctx context.Context, c *compute, frames []*sight.Frame) ([]found, error) {
	start := time.Now()
	H, W := frames[0].Size()
	N := len(frames)
	x := nd.New(N, 3, H, W)
	norms := make([]backbone.Affine, N)
	for i, f := range frames {
		copy(nd.Data(x)[i*3*H*W:], nd.Data(f.Y))
		norms[i] = f.Normalized(e.model.backbone)
	}
	cal := e.model.Info.Calibration
	sc := &sight.Scorer{Detector: c.detector, Spec: c.spec, Scale: cal.scores(), Rank: cal.maps(), Norms: norms, Frames: frames}
	defer sc.Finish()
	image := make([]float32, N)
	for i := range image {
		image[i] = float32(math.NaN()) // stays where the method has no image score of its own
	}
	s, err := sc.Start(ctx, x, image)
	if err != nil {
		return nil, err
	}
	h, w := H/e.stride, W/e.stride
	var bad sight.BadFrames
	for i := range frames {
		if own := nd.Data(s)[i*h*w:][:h*w]; !sight.Finite(own) || math.IsInf(float64(image[i]), 0) {
			bad.Add(i, fmt.Errorf("engine: %s on %s gives scores that are not finite", e.model.method.Name(), e.model.backbone.Name()))
		}
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	lap := e.opts.Timer.Start(N)
	bases := make([]float32, N*H*W)
	all := make([]int, N)
	for i := range all {
		all[i] = i
	}
	if err := sc.OwnMaps(all, nd.Data(s), h, w, H, W, nil, bases); err != nil {
		return nil, err
	}
	out := make([]found, N)
	in := make([]refine.Input, N)
	par.For(N, func(i int) {
		f := frames[i]
		base := nd.Wrap(bases[i*H*W:(i+1)*H*W], H, W)
		out[i].device = c.Info().Device
		out[i].s = nd.Data(s)[i*h*w : (i+1)*h*w]
		out[i].image = float64(image[i])
		if math.IsNaN(out[i].image) {
			out[i].image = f.Max(nd.Data(base))
		}
		z := nd.New(h, w)
		cells := nd.Data(z)
		for v, sv := range out[i].s {
			cells[v] = float32(sc.Scale.Z(sv))
		}
		sight.Blank(cells, f.Grid(h, w)) // nothing is suspicious there
		v := nd.New(H, W)
		pixels := nd.Data(v)
		for p, b := range nd.Data(base) {
			pixels[p] = float32(sc.Rank.Z(b))
		}
		in[i] = refine.Input{Y: f.Y, Z: z, V: v, Base: base, Seed: f.Seed(e.model.Info.Seed), Memory: e.model.memory}
	})
	lap(stage.Maps)
	scored := time.Since(start).Seconds() / float64(N)
	for i := range in {
		if !sight.Finite(nd.Data(in[i].Base)) || len(e.opts.Maps) > 0 && !(bounded(nd.Data(in[i].Z)) && bounded(nd.Data(in[i].V))) {
			bad.Add(i, fmt.Errorf("engine: %s on %s gives scores that are beyond what a map can hold", e.model.method.Name(), e.model.backbone.Name()))
		}
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if len(e.opts.Maps) == 0 {
		for i := range out {
			out[i].seconds = map[refine.Kind]float64{refine.Base: scored}
		}
		return out, nil
	}
	refined, err := c.refiner.Run(ctx, sc, in, e.opts.Maps)
	if err != nil {
		if blame := sc.Bad.Err(); blame != nil && ctx.Err() == nil {
			err = blame
		}
		return nil, err
	}
	for i, r := range refined {
		for k, t := range r.Maps {
			if !sight.Finite(nd.Data(t)) {
				bad.Add(i, fmt.Errorf("engine: its %s map on %s is not finite", k, e.model.backbone.Name()))
			}
		}
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	for i, r := range refined {
		out[i].refined, out[i].maps = r.Refined, r.Maps
		out[i].suspect = float64(r.Pixels) / float64(H*W)
		out[i].seconds = map[refine.Kind]float64{refine.Base: scored}
		for k, t := range r.Seconds {
			out[i].seconds[k] = scored + t
		}
	}
	return out, nil
}

// bounded reports whether the refinement can work with the values: no NaN, and none beyond what it takes.
func bounded(x []float32) bool {
	const most = 1e30
	for _, v := range x {
		if !(v >= -most && v <= most) {
			return false
		}
	}
	return true
}
