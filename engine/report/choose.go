package report

import (
	"cmp"
	"slices"

	"f2pad.example/engine/metric"
)

// Why says why an image is in the gallery.
type Why string

// The reasons that Choose and ChooseByAP give, and those for which a caller shows an image whatever its map is like.
const (
	LargestGain  Why = "largest gain"
	SmallestLoss Why = "smallest loss" // the most that there is, where all lose
	NoChange     Why = "no change"
	Median       Why = "median"
	SmallestGain Why = "smallest gain" // the least that there is, where all gain
	LargestLoss  Why = "largest loss"

	HighestAP Why = "highest AP"
	LowestAP  Why = "lowest AP"

	Miss       Why = "miss"
	FalseAlarm Why = "false alarm"
)

// Choice is an image for the gallery.
type Choice struct {
	Index int
	Why   Why
}

// Choose picks the images that a gallery shows of a category, given by how much refining changed the AP of each: each of
// those that gained most, around the median, and those that lost most. What is called a gain is one, as shown, and so is a
// loss, whichever end it comes from. No image is picked twice; with too few of them the ends come first. Undefined gains
// (images without an AP) are left out; equal ones go by index.
func Choose(gains []metric.Value, each int) []Choice {
	out := choose(gains, each, LargestGain, LargestLoss)
	for i, c := range out {
		sign := difference(gains[c.Index]).Sign
		switch {
		case c.Why == Median:
		case sign == 0:
			out[i].Why = NoChange
		case c.Why == LargestGain && sign < 0:
			out[i].Why = SmallestLoss
		case c.Why == LargestLoss && sign > 0:
			out[i].Why = SmallestGain
		}
	}
	return out
}

// ChooseByAP is Choose by the AP itself, where there are not two maps to compare.
func ChooseByAP(ap []metric.Value, each int) []Choice { return choose(ap, each, HighestAP, LowestAP) }

// choose picks each of the highest values, around the median, and of the lowest.
func choose(values []metric.Value, each int, highest, lowest Why) []Choice {
	var order []int // from the highest to the lowest
	for i, v := range values {
		if v.Defined() {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(values[b], values[a]) })
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
	pick(highest, order[:top])
	pick(Median, order[first:first+middle])
	pick(lowest, order[n-worst:])
	return out
}
