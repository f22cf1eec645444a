package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"f2pad/engine/dataset"
	"f2pad/engine/imageio"
	"f2pad/engine/metric"
	"f2pad/engine/nd"
	"f2pad/engine/refine"
	"f2pad/engine/synth"

	"gorgonia.org/tensor"
)

// conformal returns the ceil((n+1)(1-fpr))-th smallest of n scores of normal images: a new one exceeds it with a
// probability of at most fpr. Where n is too small for the rate it is the largest. It sorts scores.
func conformal(scores []float64, fpr float64) float64 {
	slices.Sort(scores)
	n := len(scores)
	return scores[min(int(math.Ceil(float64(n+1)*(1-fpr))), n)-1]
}

// calibrate measures the scale of the scores and the thresholds on held-out normal images: first each as it is, for the scale
// and the image threshold, and then, with all maps, each as it is and some with a simulated defect painted on them.
func (f *fitter) calibrate(ctx context.Context, m *Model, held []dataset.Item) (Calibration, error) {
	c := Calibration{Q50: 0, Q995: 1, MapQ50: 0, MapQ995: 1, ImageFPR: f.o.ImageFPR, PixelFPR: f.o.PixelFPR}
	m.Info.Calibration = c
	all := trials(held, f.o.Seed)
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

// scale fills in what the scores of normal images are like, and the image threshold.
func (f *fitter) scale(ctx context.Context, m *Model, held []trial, step func(), c *Calibration) error {
	cells, pixels := metric.NewQuantiles(metric.Options{}), metric.NewQuantiles(metric.Options{})
	defer cells.Close()
	defer pixels.Close()
	var images []float64
	err := f.each(ctx, m, []refine.Kind{refine.Base}, held, step, func(s seen) error {
		images = append(images, s.image)
		var vals []float32
		s.frame.cells(m.backbone.Stride(), func(v int) { vals = append(vals, s.s[v]) })
		return errors.Join(cells.Add(vals), pixels.Add(nd.Data(s.maps[refine.Base])))
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
	samples := map[refine.Kind]*sample{}
	for _, k := range Kinds() {
		samples[k] = newSample()
		defer samples[k].normal.Close()
	}
	err := f.each(ctx, m, Kinds(), all, step, func(s seen) error {
		if s.mask != nil {
			c.Painted++
			if !slices.Contains(c.Paints, s.defect) {
				c.Paints = append(c.Paints, s.defect)
			}
		}
		for k, to := range samples {
			if err := to.add(s.frame.native(nd.Data(s.maps[k])), s.mask); err != nil {
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
}

func newSample() *sample {
	return &sample{metric.NewMeanDice(), metric.NewQuantiles(metric.Options{})}
}

// add counts a map and the mask of its defect, nil for an image as it is.
func (s *sample) add(m, mask *tensor.Dense) error {
	if mask == nil {
		return s.normal.Add(nd.Data(m))
	}
	return s.painted.Add(m, mask)
}

// threshold is the one that marks the painted defects best, but none that more than a share of fpr of the pixels of images
// without a defect exceed: where the map does not see the defects, marking everything would be best.
func (s *sample) threshold(fpr float64) (float64, Promise, error) {
	q, err := s.normal.At(1 - fpr)
	if err != nil {
		return 0, Promise{}, err
	}
	rule, t := ByRate, q[0]
	if best, _ := s.painted.Best(); best > t {
		rule, t = BySimulation, best
	}
	above, err := s.normal.Above(t)
	return t, Promise{Rule: rule, Above: above, Dice: s.painted.At(t)}, err
}

// trial is a held-out normal image, as it is or with a simulated defect.
type trial struct {
	item   dataset.Item
	defect string // to be painted on the image; "": none
	seed   uint64 // of the defect
}

// paintings is how many images with a simulated defect a fit looks at: with half as many a defect of unusual size decides too
// much.
const paintings = 48

// trials are the held-out images as they are, and then painted, with the kinds of defect in turn: few images several times,
// of many those at even distances.
func trials(held []dataset.Item, seed uint64) []trial {
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
func (f *fitter) open(t trial, reserve func(int64) error) (fr *frame, mask *tensor.Dense, err error) {
	ask := reserving(reserve, f.o.Size, f.bb.Multiple(), f.bb.MinSide())
	im, err := imageio.DecodeWith(t.item.Path, f.o.Limits, func(n imageio.Need) error {
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
		if mask, err = synth.PaintOver(im.Pix, t.defect, t.seed); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.item.Path, err)
		}
	}
	if fr, err = newFrame(im, f.o.Size, f.bb.Multiple(), f.bb.MinSide()); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", t.item.Path, err)
	}
	return fr, mask, nil
}

// seen is what the model finds in a trial.
type seen struct {
	trial
	frame *frame
	mask  *tensor.Dense
	found
	fatal error // ends the fit, unlike found's
}

// each runs the model on trials one by one and visits what it finds, in their order. It steps for every one, also those that
// have no frame and are not visited.
func (f *fitter) each(ctx context.Context, m *Model, kinds []refine.Kind, all []trial, step func(), visit func(seen) error) error {
	o := f.o.Options
	o.Maps = kinds
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
		r, err := e.run(ctx, []*frame{s.frame})
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
	}, nil)
	if err == nil && len(f.unusable) > 0 {
		return errUnusable
	}
	return err
}
