package engine

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"f2pad/engine/dataset"
	"f2pad/engine/imageio"
	"f2pad/engine/metric"
	"f2pad/engine/refine"

	"gorgonia.org/tensor"
)

// All is the category that pools every image of a data set.
const All = "all"

// The resamples that Eval's intervals come from.
const (
	resamples    = 1000
	resampleSeed = 0
)

// EvalOptions configure Eval.
type EvalOptions struct {
	Options         // Maps: default all that the model makes
	Limit    int    // images per class, the first by name; 0: all
	Spread   bool   // Limit takes images at even distances by name, instead of the first
	TempDir  string // parent of a folder for maps between the two passes (4 bytes per pixel and kind); "": the system's
	Progress func(Progress)
	// Failed is told of every image that could not be evaluated (file and reason).
	Failed func(dataset.Item, error)
	// Visit, if set, sees every image once more after the rows are known, in the order of the data set: for galleries.
	Visit func(*Case) error
}

// Case is an evaluated image.
type Case struct {
	Item       dataset.Item
	Score      float64
	Anomalous  bool                           // Score above the image threshold
	AP         map[refine.Kind]metric.Value   // of this image's pixels; undefined for normal images
	Open       func() (*imageio.Image, error) // the image
	Mask       *tensor.Dense                  // [H,W] 0/1; nil for normal images
	Maps       map[refine.Kind]*tensor.Dense  // [H,W] at the image's own size
	Thresholds map[refine.Kind]float64        // label-free
}

