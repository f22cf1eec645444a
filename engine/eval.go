package engine

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/truth"

	"gorgonia.org/tensor"
)

// All is the category that pools every image of a data set.
const All = "all"

// The resamples that Eval's intervals come from.
const (
	resamples    = 1000
	resampleSeed = 0
)

// EvalOptions configure Evaluate.
type EvalOptions struct {
	Options         // Maps: default all that the model makes
	Limit    int    // images per class, the first by name; 0: all
	Spread   bool   // Limit takes images at even distances by name, instead of the first
	TempDir  string // parent of a folder for maps between the two passes (4 bytes per pixel and kind); "": the system's
	Progress func(Progress)
	// Regions says what is done to the masks at the pixel threshold before they are measured.
	Regions region.Options
	Worst   int // images that Evaluation.Worst lists at most
	// Failed is told of every image that could not be evaluated (file and reason).
	Failed func(dataset.Item, error)
	// Visit, if set, sees every image once more after the rows are known, in the order of the data set: for galleries.
	Visit func(*Case) error
}

// Case is an evaluated image.
type Case struct {
	Item           dataset.Item
	Score          float64
	ImageThreshold float64
	Anomalous      bool                           // Score above ImageThreshold
	AP             map[refine.Kind]metric.Value   // of this image's pixels; undefined for normal images and without ground truth
	Open           func() (*imageio.Image, error) // the image
	Mask           *tensor.Dense                  // [H,W] 0/1; nil for normal images and without ground truth
	Maps           map[refine.Kind]*tensor.Dense  // [H,W] at the image's own size
	Thresholds     map[refine.Kind]float64        // of the pixels
	Regions        region.Options
	Inspected      []bool // [H,W]: the pixels in the region of interest; nil: all
}

// Normal reports whether the image is of no defect type.
func (c *Case) Normal() bool { return c.Item.Normal() }

// Wrong reports whether the image threshold decides wrongly: a miss, or a false alarm.
func (c *Case) Wrong() bool { return c.Anomalous == c.Normal() }

// Marked is the mask [H,W] of a kind of map at its threshold, closed, filled and sifted as Regions says.
func (c *Case) Marked(k refine.Kind) []bool {
	return Marked(c.Maps[k], c.Thresholds[k], c.Inspected, c.Regions)
}

// Marked is the mask [H,W] of a map [H,W] at a threshold, closed, filled and sifted as o says: of the pixels that are inspected,
// nil: all.
func Marked(m *tensor.Dense, threshold float64, inspected []bool, o region.Options) []bool {
	mask := region.Above(nd.Data(m), threshold)
	sight.Within(mask, inspected)
	mask = o.Apply(mask, m.Shape()[0], m.Shape()[1])
	sight.Within(mask, inspected) // what is closed and filled may reach beyond
	return mask
}

// Evaluation is what Evaluate finds.
type Evaluation struct {
	Rows      []metric.Row // by category, and in it by kind of map
	Decisions metric.Decisions
	Images    *metric.Images // scores of all images
	Good      []float64      // those of the normal ones, in the order of the data set
	Bad       []float64      // those of the defective ones
	WithMask  int            // defective images that have ground truth
	Worst     []Worst
	Remarks   []string // what the data set lacks, and how its masks were read
}

// Worst is an image that a model does badly on.
type Worst struct {
	Item  dataset.Item
	Why   Fault
	Score float64
	AP    metric.Value // of the most refined map on this image
}

// Fault says what is wrong with a result.
type Fault string

// The faults that Evaluate lists, in this order.
const (
	Miss       Fault = "miss"        // a defective image that is called normal; the lowest score first
	FalseAlarm Fault = "false alarm" // a normal image that is called anomalous; the highest score first
	LowAP      Fault = "lowest AP"   // neither of them; the lowest AP of the most refined map first
)

// Eval returns the rows that Evaluate measures.
func Eval(ctx context.Context, m *Model, test []dataset.Item, o EvalOptions) ([]metric.Row, error) {
	e, err := Evaluate(ctx, m, test, o)
	if err != nil {
		return nil, err
	}
	return e.Rows, nil
}

