package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
)

// Estimate is what a fit will take, as far as a few of its images say. Seconds and Bytes may be off by a factor of two.
type Estimate struct {
	Images  int     `json:"images"`          // that were given
	Train   int     `json:"train_images"`    // to learn from
	HeldOut int     `json:"held_out_images"` // to calibrate on
	Width   int     `json:"width"`           // px, of the images to the network; the largest of those looked at
	Height  int     `json:"height"`
	Patches int     `json:"patches"` // that the Bank is chosen from; 0: the method has none
	Bank    int     `json:"bank"`
	Seconds float64 `json:"seconds"` // wall time, on what it was measured on
	Bytes   int64   `json:"bytes"`   // of memory at the most
}

// looked is how many images an estimate looks at, paintedOf how many defects it paints on them.
const (
	looked    = 4
	paintedOf = 4
)

// Plan estimates what Fit will take: it goes through all of a fit's steps with a few of the images, at even distances, and scales
// what each took to all of them. It takes some seconds more than an image with a defect does four times. What cannot be fitted
// fails as it does in Fit; images that cannot be used are left out of the look.
func Plan(ctx context.Context, items []dataset.Item, o FitOptions) (*Estimate, error) {
	o.Progress, o.Training, o.Checkpoint = nil, nil, ""
	o.Notice, o.Warn, o.Unlike = nil, nil, nil
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	bb, err := o.openBackbone()
	if err != nil {
		return nil, err
	}
	train, held, err := split(items, o.HoldOut, o.Seed)
	if err != nil {
		return nil, err
	}
	e := &Estimate{Images: len(items), Train: len(train), HeldOut: len(held)}
	memory := watchMemory()
	defer memory.stop()
	clock := time.Now()
	lap := func() float64 {
		d := time.Since(clock)
		clock = clock.Add(d)
		return d.Seconds()
	}

	f := newFitter(o, bb)
	few := make([]dataset.Item, 0, looked)
	for i := range min(looked, len(items)) {
		few = append(few, items[(2*i+1)*len(items)/(2*min(looked, len(items)))])
	}
	fault := errors.New("the rest are copies")
	usable, err := f.check(ctx, few, func(_ dataset.Item, err error) { fault = err })
	if err != nil {
		return nil, err
	}
	if len(usable) < minImages {
		return nil, fmt.Errorf("engine: %w: %d of the %d that were looked at for an estimate are usable: %w", ErrFewImages, len(usable), len(few), fault)
	}
	each := lap() / float64(len(few))
	e.Seconds = each * float64(e.Images+min(max(o.Remember, 0), e.Train))
	if f.o.ROI != nil {
		if usable, err = f.settle(usable, func(dataset.Item, error) {}); err != nil {
			return nil, err
		}
	}
	few = itemsOf(usable)
	n := float64(len(few))
	if learns, ok := bb.(backbone.Fitter); ok {
		if err := learns.Fit(ctx, o.Places[0].Executor(), f.images("backbone", few), o.Seed); err != nil {
			return nil, fmt.Errorf("engine: fitting %s: %w", bb.Name(), err)
		}
		e.Seconds += lap() / n * float64(e.Train)
	}

	m := &Model{backbone: bb, roi: f.region, Info: ModelInfo{Method: o.Method, Profile: o.Profile, Size: o.Size, WhiteLevel: f.white,
		Refine: refine.DefaultOptions(bb.Stride())}}
	if o.Refine != nil {
		m.Info.Refine = *o.Refine
	}
	layers, err := f.layers(ctx, few[0], e)
	if err != nil {
		return nil, err
	}
	lap()
	fitted := &watchedFit{began: clock}
	f.o.Progress, f.o.Training = fitted.progress, fitted.training
	learning, stop := context.WithCancel(ctx)
	defer stop()
	fitted.stop = stop
	m.method, err = f.method(learning, few)
	if err != nil {
		if fitted.left == 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("engine: fitting %s: %w", o.Method, err)
		}
		m.method = nil
	}
	own := lap() - fitted.collected
	kind, err := family(o.Method)
	if err != nil {
		return nil, err
	}
	plan := func(images int) (method.Plan, error) {
		return kind.Plan(method.Fitting{Profile: o.Profile, Native: o.Size.Native()}, layers, images)
	}
	small, err := plan(len(few))
	if err != nil {
		return nil, err
	}
	all, err := plan(e.Train)
	if err != nil {
		return nil, err
	}
	e.Patches, e.Bank = all.Patches, all.Bank
	if fitted.left > 0 { // what is trained was stopped; it sees the images twice
		own = fitted.left
		e.Seconds += fitted.collected / n * float64(e.Train)
	}
	e.Seconds += fitted.collected/n*float64(e.Train) + own*all.Work/small.Work

	if m.method == nil { // what refining takes is the network's and the refinement's: another method stands in
		m.Info.Method, f.o.Method, f.o.Profile = "padim", "padim", ""
		if f.o, err = f.o.withDefaults(); err != nil {
			return nil, err
		}
		m.Info.Profile = f.o.Profile
		if m.method, err = f.method(ctx, few); err != nil {
			return nil, fmt.Errorf("engine: %w", err)
		}
	}
	f.o.Progress, f.o.Training = func(Progress) {}, nil
	if m.memory, err = f.remember(ctx, few); err != nil {
		return nil, err
	}
	m.Info.Calibration = Calibration{Source: Source{From: FromFit, Device: device.CPU}, Q995: 1, MapQ995: 1, ImageFPR: o.ImageFPR, PixelFPR: o.PixelFPR}
	trying, c := trials(few, paintedOf, o.Seed), m.Info.Calibration
	lap()
	nothing := func() {}
	if err := f.scale(ctx, m, trying[:len(few)], nothing, &c); err != nil && !errors.Is(err, errUnusable) {
		return nil, fmt.Errorf("engine: %w", err)
	}
	e.Seconds += lap() / n * 2 * float64(e.HeldOut)
	m.Info.Calibration = c
	painted := trying[len(few):]
	if err := f.each(ctx, m, Kinds(), painted, nothing, func(seen) error { return nil }); err != nil && !errors.Is(err, errUnusable) {
		return nil, fmt.Errorf("engine: %w", err)
	}
	e.Seconds += lap() / float64(len(painted)) * float64(o.Paintings)
	e.Bytes = memory.stop() + max(0, all.Bytes-small.Bytes)
	return e, nil
}

