package metric

import (
	"fmt"
	"math"

	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// maxFPR is the false-positive rate up to which AUPRO integrates: MVTec's choice.
const maxFPR = 0.3

// Pixels accumulates score maps and ground truth. It is exact in bounded memory: each pixel becomes a key of its score
// and of the area of the ground-truth component it belongs to (0: a normal pixel), and equal keys are counted. Those
// integers do not depend on the order of the images, so neither does any result. Not for concurrent use.
type Pixels struct {
	tally      tally
	negatives  uint64
	positives  uint64
	components uint64
}

// NewPixels returns an empty accumulator. Close it to remove its temporary files.
func NewPixels(o Options) *Pixels { return &Pixels{tally: newTally(o)} }

// Add counts one image: its score map [H,W], finite, and its ground truth [H,W], 1 where anomalous and 0 elsewhere, or
// nil for a normal image. An image that is refused leaves the accumulator as it was; after an error of the disk, every
// later call returns that error. Neither tensor is kept. About 20 ns per pixel, Result's share included.
func (p *Pixels) Add(score, mask *tensor.Dense) error { return p.AddWithin(score, mask, nil) }

// AddWithin is Add of the pixels in, row by row; nil: all. The mask must be 0 elsewhere.
func (p *Pixels) AddWithin(score, mask *tensor.Dense, in []bool) error {
	s, m, err := open(score, mask)
	if err != nil {
		return err
	}
	if in != nil && len(in) != len(s) {
		return fmt.Errorf("metric: %d pixels to count or not, want %d", len(in), len(s))
	}
	var area []uint32
	if m != nil {
		var n int
		area, n = areas(m, score.Shape()[0], score.Shape()[1])
		p.components += uint64(n)
	}
	for i, v := range s {
		if in != nil && !in[i] {
			continue
		}
		key := uint64(^rank(v)) << 32 // inverted: the sweep goes from the highest score down
		if area != nil && area[i] != 0 {
			key |= uint64(area[i])
			p.positives++
		} else {
			p.negatives++
		}
		if err := p.tally.add(key); err != nil {
			return err
		}
	}
	return nil
}

// open checks a map and its ground truth and returns their values.
func open(score, mask *tensor.Dense) (s, m []float32, err error) {
	if err := nd.Check("score", score, -1, -1); err != nil {
		return nil, nil, fmt.Errorf("metric: %w", err)
	}
	s = nd.Data(score)
	for i, v := range s {
		if !finite(v) {
			return nil, nil, fmt.Errorf("metric: score[%d] is %v", i, v)
		}
	}
	if mask == nil {
		return s, nil, nil
	}
	if err := nd.Check("mask", mask, score.Shape()...); err != nil {
		return nil, nil, fmt.Errorf("metric: %w", err)
	}
	m = nd.Data(mask)
	for i, v := range m {
		if v != 0 && v != 1 {
			return nil, nil, fmt.Errorf("metric: mask[%d] is %v, want 0 or 1", i, v)
		}
	}
	return s, m, nil
}

// PixelResult is what the pixels of a set of images amount to. With tp and fp the anomalous and normal pixels of score
// >= t, and every distinct score a threshold t:
//
//	AUROC  area under tp/positives over fp/negatives by trapezoids: equal scores count one half
//	AP     sum over t of the increase of recall times precision, as scikit-learn's average_precision_score
//	AUPRO  area under the mean over all components of the set of their covered share, over fp/negatives from 0 to 0.3,
//	       by trapezoids with the last one cut at 0.3, divided by 0.3. Components are 8-connected and weigh the same
//	       whatever their size and image. Source: Bergmann et al., MVTec AD, IJCV 2021.
//
// AUROC and AUPRO are undefined without pixels of both classes, AP without anomalous ones.
type PixelResult struct {
	AUROC, AP, AUPRO Value
	// Oracle is the overlap at the threshold of the best Dice, the highest such threshold if there are several. It is
	// the best for IoU too, since IoU = Dice/(2-Dice) grows with Dice. Its Threshold is the float32 just below the lowest
	// score that is marked. Without anomalous pixels its Threshold is NaN and the counts are 0.
	Oracle Overlap
	// LabelFree is the overlap at the threshold that Result was given.
	LabelFree Overlap
	// Bins part the scores, for a Bootstrap of the same images.
	Bins *Bins
}

// Overlap counts the pixels of the mask score > Threshold against the ground truth.
type Overlap struct {
	Threshold  float64
	TP, FP, FN uint64
}

// Dice is 2 TP/(2 TP + FP + FN), which is also the F1 score of the pixels; undefined without anomalous pixels.
func (o Overlap) Dice() Value {
	if o.TP+o.FN == 0 {
		return Undefined()
	}
	return Value(2 * float64(o.TP) / float64(2*o.TP+o.FP+o.FN))
}

// IoU is TP/(TP + FP + FN); undefined without anomalous pixels.
func (o Overlap) IoU() Value {
	if o.TP+o.FN == 0 {
		return Undefined()
	}
	return Value(float64(o.TP) / float64(o.TP+o.FP+o.FN))
}

// Result computes all metrics in one sweep from the highest score to the lowest. threshold is the label-free one; NaN
// marks nothing. More images may be added afterwards.
func (p *Pixels) Result(threshold float64) (PixelResult, error) {
	s := sweep{
		positives: float64(p.positives), negatives: float64(p.negatives), components: float64(p.components),
		labelFree: Overlap{Threshold: threshold, FN: p.positives},
		oracle:    Overlap{Threshold: math.NaN()},
		bins:      binning{positives: p.positives},
	}
	err := p.tally.each(func(key, count uint64) error {
		if r := ^uint32(key >> 32); r != s.rank {
			s.step()
			s.rank = r
		}
		if area := uint32(key); area != 0 {
			s.pos += count
			s.cover += float64(count) / float64(area)
		} else {
			s.neg += count
		}
		return nil
	})
	if err != nil {
		return PixelResult{}, err
	}
	s.step()
	return PixelResult{ // 0/0, which is NaN, where a class is missing
		AUROC:     Value(s.roc.area / (s.positives * s.negatives)),
		AP:        Value(s.ap / s.positives),
		AUPRO:     Value(s.pro.area / (maxFPR * s.negatives * s.components)),
		Oracle:    s.oracle,
		LabelFree: s.labelFree,
		Bins:      &s.bins.Bins,
	}, nil
}

// Close removes the temporary files. The accumulator cannot be used afterwards.
func (p *Pixels) Close() error { return p.tally.close() }

// sweep holds the curves up to the threshold reached, and the pixels of the score in hand.
type sweep struct {
	positives, negatives, components float64

	rank     uint32 // of the score in hand
	pos, neg uint64 // pixels of that score
	cover    float64

	tp, fp    uint64
	roc, pro  curve
	ap        float64
	bestDice  Value
	oracle    Overlap
	labelFree Overlap
	bins      binning
}

// step lowers the threshold past the score in hand.
func (s *sweep) step() {
	if s.pos+s.neg == 0 {
		return
	}
	s.roc.step(float64(s.neg), float64(s.pos), s.negatives)
	s.pro.step(float64(s.neg), s.cover, maxFPR*s.negatives)
	s.bins.add(s.rank, s.pos, s.neg)
	s.tp += s.pos
	s.fp += s.neg
	s.ap += float64(s.pos) * float64(s.tp) / float64(s.tp+s.fp)

	score := unrank(s.rank)
	now := Overlap{TP: s.tp, FP: s.fp, FN: uint64(s.positives) - s.tp}
	if dice := now.Dice(); dice > s.bestDice {
		s.bestDice = dice
		now.Threshold = float64(math.Nextafter32(score, float32(math.Inf(-1))))
		s.oracle = now
	}
	if float64(score) > s.labelFree.Threshold {
		now.Threshold = s.labelFree.Threshold
		s.labelFree = now
	}
	s.pos, s.neg, s.cover = 0, 0, 0
}

// curve integrates a piecewise linear curve that starts at (0,0), by trapezoids up to a limit.
type curve struct{ x, y, area float64 }

// step goes on by (dx, dy); the part beyond limit does not count.
func (c *curve) step(dx, dy, limit float64) {
	if in := min(dx, limit-c.x); in > 0 {
		c.area += in * (c.y + dy*in/dx/2)
	}
	c.x += dx
	c.y += dy
}

// AveragePrecision is the AP of one image; undefined for a normal one (mask nil or 0 everywhere).
func AveragePrecision(score, mask *tensor.Dense) (Value, error) {
	if err := nd.Check("score", score, -1, -1); err != nil {
		return Undefined(), fmt.Errorf("metric: %w", err)
	}
	p := NewPixels(Options{MemoryRecords: score.Size()})
	if err := p.Add(score, mask); err != nil {
		return Undefined(), err
	}
	r, err := p.Result(math.NaN())
	return r.AP, err
}
