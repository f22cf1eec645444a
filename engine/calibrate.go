package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/synth"

	"gorgonia.org/tensor"
)

// conformal returns the ceil((n+1)(1-fpr))-th smallest of n scores of normal images: a new one exceeds it with a
// probability of at most fpr. Where n is too small for the rate it is the largest. It sorts scores.
func conformal(scores []float64, fpr float64) float64 {
	slices.Sort(scores)
	return scores[rankOf(len(scores), fpr)-1]
}

func rankOf(n int, fpr float64) int { return min(int(math.Ceil(float64(n+1)*(1-fpr))), n) }

// ImageRate is the share of normal images that lie above the image threshold. Mean is what it is at most in expectation over
// calibrations like this one: the rate asked for, or more where there were too few images for that. AtMost is what it
// does not exceed with 95 % confidence: the threshold is an order statistic, so that this holds for any distribution of
// independent images (metric.AtMost).
func (c *Calibration) ImageRate() (mean, atMost float64) {
	n := c.Source.Images
	if n == 0 {
		return 1, 1
	}
	above := n - rankOf(n, c.ImageFPR)
	return max(c.ImageFPR, 1/float64(n+1)), metric.AtMost(above, n)
}

// calibrate measures the scale of the scores and the thresholds on held-out normal images: first each as it is, for the scale
// and the image threshold, and then, with all maps, each as it is and some with a simulated defect painted on them.
func (f *fitter) calibrate(ctx context.Context, m *Model, held []dataset.Item, source Source) (Calibration, error) {
	source.Images = len(held)
	c := Calibration{Source: source, Q50: 0, Q995: 1, MapQ50: 0, MapQ995: 1, ImageFPR: f.o.ImageFPR, PixelFPR: f.o.PixelFPR}
	m.Info.Calibration = c
	all := trials(held, f.o.Paintings, f.o.Seed)
	done := 0
	step := func() {
		done++
		f.o.Progress(Progress{"calibration", done, len(held) + len(all)})
	}
	if err := f.scale(ctx, m, all[:len(held)], step, &c); err != nil {
		return c, err
	}
	m.Info.Calibration = c
	return c, f.pixelThresholds(ctx, m, all, step, &c)
}

// CalibrateOptions configure Calibrate. The zero value of every field means its default.
type CalibrateOptions struct {
	ImageFPR float64 // false-positive rate of the image threshold on normal images; default: the model's
	PixelFPR float64 // the largest share of the pixels of normal images above a pixel threshold; default: the model's
	// Paintings is the number of simulated defects that the pixel thresholds are measured on; default 48.
	Paintings int
	Options   // how the network runs; Maps, thresholds and ROI are not used
	// Program is recorded as what calibrated the model.
	Program string
	// Progress, if set, is told how far the work is: phases "images" and "calibration".
	Progress func(Progress)
}

// ErrSeen means that images to calibrate on are among those that the model was fitted on.
var ErrSeen = errors.New("images that the model was fitted on")