// layers are the sizes of the feature maps of an image, whose own it notes.
func (f *fitter) layers(ctx context.Context, it dataset.Item, e *Estimate) (all [][3]int, err error) {
	fr, _, err := f.load(it, func(int64) error { return nil })
	if err != nil {
		return nil, err
	}
	e.Height, e.Width = fr.Size()
	net := f.network()
	defer net.Close()
	features, err := net.Features(ctx, nd.Wrap(nd.Data(fr.Y), 1, 3, e.Height, e.Width), []backbone.Affine{fr.Normalized(f.bb)})
	if err != nil {
		return nil, err
	}
	for _, l := range features {
		all = append(all, [3]int(slices.Clone(l.Shape()[1:])))
	}
	return all, nil
}

// watchedFit times a method's fit, and stops one that is trained when it is known how long that takes.
type watchedFit struct {
	began     time.Time
	stop      func()
	collected float64 // seconds until the features of the last image of the first pass were there
	left      float64 // seconds that training takes; 0: it is not trained, or not long
}

func (w *watchedFit) progress(p Progress) {
	if p.Phase == "method" && p.Done == p.Total && w.collected == 0 {
		w.collected = time.Since(w.began).Seconds()
	}
}

// trainedFor is how long training is watched.
const trainedFor = 2 * time.Second

func (w *watchedFit) training(p method.Progress) {
	since := time.Since(w.began).Seconds() - w.collected
	if p.Done < p.Total && since > trainedFor.Seconds() {
		w.left = since / float64(p.Done) * float64(p.Total)
		w.stop()
	}
}

// memoryWatch samples what the heap holds.
type memoryWatch struct {
	once sync.Once
	done chan struct{}
	most chan int64
	peak int64
}

func watchMemory() *memoryWatch {
	w := &memoryWatch{done: make(chan struct{}), most: make(chan int64)}
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		most := int64(0)
		for {
			metrics.Read(sample)
			most = max(most, int64(sample[0].Value.Uint64()-sample[1].Value.Uint64()))
			select {
			case <-tick.C:
			case <-w.done:
				w.most <- most
				return
			}
		}
	}()
	return w
}

// stop ends the watch and returns the most that was seen, also when it is called again.
func (w *memoryWatch) stop() int64 {
	w.once.Do(func() {
		close(w.done)
		w.peak = <-w.most
	})
	return w.peak
}
