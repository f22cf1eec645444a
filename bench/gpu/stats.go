package main

import (
	"math"
	"slices"

	"f2pad/kernels"
)

// timing sums up runs of the same work, in seconds.
type timing struct {
	Median float64 `json:"median_s"`
	P10    float64 `json:"p10_s"`
	P90    float64 `json:"p90_s"`
	Runs   int     `json:"runs"`
}

func timingOf(samples []float64) timing {
	s := slices.Sorted(slices.Values(samples))
	return timing{Median: percentile(s, 50), P10: percentile(s, 10), P90: percentile(s, 90), Runs: len(s)}
}

// percentile interpolates linearly between the sorted samples next to p; of none it is NaN.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p / 100 * float64(len(sorted)-1)
	lo := int(at)
	hi := min(lo+1, len(sorted)-1)
	return sorted[lo] + (at-float64(lo))*(sorted[hi]-sorted[lo])
}

// The units of a card whose ceilings are measured.
const (
	memory = "memory" // bytes/s
	fp32   = "fp32"   // operations/s, like the tensor cores', which go by their precision
	bf16   = "bf16"
	tf32   = "tf32"
)

// ceilings are the highest rates found of each unit, per second.
type ceilings map[string]float64

func (c ceilings) raise(unit string, rate float64) { c[unit] = max(c[unit], rate) }

// floor is the least time that the work can take on a unit, and the unit that decides: each unit has its share of the work
// to do, and at best they do it beside each other. Work of a unit whose ceiling is unknown does not count.
func (c ceilings) floor(k kernels.Cost) (seconds float64, unit string) {
	for _, w := range []struct {
		unit string
		work int64
	}{{memory, k.Bytes}, {fp32, k.Flops}, {k.Tensor, k.TensorFlops}} {
		if c[w.unit] <= 0 {
			continue
		}
		if t := float64(w.work) / c[w.unit]; t > seconds {
			seconds, unit = t, w.unit
		}
	}
	return seconds, unit
}
