// Package stats sums up repeated measurements.
package stats

import (
	"math"
	"slices"
)

// Timing sums up runs of the same work, in seconds.
type Timing struct {
	Median float64 `json:"median_s"`
	P10    float64 `json:"p10_s"`
	P90    float64 `json:"p90_s"`
	Runs   int     `json:"runs"`
}

// Of sums up samples in seconds, and leaves them in their order.
func Of(samples []float64) Timing {
	s := slices.Sorted(slices.Values(samples))
	return Timing{Median: Percentile(s, 50), P10: Percentile(s, 10), P90: Percentile(s, 90), Runs: len(s)}
}

// Percentile interpolates linearly between the sorted samples next to p; of none it is NaN.
func Percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p / 100 * float64(len(sorted)-1)
	lo := int(at)
	hi := min(lo+1, len(sorted)-1)
	return sorted[lo] + (at-float64(lo))*(sorted[hi]-sorted[lo])
}

// Ratio sums up how many times as long one kind of work took as another that was measured in turn with it.
type Ratio struct {
	Median float64 `json:"median"`
	P10    float64 `json:"p10"`
	P90    float64 `json:"p90"`
}

// Ratios compares samples that were taken in turn: a[i] right before or after b[i], so that both saw the same machine.
// Samples without a partner do not count.
func Ratios(a, b []float64) Ratio {
	r := make([]float64, min(len(a), len(b)))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	slices.Sort(r)
	return Ratio{Percentile(r, 50), Percentile(r, 10), Percentile(r, 90)}
}
