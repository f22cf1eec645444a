package main

import (
	"fmt"

	"f2pad.example/engine/metric"
)

// The bounds that a refined map must keep against the base map, in every row.
const (
	mostBelow          = 0.01 // of pixel AP and of oracle Dice
	mostBelowLabelFree = 0.02 // of label-free Dice
	mostWorse          = 0.03 // share of images
)

// verdict says whether a bound holds, and where it does not.
type verdict struct {
	Bound  string   `json:"bound"`
	Says   string   `json:"says"`
	Held   bool     `json:"held"`
	Breaks []string `json:"breaks,omitempty"`
	Remark bool     `json:"remark,omitempty"` // there is no bound: a figure only
}

// refined are the maps that bounds are for.
var refined = []string{"residual", "f2pad"}

// compared is a row with the base row and the control of its class.
type compared struct {
	where              string
	row, base, control metric.Row
}

// pair puts the rows of one kind of map beside those of base and of the control.
func pair(results []*result, kind string) []compared {
	var out []compared
	for _, r := range results {
		rows := r.rows()
		for _, row := range rows {
			if row.Map != kind {
				continue
			}
			c := compared{where: r.name() + " " + row.Category, row: row}
			for _, other := range rows {
				switch {
				case other.Category != row.Category:
				case other.Map == "base":
					c.base = other
				case other.Map == "residual":
					c.control = other
				}
			}
			out = append(out, c)
		}
	}
	return out
}

// judge sums the results up.
func judge(results []*result) []verdict {
	if len(results) == 0 {
		return nil
	}
	var out []verdict
	for _, m := range []struct {
		name string
		most float64
		of   func(metric.Row) metric.Value
	}{
		{"pooled pixel AP", mostBelow, func(r metric.Row) metric.Value { return r.PixelAP }},
		{"oracle Dice", mostBelow, func(r metric.Row) metric.Value { return r.DiceOracle }},
		{"label-free Dice", mostBelowLabelFree, func(r metric.Row) metric.Value { return r.DiceLabelFree }},
	} {
		for _, kind := range refined {
			v := verdict{Bound: fmt.Sprintf("%s: no row is below base by more than %s %s", kind, decimals(m.most, 2), m.name)}
			rows := pair(results, kind)
			for _, c := range rows {
				if gain := float64(m.of(c.row) - m.of(c.base)); gain < -m.most {
					v.Breaks = append(v.Breaks, fmt.Sprintf("%s: %s against %s (%s)", c.where, show(m.of(c.row)), show(m.of(c.base)), signed(gain)))
				}
			}
			v.Held, v.Says = len(v.Breaks) == 0, fmt.Sprintf("%d of %d rows break it", len(v.Breaks), len(rows))
			out = append(out, v)
		}
	}
	for _, kind := range refined {
		out = append(out, judgeWorse(results, kind))
	}
	out = append(out, optimisation(results))
	for _, kind := range append([]string{"base"}, refined...) {
		out = append(out, ratio(results, kind))
	}
	return out
}

// judgeWorse counts each image once, in its own class, and lists the rows that are above the bound by themselves.
func judgeWorse(results []*result, kind string) verdict {
	v := verdict{Bound: fmt.Sprintf("%s: at most %.0f %% of the images with a defect are worse than base by more than %s AP",
		kind, 100*mostWorse, decimals(metric.WorseBy, 2))}
	worse, images := 0.0, 0
	for _, c := range pair(results, kind) {
		if !c.row.Worse.Defined() {
			continue
		}
		if c.row.Category != all {
			worse += float64(c.row.Worse) * float64(c.row.Defective)
			images += c.row.Defective
		}
		if c.row.Worse > mostWorse {
			v.Breaks = append(v.Breaks, fmt.Sprintf("%s: %.1f %% of %d images", c.where, 100*c.row.Worse, c.row.Defective))
		}
	}
	share := worse / float64(max(images, 1))
	v.Held = share <= mostWorse
	v.Says = fmt.Sprintf("%.1f %% of %d images over all classes are; %d rows have more than %.0f %%", 100*share, images, len(v.Breaks), 100*mostWorse)
	return v
}

// optimisation counts what the intervals of f2pad over the control say.
func optimisation(results []*result) verdict {
	v := verdict{Bound: "f2pad - residual: intervals of pooled pixel AP", Remark: true, Held: true}
	above, below, rows := 0, 0, 0
	for _, c := range pair(results, "f2pad") {
		i := c.row.OverControl
		if i == nil {
			continue
		}
		rows++
		side := ""
		switch {
		case i.Above():
			above++
			side = "above 0"
		case i.Below():
			below++
			side = "below 0"
		default:
			continue
		}
		v.Breaks = append(v.Breaks, fmt.Sprintf("%s: %s (%s)", c.where, side, interval(c.row.PixelAP-c.control.PixelAP, i)))
	}
	v.Says = fmt.Sprintf("above 0 in %d of %d rows, below 0 in %d", above, rows, below)
	return v
}

// ratio is how much of the best Dice the label-free threshold keeps.
func ratio(results []*result, kind string) verdict {
	v := verdict{Bound: kind + ": label-free Dice / oracle Dice", Remark: true, Held: true}
	sum, n := 0.0, 0
	for _, c := range pair(results, kind) {
		if q := float64(c.row.DiceLabelFree / c.row.DiceOracle); q >= 0 { // not NaN
			sum += q
			n++
		}
	}
	v.Says = "no row has both"
	if n > 0 {
		v.Says = fmt.Sprintf("mean %.3f over %d rows", sum/float64(n), n)
	}
	return v
}
