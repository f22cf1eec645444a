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

// Interval is where a value lies with a confidence of 95 %.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// leastKnown is the least number of samples whose extremes hold the median with 95 %: 2/2^6 is .03.
const leastKnown = 6

// MedianInterval is that of the median of what the sorted samples were drawn from, whatever its distribution: between the k-th
// sample from either end, of which a binomial distribution says that no more than .025 lie beyond each. Less than six samples
// say too little: then it is all that they span, and known is false. (Hahn and Meeker, Statistical Intervals, 5.2.)
func MedianInterval(sorted []float64) (i Interval, known bool) {
	n := len(sorted)
	if n == 0 {
		return Interval{math.NaN(), math.NaN()}, false
	}
	if n < leastKnown {
		return Interval{sorted[0], sorted[n-1]}, false
	}
	// P(fewer than k of n lie below the median) <= .025
	k, below := 0, 0.0
	all, _ := math.Lgamma(float64(n + 1))
	for k < n/2 {
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(n - k + 1))
		if below += math.Exp(all - a - b - float64(n)*math.Ln2); below > 0.025 {
			break
		}
		k++
	}
	return Interval{sorted[k-1], sorted[n-k]}, true
}

// Spread is how far the interval of the samples' median reaches from it, as a share of it; known as MedianInterval has it.
func Spread(samples []float64) (spread float64, known bool) {
	s := slices.Sorted(slices.Values(samples))
	i, known := MedianInterval(s)
	m := Percentile(s, 50)
	return max(i.High-m, m-i.Low) / m, known
}

// Latency sums up the times that single images took, in seconds. Of less than 100 none of 100 can be later than the rest: P99 is
// nil then, as P90 is of less than 10.
type Latency struct {
	P50   float64  `json:"p50_s"`
	P90   *float64 `json:"p90_s"`
	P99   *float64 `json:"p99_s"`
	Max   float64  `json:"max_s"`
	Count int      `json:"count"`
}

// Latencies sums samples up, at least one, and leaves them in their order.
func Latencies(samples []float64) Latency {
	s := slices.Sorted(slices.Values(samples))
	l := Latency{P50: Percentile(s, 50), Max: s[len(s)-1], Count: len(s)}
	at := func(p float64, least int) *float64 {
		if len(s) < least {
			return nil
		}
		v := Percentile(s, p)
		return &v
	}
	l.P90, l.P99 = at(90, 10), at(99, 100)
	return l
}
