package metric

import (
	"math"

	"gorgonia.org/tensor"
)

// MeanDice accumulates images with a defect and finds the threshold at which the mean of their Dice coefficients is the
// highest. Every image counts the same, however large its defect: one threshold for the pixels of all images together would
// be that of the largest. Thresholds are told apart in steps of less than 0.8 % of the score. The results do not depend on
// the order of the images. Not for concurrent use. Memory: 1 MB.
type MeanDice struct {
	images   uint64
	sums     []uint64 // of the Dice coefficients, in units of 1/diceUnit, where all of a step and of those above is marked
	pos, neg []uint32 // scratch
}

const (
	diceShift = 16 // a step holds the scores that share the upper bits of their rank
	diceUnit  = 1 << 40
)

// NewMeanDice returns an empty accumulator.
func NewMeanDice() *MeanDice {
	const steps = 1 << (32 - diceShift)
	return &MeanDice{sums: make([]uint64, steps), pos: make([]uint32, steps), neg: make([]uint32, steps)}
}

// Len is the number of images added that count.
func (d *MeanDice) Len() int { return int(d.images) }

// Add counts one image: its score map [H,W], finite, and its ground truth [H,W] of 0 and 1. An image without a defect does
// not count. An image that is refused leaves the accumulator as it was. Neither tensor is kept.
func (d *MeanDice) Add(score, mask *tensor.Dense) error {
	s, m, err := open(score, mask)
	if err != nil || m == nil {
		return err
	}
	clear(d.pos)
	clear(d.neg)
	area := uint64(0)
	for i, v := range s {
		step := rank(v) >> diceShift
		if m[i] == 1 {
			d.pos[step]++
			area++
		} else {
			d.neg[step]++
		}
	}
	if area == 0 {
		return nil
	}
	d.images++
	now := Overlap{FN: area}
	for i := len(d.sums) - 1; i >= 0; i-- {
		now.TP += uint64(d.pos[i])
		now.FN -= uint64(d.pos[i])
		now.FP += uint64(d.neg[i])
		d.sums[i] += uint64(math.Round(float64(now.Dice()) * diceUnit))
	}
	return nil
}

// Best returns the threshold of the highest mean, the highest such threshold if there are several, and that mean. The
// threshold is the float32 just below a step. Without images both are NaN.
func (d *MeanDice) Best() (threshold float64, mean Value) {
	if d.images == 0 {
		return math.NaN(), Undefined()
	}
	best := len(d.sums) - 1
	for i := best; i >= 0; i-- {
		if d.sums[i] > d.sums[best] {
			best = i
		}
	}
	return float64(math.Nextafter32(unrank(uint32(best)<<diceShift), float32(math.Inf(-1)))), d.mean(best)
}

// At returns the mean at a threshold, up to a step; undefined without images.
func (d *MeanDice) At(threshold float64) Value {
	return d.mean(int(rank(float32(threshold)) >> diceShift))
}

func (d *MeanDice) mean(step int) Value {
	return Value(float64(d.sums[step]) / diceUnit / float64(d.images)) // NaN without images
}
