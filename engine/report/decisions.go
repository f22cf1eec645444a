package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"f2pad.example/engine/metric"
)

// Decisions is what a model's thresholds decide, as a page shows it.
type Decisions struct {
	metric.Decisions
	Good, Bad []float64      // image scores of good and of defective images
	WithMask  int            // defective images with ground truth
	Images    *metric.Images // all of them
	Worst     []Worst
}

// Worst is an image that the model does badly on.
type Worst struct {
	ID    string
	Why   string
	Score float64
	AP    metric.Value
}

// Shown is a share or a mean with its interval, as shown.
type Shown struct{ Name, Count, Value, Interval string }

// rates lists the shares of images.
func (d *Decisions) rates() []Shown {
	out := []Shown{
		shownRate("false alarms: good images above the threshold", d.FalseAlarms),
		shownRate("misses: defective images not above it", d.Misses),
	}
	for _, r := range d.Recall {
		out = append(out, shownRate("recall of "+r.Category, r.Rate))
	}
	return out
}

func shownRate(name string, r metric.Rate) Shown {
	return Shown{name, fmt.Sprintf("%d of %d", r.Count, r.Of), percent(float64(r.Share)), between(r.Interval, percent)}
}

func shownMean(m metric.Mean, format func(float64) string) Shown {
	return Shown{Value: format(float64(m.Mean)), Interval: between(m.Interval, format)}
}

// shownMap is the decisions on one kind of map, as shown.
type shownMap struct {
	Map, Threshold      string
	Area, Found, Strays Shown
}

func (d *Decisions) maps() (out []shownMap) {
	for _, m := range d.Maps {
		out = append(out, shownMap{
			m.Map, threshold(m.PixelThreshold, m.PixelGiven),
			shownMean(m.FalseAlarmArea, percent), shownRate("", m.DefectsFound), shownMean(m.FalseRegions, number),
		})
	}
	return out
}

// threshold shows a threshold, and whether it is the model's.
func threshold(v float64, given bool) string {
	text := strconv.FormatFloat(v, 'g', 5, 64)
	if given {
		text += " (given)"
	}
	return text
}

// percent shows a share with one decimal, and with more where it is small, so that two digits can be told.
func percent(v float64) string {
	if math.IsNaN(v) {
		return undefined
	}
	return number(100*v) + " %"
}

func number(v float64) string {
	if math.IsNaN(v) {
		return undefined
	}
	digits := 1
	switch size := math.Abs(v); {
	case size == 0:
		digits = 0
	case size < 1:
		digits = min(1-int(math.Floor(math.Log10(size))), 6)
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func between(v *metric.Interval, format func(float64) string) string {
	if v == nil {
		return undefined
	}
	low, high := format(v.Low), format(v.High)
	return strings.TrimSuffix(low, " %") + " to " + high
}

// Text lays the decisions out for a terminal.
func (d *Decisions) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d good and %d defective images, %d of these with ground truth; image threshold %s; 95 %% intervals\n\n",
		len(d.Good), len(d.Bad), d.WithMask, threshold(d.ImageThreshold, d.ImageGiven))
	var lines [][]string
	for _, r := range d.rates() {
		lines = append(lines, []string{printable(r.Name), " " + r.Count, " " + r.Value, " " + r.Interval})
	}
	align(&b, lines, 1)
	if len(d.Maps) > 0 {
		b.WriteString("\n")
		lines = [][]string{{"map", " threshold", " marked in good images", "", " defects found", "", "", " false regions/image", ""}}
		for _, m := range d.maps() {
			lines = append(lines, []string{m.Map, " " + m.Threshold, " " + m.Area.Value, " " + m.Area.Interval, " " + m.Found.Count,
				" " + m.Found.Value, " " + m.Found.Interval, " " + m.Strays.Value, " " + m.Strays.Interval})
		}
		align(&b, lines, 1)
	}
	if len(d.Worst) > 0 {
		b.WriteString("\nworst images\n")
		lines = nil
		for _, w := range d.Worst {
			lines = append(lines, []string{w.Why, printable(w.ID), fmt.Sprintf(" score %.3f", w.Score), "AP " + show(w.AP)})
		}
		align(&b, lines, 2)
	}
	return b.String()
}

// printable quotes a name that would move a terminal's cursor.
func printable(name string) string {
	for _, r := range name {
		if !strconv.IsPrint(r) {
			return strconv.Quote(name)
		}
	}
	return name
}
