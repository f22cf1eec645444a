package metric

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// Decisions is what the thresholds that ship with a model decide on test images, or others that were given in their place. An
// image is called anomalous, and a pixel marked, above its threshold.
type Decisions struct {
	ImageThreshold float64 `json:"image_threshold"`
	ImageGiven     bool    `json:"image_threshold_given"` // it is not the model's
	FalseAlarms    Rate    `json:"false_alarms"`          // good images that are called anomalous
	Misses         Rate    `json:"misses"`                // defective images that are not
	// Recall is the share of each defect type's images that are called anomalous, by category.
	Recall []CategoryRate `json:"recall"`
	Maps   []MapDecisions `json:"maps"` // in the order of the rows
}

// CategoryRate is a Rate of a category.
type CategoryRate struct {
	Category string `json:"category"`
	Rate
}

// MapDecisions is what the pixel threshold of one kind of map decides, whatever the images are called.
type MapDecisions struct {
	Map            string  `json:"map"`
	PixelThreshold float64 `json:"pixel_threshold"`
	PixelGiven     bool    `json:"pixel_threshold_given"` // it is not the model's
	// FalseAlarmArea is the share of the pixels that are marked in a good image, from 0 to 1: the mean over the good images.
	FalseAlarmArea Mean `json:"false_alarm_area"`
	// DefectsFound are the defects, 8-connected components of the ground truth, with a marked pixel. The interval takes defects
	// for independent, which those of one image may not be.
	DefectsFound Rate `json:"defects_found"`
	// FalseRegions is the number of marked regions, 8-connected, without a pixel of a defect: the mean over all images whose
	// defects are known, good ones included.
	FalseRegions Mean `json:"false_regions"`
}

// Rate is a share, with its 95 % interval by Wilson's score. Source: Wilson, Probable inference, the law of succession, and
// statistical inference, JASA 22, 1927.
type Rate struct {
	Count    int       `json:"count"`
	Of       int       `json:"of"`
	Share    Value     `json:"share"`    // Count/Of; undefined of none
	Interval *Interval `json:"interval"` // nil of none
}

// AtMost is the limit that a rate does not exceed, with 95 % confidence, of which count of of independent cases were seen:
// the one-sided one of Clopper and Pearson, Biometrika 26, 1934. 1 of none.
func AtMost(count, of int) float64 {
	if count >= of {
		return 1
	}
	return mathext.InvRegIncBeta(float64(count+1), float64(of-count), 0.95)
}

// normal95 is the 0.975 quantile of the normal distribution.
const normal95 = 1.959963984540054

// NewRate is the share count of of.
func NewRate(count, of int) Rate {
	r := Rate{Count: count, Of: of, Share: Value(float64(count) / float64(of))}
	if of == 0 {
		return r
	}
	n, p, z2 := float64(of), float64(count)/float64(of), normal95*normal95
	middle := p + z2/(2*n)
	half := normal95 * math.Sqrt(p*(1-p)/n+z2/(4*n*n))
	r.Interval = &Interval{(middle - half) / (1 + z2/n), (middle + half) / (1 + z2/n)}
	if count == 0 {
		r.Interval.Low = 0 // to the bit
	}
	if count == of {
		r.Interval.High = 1
	}
	return r
}

// Mean is a mean over images, with its 95 % percentile interval over resamples of them.
type Mean struct {
	Images int   `json:"images"`
	Mean   Value `json:"mean"` // undefined of no images
	// Interval is nil of less than two images. Resamples know nothing that none of the images shows: where all values are the
	// same, so are its ends.
	Interval *Interval `json:"interval"`
}

// NewMean is the mean of values, which it does not keep, with the interval of n bootstrap resamples. It depends on the set of
// values and the seed only. Time: some 5 ns for each value and resample. Source: as of Bootstrap.
func NewMean(values []float64, n int, seed uint64) Mean {
	values = slices.Sorted(slices.Values(values))
	mean := func(at func(i int) float64) float64 {
		sum := 0.0
		for i := range values {
			sum += at(i)
		}
		return sum / float64(len(values))
	}
	m := Mean{Images: len(values), Mean: Value(mean(func(i int) float64 { return values[i] }))}
	if len(values) < 2 || n < 1 {
		return m
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	resampled := make([]float64, n)
	for k := range resampled {
		resampled[k] = mean(func(int) float64 { return values[rng.IntN(len(values))] })
	}
	m.Interval = percentiles(resampled)
	return m
}

// Point is a point of a curve.
type Point struct{ X, Y float64 }

// ROC is the share of anomalous images above a threshold (Y) over that of normal ones (X), from (0,0) to (1,1), a point for
// each distinct score; nil without images of both classes. Its area by trapezoids is AUROC.
func (m *Images) ROC() []Point {
	steps, neg, pos := m.steps()
	if neg == 0 || pos == 0 {
		return nil
	}
	curve := []Point{{}}
	for _, s := range steps {
		curve = append(curve, Point{float64(s.neg) / float64(neg), float64(s.pos) / float64(pos)})
	}
	return curve
}

// PR is the share of the images above a threshold that are anomalous (precision, Y) over the share of the anomalous ones that
// are above (recall, X), from the highest threshold to the lowest, a point for each distinct score; nil without anomalous ones.
func (m *Images) PR() []Point {
	steps, _, pos := m.steps()
	if pos == 0 {
		return nil
	}
	var curve []Point
	for _, s := range steps {
		curve = append(curve, Point{float64(s.pos) / float64(pos), float64(s.pos) / float64(s.pos+s.neg)})
	}
	return curve
}

// AP is the average precision of the images: the sum of precision times the increase of recall along PR, as
// scikit-learn's average_precision_score; undefined without anomalous images.
func (m *Images) AP() Value {
	curve := m.PR()
	if curve == nil {
		return Undefined()
	}
	sum, recall := 0.0, 0.0
	for _, p := range curve {
		sum += (p.X - recall) * p.Y
		recall = p.X
	}
	return Value(sum)
}

// counts are the images of a score and above.
type counts struct{ neg, pos int }

// steps counts the images from the highest score down, and all of both classes.
func (m *Images) steps() (steps []counts, neg, pos int) {
	m.sort()
	for i := 0; i < len(m.scored); {
		for s := m.scored[i].score; i < len(m.scored) && m.scored[i].score == s; i++ {
			if m.scored[i].anomalous {
				pos++
			} else {
				neg++
			}
		}
		steps = append(steps, counts{neg, pos})
	}
	return steps, neg, pos
}
