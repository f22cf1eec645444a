package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"f2pad.example/engine/metric"
)

// Measures of the charts in units of their view box, which are pixels where there is room.
const (
	histogramWidth, histogramHeight = 600.0, 110.0 // of one class's half
	histogramBins                   = 40
	curveSide                       = 220.0
	apart                           = 0.5 // points of a curve that are nearer are not drawn
)

// histogram shows the image scores of good images above the axis and of defective ones below, each as a share of its class.
type histogram struct {
	Bars      []histogramBar
	Low, High string  // scores at the ends
	Cut       float64 // where the threshold is; negative where it is far beyond the scores
	CutText   string
	Beyond    string // says so then
}

type histogramBar struct {
	X, Y, Width, Height float64
	Class               string // good or bad, and wrong where the threshold decides wrongly
	Title               string
}

// newHistogram parts the scores into bins, none of which has the threshold inside: a score at it is below. nil without scores.
func newHistogram(good, bad []float64, threshold float64) *histogram {
	all := slices.Concat(good, bad)
	if len(all) == 0 {
		return nil
	}
	low, high := slices.Min(all), slices.Max(all)
	span := high - low
	if span == 0 {
		span = max(math.Abs(low)/100, 1e-6)
		low, high = low-span/2, high+span/2
	}
	h := &histogram{Cut: -1}
	within := threshold > low-span && threshold < high+span
	if within {
		low, high = min(low, threshold), max(high, threshold)
	}
	width := (high - low) / histogramBins
	below, bins := 0, histogramBins // bins up to the threshold, and all
	if within {
		below = int(math.Ceil((threshold - low) / width))
		low = threshold - float64(below)*width
		bins = below + int(math.Ceil((high-threshold)/width))
	}
	x := func(bin int) float64 { return histogramWidth * float64(bin) / float64(bins) }
	if within {
		h.Cut, h.CutText = x(below), fmt.Sprintf("threshold %.4g", threshold)
	} else {
		h.Beyond = fmt.Sprintf("the threshold %.4g is far beyond all scores", threshold)
	}
	h.Low, h.High = fmt.Sprintf("%.4g", low), fmt.Sprintf("%.4g", low+float64(bins)*width)
	for _, class := range []struct {
		name   string
		scores []float64
		wrong  func(s float64) bool
	}{
		{"good", good, func(s float64) bool { return s > threshold }},
		{"bad", bad, func(s float64) bool { return !(s > threshold) }},
	} {
		counts, wrong := make([]int, bins), make([]bool, bins)
		for _, s := range class.scores {
			bin := int((s - low) / width)
			switch {
			case within && s > threshold:
				bin = max(bin, below)
			case within:
				bin = min(bin, below-1)
			}
			bin = min(max(bin, 0), bins-1)
			counts[bin]++
			wrong[bin] = class.wrong(s)
		}
		most := slices.Max(counts)
		for bin, n := range counts {
			if n == 0 {
				continue
			}
			b := histogramBar{X: x(bin), Width: x(1), Height: histogramHeight * float64(n) / float64(most), Class: class.name,
				Title: fmt.Sprintf("%d %s, score %.4g to %.4g", n, map[string]string{"good": "good", "bad": "defective"}[class.name],
					low+float64(bin)*width, low+float64(bin+1)*width)}
			b.Y = histogramHeight
			if class.name == "good" {
				b.Y -= b.Height
			}
			if wrong[bin] {
				b.Class += " wrong"
			}
			h.Bars = append(h.Bars, b)
		}
	}
	return h
}

// plot is a curve in the unit square.
type plot struct {
	Name, X, Y string // titles
	Path       string // empty where the data do not define the curve
	Value      string
	Dot        *metric.Point // at the threshold
	Missing    string        // why there is no curve
}

// newPlot draws a curve from point to point.
func newPlot(p plot, curve []metric.Point, at *metric.Point) plot {
	to := func(q metric.Point) metric.Point { return metric.Point{X: curveSide * q.X, Y: curveSide * (1 - q.Y)} }
	var b strings.Builder
	var last metric.Point
	for i, q := range curve {
		q = to(q)
		if i > 0 && i < len(curve)-1 && math.Hypot(q.X-last.X, q.Y-last.Y) < apart {
			continue
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], q.X, q.Y)
		last = q
	}
	p.Path = b.String()
	if p.Path != "" && at != nil {
		dot := to(*at)
		p.Dot = &dot
	}
	return p
}

// plots are the ROC and the precision-recall curve of the images.
func (d *Decisions) plots() []plot {
	if d.Images == nil {
		return nil
	}
	var roc, pr *metric.Point
	if found := d.Misses.Of - d.Misses.Count; d.Misses.Of > 0 {
		recall := float64(found) / float64(d.Misses.Of)
		if d.FalseAlarms.Of > 0 {
			roc = &metric.Point{X: float64(d.FalseAlarms.Share), Y: recall}
		}
		if above := found + d.FalseAlarms.Count; above > 0 {
			pr = &metric.Point{X: recall, Y: float64(found) / float64(above)}
		}
	}
	return []plot{
		newPlot(plot{Name: "ROC curve", X: "false alarms", Y: "recall", Value: "AUROC " + show(d.Images.AUROC()),
			Missing: "It needs good and defective images."}, d.Images.ROC(), roc),
		newPlot(plot{Name: "Precision and recall", X: "recall", Y: "precision", Value: "AP " + show(d.Images.AP()),
			Missing: "It needs defective images."}, d.Images.PR(), pr),
	}
}