// Evaluate scores the test images of an MVTec data set, makes the maps asked for, and measures them against the ground truth
// at the images' own size. A category is a defect type, measured on its images and all normal ones; All pools everything.
// The image score is the method's and does not depend on the kind of map. Metrics of images are over all of them, those of
// pixels over the normal images and the defective ones with ground truth; what the data do not define is undefined.
//
// Of images with a region of interest only what is inside counts. Defective images whose ground truth lies outside of it are left out,
// with a remark.
//
// Two passes: the first scores and counts, the second reads the maps back for what needs the best threshold or common bins.
// Memory does not grow with the data set but for some 100 bytes of an image and what metric.Bootstrap keeps of it, once for
// All and once for each category that the image is in.
func Evaluate(ctx context.Context, m *Model, test []dataset.Item, o EvalOptions) (*Evaluation, error) {
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

	o.Options.alone = true // the report says how long each map took
	e, err := New(m, o.Options)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	ev.inspect = e.inspect
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
	found := &Evaluation{Decisions: ev.decisions(), Images: ev.images[All], Remarks: ev.remarks(test)}
	for _, sc := range ev.cases {
		if sc.item.Normal() {
			found.Good = append(found.Good, sc.score)
			continue
		}
		found.Bad = append(found.Bad, sc.score)
		if sc.item.Mask != "" {
			found.WithMask++
		}
	}
	if found.Rows, err = ev.rows(ctx); err != nil {
		return nil, err
	}
	found.Worst = ev.worst()
	return found, nil
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

// evaluation accumulates one run of Evaluate.
type evaluation struct {
	model          *Model
	o              EvalOptions
	dir            string
	categories     []string
	imageThreshold float64
	thresholds     map[refine.Kind]float64
	pixels         map[refine.Kind]map[string]*metric.Pixels
	overlaps       map[refine.Kind]map[string]*metric.Overlap // of the masks as Regions leaves them
	marks          map[refine.Kind]*marks
	images         map[string]*metric.Images
	seconds        map[refine.Kind]map[string]float64
	cases          []scoredCase
	defects        int      // components of the ground truth
	dark, empty    []string // masks that were read so
	inspect        *sight.Inspection
	unseen         []string // images whose defects are not inspected
}

// marks is what the masks of one kind of map are like.
type marks struct {
	area    []float64 // share of what is inspected of each normal image that is marked
	found   int       // defects with a marked pixel
	regions []float64 // of each image with known defects: marked regions without a pixel of a defect
}

// scoredCase is what is kept of an image between the passes; its maps are on disk.
type scoredCase struct {
	item      dataset.Item
	h, w      int
	score     float64
	anomalous bool
	ap        metric.Value // of the most refined map; set in the second pass
}

// known reports whether the pixels of an image can be judged: it is normal, or has ground truth.
func known(it dataset.Item) bool { return it.Normal() || it.Mask != "" }

func newEvaluation(m *Model, test []dataset.Item, o EvalOptions, dir string) *evaluation {
	ev := &evaluation{
		model: m, o: o, dir: dir,
		pixels: map[refine.Kind]map[string]*metric.Pixels{}, images: map[string]*metric.Images{},
		overlaps: map[refine.Kind]map[string]*metric.Overlap{}, marks: map[refine.Kind]*marks{},
		seconds: map[refine.Kind]map[string]float64{},
	}
	ev.imageThreshold, ev.thresholds = m.thresholds(o.Options)
	for _, it := range test {
		if !it.Normal() && !slices.Contains(ev.categories, it.Class) {
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
		ev.overlaps[k], ev.marks[k] = map[string]*metric.Overlap{}, &marks{}
		for _, c := range ev.categories {
			ev.pixels[k][c] = metric.NewPixels(metric.Options{TempDir: dir})
			ev.overlaps[k][c] = &metric.Overlap{Threshold: ev.thresholds[k]}
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
			if (it.Normal() || c == it.Class || c == All) && !yield(c) {
				return
			}
		}
	}
}

// add counts one scored image and puts its maps aside.
func (ev *evaluation) add(r *Result) error {
	sh := r.Image.Pix.Shape()
	var mask *tensor.Dense
	if r.Item.Mask != "" {
		t, err := truth.Read(r.Item.Mask, sh[1], sh[2], ev.o.Limits)
		if err != nil {
			return err
		}
		if mask = t.Pix; t.Dark {
			ev.dark = append(ev.dark, r.Item.Mask)
		}
		if t.Empty() {
			ev.empty = append(ev.empty, r.Item.Mask)
		} else if sight.Blank(nd.Data(mask), r.Inspected); t.Empty() {
			ev.unseen = append(ev.unseen, r.Item.Path)
			return nil
		}
	}
	index := len(ev.cases)
	for _, k := range ev.o.Maps {
		if err := imageio.WriteMap(ev.path(k, index), r.Maps[k]); err != nil {
			return err
		}
	}
	for c := range ev.in(r.Item) {
		for _, k := range ev.o.Maps {
			if known(r.Item) {
				if err := ev.pixels[k][c].AddWithin(r.Maps[k], mask, r.Inspected); err != nil {
					return err
				}
			}
			ev.seconds[k][c] += r.Seconds[k]
		}
		if err := ev.images[c].Add(r.Score, !r.Item.Normal()); err != nil {
			return err
		}
	}
	if known(r.Item) {
		ev.mark(r, mask)
	}
	ev.cases = append(ev.cases, scoredCase{
		item: r.Item, h: sh[1], w: sh[2], score: r.Score, anomalous: r.Score > ev.imageThreshold, ap: metric.Undefined(),
	})
	return nil
}

// mark measures the masks of an image whose defects are known, with the regions that they consist of.
func (ev *evaluation) mark(r *Result, mask *tensor.Dense) {
	h, w := r.Image.Size()
	defect := make([]bool, h*w)
	if mask != nil {
		defect = region.Above(nd.Data(mask), 0)
	}
	defects, n := region.Label(defect, h, w)
	ev.defects += n
	inspected := h * w
	if r.Inspected != nil {
		inspected = 0
		for _, in := range r.Inspected {
			if in {
				inspected++
			}
		}
	}
	for _, k := range ev.o.Maps {
		on, to := Marked(r.Maps[k], ev.thresholds[k], r.Inspected, ev.o.Regions), ev.marks[k]
		var o metric.Overlap
		for i, in := range on {
			switch {
			case in && defect[i]:
				o.TP++
			case in:
				o.FP++
			case defect[i]:
				o.FN++
			}
		}
		for c := range ev.in(r.Item) {
			sum := ev.overlaps[k][c]
			sum.TP, sum.FP, sum.FN = sum.TP+o.TP, sum.FP+o.FP, sum.FN+o.FN
		}
		if r.Item.Normal() {
			to.area = append(to.area, float64(o.FP)/float64(inspected))
		}
		to.found += region.Touched(defects, n, on)
		regions, all := region.Label(on, h, w)
		to.regions = append(to.regions, float64(all-region.Touched(regions, all, defect)))
	}
}

// decisions counts what the thresholds decide.
func (ev *evaluation) decisions() metric.Decisions {
	above, of := map[string]int{}, map[string]int{} // by category, with the normal images as dataset.Good
	for _, sc := range ev.cases {
		class := sc.item.Class
		if sc.item.Normal() {
			class = dataset.Good
		}
		of[class]++
		if sc.anomalous {
			above[class]++
		}
	}
	d := metric.Decisions{
		ImageThreshold: ev.imageThreshold, ImageGiven: ev.o.ImageThreshold != nil,
		FalseAlarms: metric.NewRate(above[dataset.Good], of[dataset.Good]), Recall: []metric.CategoryRate{},
	}
	defective, found := 0, 0
	for _, c := range ev.categories[:len(ev.categories)-1] {
		d.Recall = append(d.Recall, metric.CategoryRate{Category: c, Rate: metric.NewRate(above[c], of[c])})
		defective, found = defective+of[c], found+above[c]
	}
	d.Misses = metric.NewRate(defective-found, defective)
	for _, k := range ev.o.Maps {
		on := ev.marks[k]
		d.Maps = append(d.Maps, metric.MapDecisions{
			Map: string(k), PixelThreshold: ev.thresholds[k], PixelGiven: ev.o.PixelThreshold != nil,
			FalseAlarmArea: metric.NewMean(on.area, resamples, resampleSeed),
			DefectsFound:   metric.NewRate(on.found, ev.defects),
			FalseRegions:   metric.NewMean(on.regions, resamples, resampleSeed),
		})
	}
	return d
}

// remarks says what the data set lacks, and how masks were read: each once, with the first file that it is about.
func (ev *evaluation) remarks(test []dataset.Item) []string {
	var out []string
	defective := 0
	for _, it := range test {
		if !it.Normal() {
			defective++
		}
	}
	switch {
	case len(test) == 0:
	case defective == 0:
		out = append(out, "all test images are good: what needs defective ones is not measured")
	case defective == len(test):
		out = append(out, "there are no good test images: what needs them is not measured")
	}
	if without := dataset.WithoutMask(test); len(without) > 0 {
		out = append(out, fmt.Sprintf("%d of %d defective images have no ground truth, first %s: they count in what is measured of images, "+
			"not of pixels", len(without), defective, without[0].Path))
	}
	if n := len(ev.unseen); n > 0 {
		out = append(out, fmt.Sprintf("%s nothing inside of the region of interest, first %s: left out",
			plural(n, "defective image has", "defective images have"), ev.unseen[0]))
	}
	if n := len(ev.dark); n > 0 {
		out = append(out, fmt.Sprintf("%s nowhere brighter than half, but not 0 everywhere, first %s: all that is not 0 counts as the defect",
			plural(n, "mask is", "masks are"), ev.dark[0]))
	}
	if n := len(ev.empty); n > 0 {
		out = append(out, fmt.Sprintf("%s nothing, first %s: the image counts as defective, its pixels as normal",
			plural(n, "mask of a defective image marks", "masks of defective images mark"), ev.empty[0]))
	}
	return out
}

func plural(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprint(n, " ", many)
}

// worst lists the images that the model does worst on.
func (ev *evaluation) worst() []Worst {
	var all []Worst
	order := []Fault{Miss, FalseAlarm, LowAP}
	for _, sc := range ev.cases {
		w := Worst{Item: sc.item, Score: sc.score, AP: sc.ap}
		switch {
		case sc.anomalous && sc.item.Normal():
			w.Why = FalseAlarm
		case !sc.anomalous && !sc.item.Normal():
			w.Why = Miss
		case sc.ap.Defined():
			w.Why = LowAP
		default:
			continue
		}
		all = append(all, w)
	}
	slices.SortStableFunc(all, func(a, b Worst) int {
		if a.Why != b.Why {
			return cmp.Compare(slices.Index(order, a.Why), slices.Index(order, b.Why))
		}
		switch a.Why {
		case Miss:
			return cmp.Compare(a.Score, b.Score)
		case FalseAlarm:
			return cmp.Compare(b.Score, a.Score)
		}
		return cmp.Compare(a.AP, b.AP)
	})
	return all[:min(max(ev.o.Worst, 0), len(all))]
}

// rows computes the table: by category, and in it by kind of map.
func (ev *evaluation) rows(ctx context.Context) ([]metric.Row, error) {
	results := map[refine.Kind]map[string]metric.PixelResult{}
	contours := map[refine.Kind]map[string]*metric.Boundary{}
	losses := map[refine.Kind]map[string]*metric.Losses{}
	boots := map[string]*metric.Bootstrap{}
	for _, k := range ev.o.Maps {
		results[k], contours[k] = map[string]metric.PixelResult{}, map[string]*metric.Boundary{}
		losses[k] = map[string]*metric.Losses{}
		for _, c := range ev.categories {
			r, err := ev.pixels[k][c].Result(ev.thresholds[k])
			if err != nil {
				return nil, err
			}
			if ev.o.Regions != (region.Options{}) {
				r.LabelFree = *ev.overlaps[k][c]
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
			maps = append(maps, sight.Row(cs.Maps[k], cs.Inspected))
		}
		for _, k := range Kinds() { // the most refined comes last
			if ap, ok := cs.AP[k]; ok {
				ev.cases[i].ap = ap
			}
		}
		for c := range ev.in(sc.item) {
			if !known(sc.item) {
				break
			}
			for _, k := range ev.o.Maps {
				if err := contours[k][c].Add(cs.Maps[k], cs.Mask, results[k][c].Oracle.Threshold); err != nil {
					return nil, err
				}
				if base, ok := cs.AP[refine.Base]; ok && k != refine.Base {
					losses[k][c].Add(cs.AP[k], base)
				}
			}
			if err := boots[c].Add(sight.Row(cs.Mask, cs.Inspected), maps...); err != nil {
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
		defective, withMask := 0, 0
		for _, sc := range ev.cases {
			if !sc.item.Normal() && (c == All || c == sc.item.Class) {
				defective++
				if sc.item.Mask != "" {
					withMask++
				}
			}
		}
		over := ev.intervals(boots[c])
		ev.o.Progress(Progress{"intervals", i + 1, len(ev.categories)})
		for _, k := range ev.o.Maps {
			r := results[k][c]
			rows = append(rows, metric.Row{
				Category: c, Map: string(k), Images: n, Defective: defective, WithMask: withMask,
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
		Item: sc.item, Score: sc.score, ImageThreshold: ev.imageThreshold, Anomalous: sc.anomalous, AP: map[refine.Kind]metric.Value{},
		Open: func() (*imageio.Image, error) {
			return decodeImage(sc.item, ev.o.Limits, ev.model.Info.WhiteLevel, nil)
		},
		Maps: map[refine.Kind]*tensor.Dense{}, Thresholds: ev.thresholds, Regions: ev.o.Regions,
	}
	var err error
	if c.Inspected, err = ev.inspect.At(sc.h, sc.w); err != nil {
		return nil, err
	}
	if sc.item.Mask != "" {
		t, err := truth.Read(sc.item.Mask, sc.h, sc.w, ev.o.Limits)
		if err != nil {
			return nil, err
		}
		c.Mask = t.Pix
		sight.Blank(nd.Data(c.Mask), c.Inspected)
	}
	for _, k := range ev.o.Maps {
		if c.Maps[k], err = imageio.ReadMap(ev.path(k, index)); err != nil {
			return nil, err
		}
		c.AP[k] = metric.Undefined()
		if c.Mask != nil {
			if c.AP[k], err = metric.AveragePrecision(sight.Row(c.Maps[k], c.Inspected), sight.Row(c.Mask, c.Inspected)); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (ev *evaluation) path(k refine.Kind, index int) string {
	return filepath.Join(ev.dir, fmt.Sprintf("%s-%d.tiff", k, index))
}
