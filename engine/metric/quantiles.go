package metric

import (
	"errors"
	"fmt"
)

// Quantiles finds exact quantiles of a stream of values in bounded memory. They do not depend on the order in which the
// values were added. Not for concurrent use.
type Quantiles struct{ tally tally }

// NewQuantiles returns an empty accumulator. Close it to remove its temporary files.
func NewQuantiles(o Options) *Quantiles { return &Quantiles{tally: newTally(o)} }

// Len is the number of values added.
func (q *Quantiles) Len() int { return int(q.tally.total) }

// Add counts values, which it does not keep. If one is not finite none of them are counted.
func (q *Quantiles) Add(values []float32) error {
	for i, v := range values {
		if !finite(v) {
			return fmt.Errorf("metric: value[%d] is %v", i, v)
		}
	}
	for _, v := range values {
		if err := q.tally.add(uint64(rank(v)) << 32); err != nil {
			return err
		}
	}
	return nil
}

// At returns the quantiles of the given shares, each in [0,1], in one pass. They are NumPy's method "linear" in float64:
// with the n values sorted and h = (n-1) share, the value at floor(h), interpolated to the next by h's fraction.
func (q *Quantiles) At(shares ...float64) ([]float64, error) {
	if q.tally.err != nil {
		return nil, q.tally.err
	}
	if q.tally.total == 0 {
		return nil, errors.New("metric: quantile of no values")
	}
	last := q.tally.total - 1
	below := make([]uint64, len(shares)) // index of the value at or below each quantile
	from := make([]float64, len(shares)) // that value
	to := make([]float64, len(shares))   // the next, unless there is none
	for i, share := range shares {
		if !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("metric: quantile of share %v, want 0..1", share)
		}
		below[i] = uint64(share * float64(last))
	}
	var seen uint64 // values before the one in hand
	err := q.tally.each(func(key, count uint64) error {
		v := float64(unrank(uint32(key >> 32)))
		for i, b := range below {
			if seen <= b && b < seen+count {
				from[i] = v
			}
			if seen <= b+1 && b+1 < seen+count {
				to[i] = v
			}
		}
		seen += count
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(shares))
	for i, share := range shares {
		out[i] = from[i] + (to[i]-from[i])*(share*float64(last)-float64(below[i]))
	}
	return out, nil
}

// Above returns the share of the values that are greater than t, in one pass; 0 for a t that is NaN.
func (q *Quantiles) Above(t float64) (float64, error) {
	if q.tally.err != nil {
		return 0, q.tally.err
	}
	if q.tally.total == 0 {
		return 0, errors.New("metric: share of no values")
	}
	var above uint64
	err := q.tally.each(func(key, count uint64) error {
		if float64(unrank(uint32(key>>32))) > t {
			above += count
		}
		return nil
	})
	return float64(above) / float64(q.tally.total), err
}

// Close removes the temporary files. The accumulator cannot be used afterwards.
func (q *Quantiles) Close() error { return q.tally.close() }