// Eval scores the test images of an MVTec data set, makes the maps asked for, and measures them against the ground truth
// at the images' own size. A category is a defect type, measured on its images and all normal ones; All pools everything.
// The image score is the method's and does not depend on the kind of map.
//
// Two passes: the first scores and counts, the second reads the maps back for what needs the best threshold or common bins.
// Memory does not grow with the data set but for what metric.Bootstrap keeps of an image, once for All and once for each
// category that the image is in.
func Eval(ctx context.Context, m *Model, test []dataset.Item, o EvalOptions) ([]metric.Row, error) {
	if len(o.Maps) == 0 {
		o.Maps = m.Kinds()
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Failed == nil {
		o.Failed = func(dataset.Item, error) {}
	}
	test = limitPerClass(test, o.Limit, o.Spread)
	tmp, err := os.MkdirTemp(o.TempDir, "f2pad-eval-")
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	defer os.RemoveAll(tmp)
	ev := newEvaluation(m, test, o, tmp)
	defer ev.close()

	e, err := New(m, o.Options)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	done := 0
	err = e.Score(ctx, slices.Values(test), func(r *Result) error {
		done++
		o.Progress(Progress{"score", done, len(test)})
		if r.Err == nil {
			r.Err = ev.add(r)
		}
		if r.Err != nil {
			o.Failed(r.Item, r.Err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ev.rows(ctx)
}

// limitPerClass keeps n items of each class: the first, or those in the middle of n equal parts of the class.
func limitPerClass(items []dataset.Item, n int, spread bool) []dataset.Item {
	if n <= 0 {
		return items
	}
	total, seen, kept := map[string]int{}, map[string]int{}, map[string]int{}
	for _, it := range items {
		total[it.Class]++
	}
	return slices.DeleteFunc(slices.Clone(items), func(it dataset.Item) bool {
		next := kept[it.Class]
		if most := total[it.Class]; spread && most > n {
			next = (2*next + 1) * most / (2 * n)
		}
		keep := seen[it.Class] == next && kept[it.Class] < n
		seen[it.Class]++
		if keep {
			kept[it.Class]++
		}
		return !keep
	})
}

// evaluation accumulates one run of Eval.
type evaluation struct {
	model      *Model
	o          EvalOptions
	dir        string
	categories []string
	pixels     map[refine.Kind]map[string]*metric.Pixels
	images     map[string]*metric.Images
	seconds    map[refine.Kind]map[string]float64
	cases      []scoredCase
}

// scoredCase is what is kept of an image between the passes; its maps are on disk.
type scoredCase struct {
	item      dataset.Item
	h, w      int
	score     float64
	anomalous bool
}

func newEvaluation(m *Model, test []dataset.Item, o EvalOptions, dir string) *evaluation {
	ev := &evaluation{
		model: m, o: o, dir: dir,
		pixels: map[refine.Kind]map[string]*metric.Pixels{}, images: map[string]*metric.Images{},
		seconds: map[refine.Kind]map[string]float64{},
	}
	for _, it := range test {
		if it.Mask != "" && !slices.Contains(ev.categories, it.Class) {
			ev.categories = append(ev.categories, it.Class)
		}
	}
	slices.Sort(ev.categories)
	ev.categories = append(ev.categories, All)
	for _, c := range ev.categories {
		ev.images[c] = &metric.Images{}
	}
	for _, k := range o.Maps {
		ev.pixels[k], ev.seconds[k] = map[string]*metric.Pixels{}, map[string]float64{}
		for _, c := range ev.categories {
			ev.pixels[k][c] = metric.NewPixels(metric.Options{TempDir: dir})
		}
	}
	return ev
}

func (ev *evaluation) close() {
	for _, byCategory := range ev.pixels {
		for _, p := range byCategory {
			p.Close()
		}
	}
}

// in yields the categories that an image counts in: a normal one in all.
func (ev *evaluation) in(it dataset.Item) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, c := range ev.categories {
			if (it.Mask == "" || c == it.Class || c == All) && !yield(c) {
				return
			}
		}
	}
}

// mask reads an image's ground truth, nil for a normal image.
func mask(it dataset.Item, h, w int, lim imageio.Limits) (*tensor.Dense, error) {
	if it.Mask == "" {
		return nil, nil
	}
	t, err := imageio.ReadMask(it.Mask, lim)
	if err != nil {
		return nil, err
	}
	if s := t.Shape(); s[0] != h || s[1] != w {
		return nil, fmt.Errorf("%s: mask of %dx%d pixels for an image of %dx%d", it.Mask, s[1], s[0], w, h)
	}
	return t, nil
}

// add counts one scored image and puts its maps aside.
func (ev *evaluation) add(r *Result) error {
	sh := r.Image.Pix.Shape()
	truth, err := mask(r.Item, sh[1], sh[2], ev.o.Limits)
	if err != nil {
		return err
	}
	index := len(ev.cases)
	for _, k := range ev.o.Maps {
		if err := imageio.WriteMap(ev.path(k, index), r.Maps[k]); err != nil {
			return err
		}
	}
	for c := range ev.in(r.Item) {
		for _, k := range ev.o.Maps {
			if err := ev.pixels[k][c].Add(r.Maps[k], truth); err != nil {
				return err
			}
			ev.seconds[k][c] += r.Seconds[k]
		}
		if err := ev.images[c].Add(r.Score, truth != nil); err != nil {
			return err
		}
	}
	ev.cases = append(ev.cases, scoredCase{item: r.Item, h: sh[1], w: sh[2], score: r.Score, anomalous: r.Anomalous})
	return nil
}

// rows computes the table: by category, and in it by kind of map.
func (ev *evaluation) rows(ctx context.Context) ([]metric.Row, error) {
	results := map[refine.Kind]map[string]metric.PixelResult{}
	contours := map[refine.Kind]map[string]*metric.Boundary{}
	losses := map[refine.Kind]map[string]*metric.Losses{}
	boots := map[string]*metric.Bootstrap{}
	thresholds := ev.model.thresholds()
	for _, k := range ev.o.Maps {
		results[k], contours[k] = map[string]metric.PixelResult{}, map[string]*metric.Boundary{}
		losses[k] = map[string]*metric.Losses{}
		for _, c := range ev.categories {
			r, err := ev.pixels[k][c].Result(thresholds[k])
			if err != nil {
				return nil, err
			}
			results[k][c], contours[k][c], losses[k][c] = r, &metric.Boundary{}, &metric.Losses{}
		}
	}
	for _, c := range ev.categories {
		var bins []*metric.Bins
		for _, k := range ev.o.Maps {
			bins = append(bins, results[k][c].Bins)
		}
		boots[c] = metric.NewBootstrap(bins...)
	}
	for i, sc := range ev.cases {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ev.o.Progress(Progress{"boundaries", i + 1, len(ev.cases)})
		cs, err := ev.read(i, sc)
		if err != nil {
			return nil, err
		}
		var maps []*tensor.Dense
		for _, k := range ev.o.Maps {
			maps = append(maps, cs.Maps[k])
		}
		for c := range ev.in(sc.item) {
			for _, k := range ev.o.Maps {
				if err := contours[k][c].Add(cs.Maps[k], cs.Mask, results[k][c].Oracle.Threshold); err != nil {
					return nil, err
				}
				if base, ok := cs.AP[refine.Base]; ok && k != refine.Base {
					losses[k][c].Add(cs.AP[k], base)
				}
			}
			if err := boots[c].Add(cs.Mask, maps...); err != nil {
				return nil, err
			}
		}
		if ev.o.Visit != nil {
			if err := ev.o.Visit(cs); err != nil {
				return nil, err
			}
		}
	}
	var rows []metric.Row
	for i, c := range ev.categories {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := ev.images[c].Len()
		over := ev.intervals(boots[c])
		ev.o.Progress(Progress{"intervals", i + 1, len(ev.categories)})
		for _, k := range ev.o.Maps {
			r := results[k][c]
			rows = append(rows, metric.Row{
				Category: c, Map: string(k), Images: n, Defective: boots[c].Defective(),
				ImageAUROC: ev.images[c].AUROC(), PixelAUROC: r.AUROC, PixelAP: r.AP, AUPRO: r.AUPRO,
				DiceOracle: r.Oracle.Dice(), IoUOracle: r.Oracle.IoU(),
				DiceLabelFree: r.LabelFree.Dice(), IoULabelFree: r.LabelFree.IoU(),
				BoundaryF: contours[k][c].F(), SecondsPerImage: ev.seconds[k][c] / float64(max(n, 1)),
				Worse: losses[k][c].Share(), OverBase: over(k, refine.Base), OverControl: over(k, refine.Residual),
			})
		}
	}
	return rows, nil
}

// intervals resamples a category's images. What it returns gives the interval of what a map's pooled AP gains over that of
// a less refined one, nil where that was not measured.
func (ev *evaluation) intervals(b *metric.Bootstrap) func(k, over refine.Kind) *metric.Interval {
	resampled := map[refine.Kind][]float64{}
	if len(ev.o.Maps) > 1 {
		for i, ap := range b.AP(resamples, resampleSeed) {
			resampled[ev.o.Maps[i]] = ap
		}
	}
	return func(k, over refine.Kind) *metric.Interval {
		if slices.Index(Kinds(), k) <= slices.Index(Kinds(), over) || resampled[over] == nil {
			return nil
		}
		return metric.Difference(resampled[k], resampled[over])
	}
}

// read brings back an image's maps.
func (ev *evaluation) read(index int, sc scoredCase) (*Case, error) {
	c := &Case{
		Item: sc.item, Score: sc.score, Anomalous: sc.anomalous, AP: map[refine.Kind]metric.Value{},
		Open: func() (*imageio.Image, error) { return imageio.Decode(sc.item.Path, ev.o.Limits) },
		Maps: map[refine.Kind]*tensor.Dense{}, Thresholds: ev.model.thresholds(),
	}
	var err error
	if c.Mask, err = mask(sc.item, sc.h, sc.w, ev.o.Limits); err != nil {
		return nil, err
	}
	for _, k := range ev.o.Maps {
		if c.Maps[k], err = imageio.ReadMap(ev.path(k, index)); err != nil {
			return nil, err
		}
		c.AP[k] = metric.Undefined()
		if c.Mask != nil {
			if c.AP[k], err = metric.AveragePrecision(c.Maps[k], c.Mask); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (ev *evaluation) path(k refine.Kind, index int) string {
	return filepath.Join(ev.dir, fmt.Sprintf("%s-%d.tiff", k, index))
}
