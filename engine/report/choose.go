package report

import (
	"cmp"
	"slices"

	"f2pad/engine/metric"
)

// Why says why an image is in the gallery.
type Why string

// The reasons that Choose gives.
const (
	LargestGain Why = "largest gain"
	Median      Why = "median"
	WorstLoss   Why = "worst"
)

// Choice is an image for the gallery.
type Choice struct {
	Index int
	Why   Why
}

// Choose picks the images that a gallery shows of a category, given by how much refining changed the AP of each: each of
// those that gained most, around the median, and those that lost most (or gained least). No image is picked twice; with
// too few of them the ends come first. Undefined gains (normal images) are left out; equal ones go by index.
func Choose(gains []metric.Value, each int) []Choice {
	var order []int // from the largest gain to the worst loss
	for i, g := range gains {
		if g.Defined() {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(gains[b], gains[a]) })
	n, each := len(order), max(each, 0)
	top := min(each, (n+1)/2)
	worst := min(each, n-top)
	middle := min(each, n-top-worst)
	first := (n - middle) / 2
	var out []Choice
	pick := func(why Why, indices []int) {
		for _, i := range indices {
			out = append(out, Choice{i, why})
		}
	}
	pick(LargestGain, order[:top])
	pick(Median, order[first:first+middle])
	pick(WorstLoss, order[n-worst:])
	return out
}