// Calibrate returns m with another calibration: the thresholds and the scale of the scores are measured on images of normal
// things, none of which the model has seen, in the way of Fit; method, network and base maps stay as they are. Images that
// cannot be used are told to skip (file and reason; it may be nil) and left out, copies of others too; too few are
// ErrFewImages. Images of which the model knows that it was fitted on them, the remembered ones, are refused (ErrSeen).
// A model whose refinement is older than the program's gets a threshold for its base map only: the only one that it makes.
// The same model, images and rates give the same calibration, bit for bit. Cost: see Fit, without its fitting.
func Calibrate(ctx context.Context, m *Model, items []dataset.Item, o CalibrateOptions, skip func(dataset.Item, error)) (*Model, error) {
	was := m.Info.Calibration
	if o.ImageFPR == 0 {
		o.ImageFPR = was.ImageFPR
	}
	if o.PixelFPR == 0 {
		o.PixelFPR = was.PixelFPR
	}
	all, err := FitOptions{
		Method: m.Info.Method, Profile: m.Info.Profile, Size: m.Info.Size, Seed: m.Info.Seed, ImageFPR: o.ImageFPR, PixelFPR: o.PixelFPR,
		Paintings: o.Paintings, Options: o.Options, Program: o.Program, Progress: o.Progress,
	}.withDefaults()
	if err != nil {
		return nil, err
	}
	if skip == nil {
		skip = func(dataset.Item, error) {}
	}
	all.ROI = nil
	next := *m
	next.hash = ""
	e, err := newEngine(&next, all.Options) // what cannot work fails before the images are read
	if err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	f := &fitter{o: all, bb: m.backbone, room: all.decodeRoom(), known: m.Info.Inputs, white: m.Info.WhiteLevel, inspect: sight.Inspect(m.roi, nil)}
	usable, err := f.check(ctx, items, skip)
	if err != nil {
		return nil, err
	}
	if len(usable) < minImages {
		return nil, fmt.Errorf("engine: %w: %d usable, want at least %d to calibrate on", ErrFewImages, len(usable), minImages)
	}
	if err := m.unseen(usable); err != nil {
		return nil, err
	}
	source := Source{From: FromNew, SHA256: filesHash(usable), Program: o.Program}
	source.Device, source.Executor = place.Together(all.Places)
	next.Info.Calibration, err = f.calibrate(ctx, &next, itemsOf(usable), source)
	if len(f.unusable) > 0 && ctx.Err() == nil { // what was measured so far rests on them
		return Calibrate(ctx, m, itemsOf(f.without(usable, skip)), o, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("engine: calibration: %w", err)
	}
	return &next, nil
}

// unseen returns an error (ErrSeen) if the model can tell that it was fitted on some of the images.
func (m *Model) unseen(all []intake) error {
	if filesHash(all) == m.Info.TrainSHA256 {
		return fmt.Errorf("engine: %w: all of those given; thresholds would be too low: name others", ErrSeen)
	}
	known := map[imprint]bool{}
	for _, n := range m.memory {
		known[rememberedPrint(n)] = true
	}
	for _, in := range all {
		if known[in.rounded] {
			return fmt.Errorf("engine: %s: %w: it is one of them; thresholds would be too low: name others", in.item.Path, ErrSeen)
		}
	}
	return nil
}

// scale fills in what the scores of normal images are like, and the image threshold.
func (f *fitter) scale(ctx context.Context, m *Model, held []trial, step func(), c *Calibration) error {
	cells, pixels := metric.NewQuantiles(metric.Options{}), metric.NewQuantiles(metric.Options{})
	defer cells.Close()
	defer pixels.Close()
	var images []float64
	err := f.each(ctx, m, []refine.Kind{refine.Base}, held, step, func(s seen) error {
		images = append(images, s.image)
		var vals []float32
		s.frame.Cells(m.backbone.Stride(), func(v int) { vals = append(vals, s.s[v]) })
		return errors.Join(cells.Add(vals), pixels.Add(sight.Pick(nd.Data(s.maps[refine.Base]), s.frame.Inside)))
	})
	if err != nil {
		return err
	}
	q, err := cells.At(0.5, 0.995)
	if err != nil {
		return err
	}
	c.Q50, c.Q995 = q[0], q[1]
	if q, err = pixels.At(0.5, 0.995); err != nil {
		return err
	}
	c.MapQ50, c.MapQ995 = q[0], q[1]
	if !(c.Q995 > c.Q50 && c.MapQ995 > c.MapQ50) {
		return fmt.Errorf("the scores of the held-out normal images do not vary (median %g, 99.5 %% quantile %g): "+
			"the images may be blank or all the same", c.Q50, c.Q995)
	}
	c.ImageThreshold = conformal(images, c.ImageFPR)
	return nil
}

// pixelThresholds fills in the threshold of each kind of map.
func (f *fitter) pixelThresholds(ctx context.Context, m *Model, all []trial, step func(), c *Calibration) error {
	kinds := Kinds()
	if !m.Info.Refine.Current() { // what else this program would make is not what the model is to make
		kinds = []refine.Kind{refine.Base}
	}
	samples := map[refine.Kind]*sample{}
	for _, k := range kinds {
		samples[k] = newSample()
		defer samples[k].normal.Close()
	}
	err := f.each(ctx, m, kinds, all, step, func(s seen) error {
		mask := sight.Row(s.mask, s.frame.Inspected)
		if mask != nil && !slices.Contains(nd.Data(mask), 1) {
			return nil // painted beside what is inspected
		}
		if mask != nil {
			c.Painted++
			if !slices.Contains(c.Paints, s.defect) {
				c.Paints = append(c.Paints, s.defect)
			}
		}
		for k, to := range samples {
			if err := to.add(sight.Row(s.frame.Native(nd.Data(s.maps[k])), s.frame.Inspected), mask); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(c.Paints)
	c.PixelThreshold, c.Promises = map[refine.Kind]float64{}, map[refine.Kind]Promise{}
	for k, s := range samples {
		if c.PixelThreshold[k], c.Promises[k], err = s.threshold(c.PixelFPR); err != nil {
			return err
		}
	}
	return nil
}

// sample is what the maps of one kind are like.
type sample struct {
	painted *metric.MeanDice
	normal  *metric.Quantiles // of the pixels of images without a defect
	peaks   []float64         // the highest of each of these images
}

func newSample() *sample {
	return &sample{painted: metric.NewMeanDice(), normal: metric.NewQuantiles(metric.Options{})}
}

// add counts a map and the mask of its defect, nil for an image as it is.
func (s *sample) add(m, mask *tensor.Dense) error {
	if mask == nil {
		s.peaks = append(s.peaks, float64(slices.Max(nd.Data(m))))
		return s.normal.Add(nd.Data(m))
	}
	return s.painted.Add(m, mask)
}

// threshold is the one that marks the painted defects best, but none that more than a share of fpr of the pixels of images
// without a defect exceed: where the map does not see the defects, marking everything would be best. Whatever fpr, it is not
// below the median of these pixels.
func (s *sample) threshold(fpr float64) (float64, Promise, error) {
	q, err := s.normal.At(1-fpr, 0.5)
	if err != nil {
		return 0, Promise{}, err
	}
	rule, t := ByRate, max(q[0], q[1])
	if best, _ := s.painted.Best(); best > t {
		rule, t = BySimulation, best
	}
	above, err := s.normal.Above(t)
	marked := 0
	for _, peak := range s.peaks {
		if peak > t {
			marked++
		}
	}
	return t, Promise{Rule: rule, Above: above, Marked: marked, Dice: s.painted.At(t)}, err
}

// trial is a held-out normal image, as it is or with a simulated defect.
type trial struct {
	item   dataset.Item
	defect string // to be painted on the image; "": none
	seed   uint64 // of the defect
}

// defaultPaintings: with half as many a defect of unusual size decides too much.
const defaultPaintings = 48

// trials are the held-out images as they are, and then painted, with the kinds of defect in turn: few images several times,
// of many those at even distances.
func trials(held []dataset.Item, paintings int, seed uint64) []trial {
	n := len(held)
	all := make([]trial, n, n+paintings)
	for i, it := range held {
		all[i].item = it
	}
	kinds, r := synth.Paints(), rand.New(rand.NewPCG(seed, 3))
	for p := range paintings {
		i, kind := p%n, p
		if n > paintings {
			i = p * n / paintings
		}
		if n%len(kinds) == 0 {
			kind += p / n // or an image would get the same kind every time
		}
		all = append(all, trial{held[i], kinds[kind%len(kinds)], r.Uint64()})
	}
	return all
}

// trialBytes is what a trial takes per pixel of its image beside what decoding takes: a map at the image's size, and of one to
// be painted on the planes that it lacks if it is grey, the mask, and what changes.
func trialBytes(t trial) int64 {
	if t.defect == "" {
		return 4
	}
	return 4 + 12 + 4 + 4
}

// open returns a trial's frame and the mask of its defect [H,W] at the image's own size, nil where none is painted. There is
// no frame where the image is too small to paint on. reserve is asked for the memory.
func (f *fitter) open(t trial, reserve func(int64) error) (fr *sight.Frame, mask *tensor.Dense, err error) {
	ask := reserving(reserve, f.o.Size, f.bb.Multiple(), f.bb.MinSide())
	im, err := decodeImage(t.item, f.o.Limits, f.white, func(n imageio.Need) error {
		n.Bytes += trialBytes(t) * int64(n.Height) * int64(n.Width)
		return ask(n)
	})
	if err != nil {
		return nil, nil, err
	}
	if t.defect != "" {
		if h, w := im.Size(); min(h, w) < synth.MinSize {
			return nil, nil, nil
		}
		im.Pix = im.RGB()
		if mask, err = f.paint(im, t); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.item.Path, err)
		}
	}
	fr, err = sight.NewFrame(im, f.o.Size, f.bb.Multiple(), f.bb.MinSide())
	if err == nil {
		err = f.inspect.Restrict(fr)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", t.item.Path, err)
	}
	return fr, mask, nil
}

// paint paints a trial's defect on an image with colour and returns its mask: where only a part is inspected, on the box around that.
func (f *fitter) paint(im *imageio.Image, t trial) (*tensor.Dense, error) {
	h, w := im.Size()
	in, err := f.inspect.At(h, w)
	if err != nil {
		return nil, err
	}
	y0, x0, y1, x1 := box(in, h, w, synth.MinSize)
	if y1-y0 == h && x1-x0 == w {
		return synth.PaintOver(im.Pix, t.defect, t.seed)
	}
	part := imageio.Crop(im.Pix, y0, x0, y1-y0, x1-x0)
	marks, err := synth.PaintOver(part, t.defect, t.seed)
	if err != nil {
		return nil, err
	}
	mask := nd.New(1, h, w)
	imageio.Paste(im.Pix, part, y0, x0)
	imageio.Paste(mask, nd.Wrap(nd.Data(marks), 1, y1-y0, x1-x0), y0, x0)
	return nd.Wrap(nd.Data(mask), h, w), nil
}

// box is the one around the pixels in of an image of h x w, with sides of at least least that stay in the image, which are no longer;
// in nil: all of it.
func box(in []bool, h, w, least int) (y0, x0, y1, x1 int) {
	if in == nil {
		return 0, 0, h, w
	}
	y0, x0 = h, w
	for i, on := range in {
		if on {
			y0, x0, y1, x1 = min(y0, i/w), min(x0, i%w), max(y1, i/w+1), max(x1, i%w+1)
		}
	}
	grow := func(lo, hi, most int) (int, int) {
		if hi-lo < least {
			lo = min(max((lo+hi-least)/2, 0), most-least)
			hi = lo + least
		}
		return lo, hi
	}
	y0, y1 = grow(y0, y1, h)
	x0, x1 = grow(x0, x1, w)
	return y0, x0, y1, x1
}

// seen is what the model finds in a trial.
type seen struct {
	trial
	frame *sight.Frame
	mask  *tensor.Dense
	found
	fatal error // ends the fit, unlike found's
}

// each runs the model on trials one by one and visits what it finds, in their order. It steps for every one, also those that
// have no frame and are not visited.
func (f *fitter) each(ctx context.Context, m *Model, kinds []refine.Kind, all []trial, step func(), visit func(seen) error) error {
	o := f.o.Options
	o.Maps, o.ROI = kinds, nil // the region is the model's
	e, err := newEngine(m, o)
	if err != nil {
		return err
	}
	defer e.Close()
	err = orderedWithin(ctx, newRoom(f.room), slices.Values(all), runtime.GOMAXPROCS(0), func(t trial, reserve func(int64) error) seen {
		s := seen{trial: t}
		var err error
		if s.frame, s.mask, err = f.open(t, reserve); err != nil || s.frame == nil {
			s.fatal = err
			return s
		}
		r, err := e.run(ctx, []*sight.Frame{s.frame})
		if err != nil {
			s.fatal = err
			return s
		}
		s.found = r[0]
		return s
	}, func(s seen) error {
		if s.fatal != nil {
			return s.fatal
		}
		if s.err != nil {
			f.blame(s.item, s.err)
		}
		if len(f.unusable) > 0 {
			return nil
		}
		step()
		if s.frame == nil {
			return nil
		}
		return visit(s)
	}, between{})
	if err == nil && len(f.unusable) > 0 {
		return errUnusable
	}
	return err
}
