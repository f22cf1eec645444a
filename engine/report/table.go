package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"f2pad.example/engine/metric"
)

// The maps that differences are taken between.
const (
	base    = "base"
	control = "residual"
	refined = "f2pad"
)

// column is a metric as the table shows it.
type column struct {
	Short, Name, Meaning string
	of                   func(metric.Row) metric.Value
}

// columns are the metrics of the table, best when high.
var columns = [...]column{
	{"imgAUC", "image AUROC", "The chance that an anomalous image scores higher than a normal one. It judges the decision " +
		"per image, not the map's detail.", func(r metric.Row) metric.Value { return r.ImageAUROC }},
	{"pixAUC", "pixel AUROC", "The same for pixels. Normal pixels are so many that it is near 1 even for coarse maps.",
		func(r metric.Row) metric.Value { return r.PixelAUROC }},
	{"AP", "pixel AP", "Average precision of the pixels of all images together: the area under precision over recall. It " +
		"notices every falsely marked pixel, so it tells coarse from fine.",
		func(r metric.Row) metric.Value { return r.PixelAP }},
	{"AUPRO", "AUPRO", "The mean share covered of each defect, over false-positive rates up to 0.3. Small defects weigh " +
		"as much as large ones.", func(r metric.Row) metric.Value { return r.AUPRO }},
	{"Dice", "Dice, oracle", "Overlap of mask and ground truth (the F1 score of the pixels) at the one threshold that is " +
		"best on these images: what a perfect choice could reach.", func(r metric.Row) metric.Value { return r.DiceOracle }},
	{"IoU", "IoU, oracle", "Intersection over union at the same threshold.",
		func(r metric.Row) metric.Value { return r.IoUOracle }},
	{"DiceLF", "Dice, label-free", "Dice at the threshold that was calibrated before any real defect was seen, on normal " +
		"images and on defects simulated on them: what you get in use.", func(r metric.Row) metric.Value { return r.DiceLabelFree }},
	{"IoULF", "IoU, label-free", "Intersection over union at the label-free threshold.",
		func(r metric.Row) metric.Value { return r.IoULabelFree }},
	{"bndF", "boundary F", "How well contours agree: the F score of contour pixels that lie within 2 px of the other's " +
		"contour, at the oracle threshold.", func(r metric.Row) metric.Value { return r.BoundaryF }},
}

// Table is a table of metrics, for people: a group of lines per category, one line per map and, below them, what f2pad
// gains over base and over the control. Values have three decimals; differences are taken before rounding.
type Table struct {
	Head   []Head
	Groups []Group
	Gains  []Gain
}

// Gain is by how much the pixel AP of two maps differs in a category, with its 95 % interval.
type Gain struct {
	Category, Name string
	Value          Cell
	Low, High      Cell
}

// Head is a column's heading.
type Head struct{ Short, Name string }

// Group is the lines of one category.
type Group struct {
	Category string
	Lines    []Line
}

// Line is one map of a category, or a difference of two.
type Line struct {
	Name       string
	Difference bool
	Images     string // empty for differences
	Cells      []Cell // one for each metric, then the share of images that are worse than base, and seconds per image
}

// Cell is a number of the table.
type Cell struct {
	Text string
	Best bool // as high as any other map's in the category, as shown, where they are not all the same
	Sign int  // of a difference of metrics, as shown: 1 better, -1 worse
}

// NewTable lays out rows, which come category by category.
func NewTable(rows []metric.Row) Table {
	var t Table
	for _, c := range columns {
		t.Head = append(t.Head, Head{c.Short, c.Name})
	}
	t.Head = append(t.Head, Head{"worse", "images worse than base"}, Head{"s/image", "seconds per image"})
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Category == rows[0].Category {
			n++
		}
		t.Groups = append(t.Groups, newGroup(rows[:n]))
		t.Gains = append(t.Gains, gains(rows[:n])...)
		rows = rows[n:]
	}
	return t
}

func newGroup(rows []metric.Row) Group {
	g := Group{Category: rows[0].Category}
	for _, r := range rows {
		line := Line{Name: r.Map, Images: fmt.Sprint(r.Images)}
		for _, c := range columns {
			line.Cells = append(line.Cells, Cell{Text: show(c.of(r)), Best: best(c, r, rows)})
		}
		line.Cells = append(line.Cells, worse(r), Cell{Text: fmt.Sprintf("%.3f", r.SecondsPerImage)})
		g.Lines = append(g.Lines, line)
	}
	f, ok := find(rows, refined)
	if !ok {
		return g
	}
	for _, name := range []string{base, control} {
		r, ok := find(rows, name)
		if !ok {
			continue
		}
		line := Line{Name: refined + " − " + name, Difference: true}
		for _, c := range columns {
			line.Cells = append(line.Cells, difference(c.of(f)-c.of(r)))
		}
		line.Cells = append(line.Cells, Cell{}, Cell{Text: fmt.Sprintf("%+.3f", f.SecondsPerImage-r.SecondsPerImage)})
		g.Lines = append(g.Lines, line)
	}
	return g
}

// worse shows the share of images that are worse than base; nothing for base itself.
func worse(r metric.Row) Cell {
	if r.Map == base {
		return Cell{}
	}
	return Cell{Text: show(r.Worse)}
}

// gains lists the differences of a category that have intervals.
func gains(rows []metric.Row) []Gain {
	var out []Gain
	for _, of := range []struct {
		name, over string
		interval   func(metric.Row) *metric.Interval
	}{
		{refined, base, func(r metric.Row) *metric.Interval { return r.OverBase }},
		{refined, control, func(r metric.Row) *metric.Interval { return r.OverControl }},
		{control, base, func(r metric.Row) *metric.Interval { return r.OverBase }},
	} {
		r, _ := find(rows, of.name)
		other, ok := find(rows, of.over)
		if v := of.interval(r); ok && v != nil {
			out = append(out, Gain{
				Category: r.Category, Name: of.name + " − " + of.over, Value: difference(r.PixelAP - other.PixelAP),
				Low: difference(metric.Value(v.Low)), High: difference(metric.Value(v.High)),
			})
		}
	}
	return out
}

// find returns the row of a map.
func find(rows []metric.Row, name string) (metric.Row, bool) {
	for _, r := range rows {
		if r.Map == name {
			return r, true
		}
	}
	return metric.Row{}, false
}

// best reports whether r, as shown, is as high as any row and higher than one.
func best(c column, r metric.Row, rows []metric.Row) bool {
	text, above := show(c.of(r)), false
	if !c.of(r).Defined() {
		return false
	}
	for _, other := range rows {
		if show(c.of(other)) == text || !c.of(other).Defined() {
			continue
		}
		if c.of(other) > c.of(r) {
			return false
		}
		above = true
	}
	return above
}

// undefined stands for what the data do not define.
const undefined = "-"

// show formats a metric.
func show(v metric.Value) string {
	if !v.Defined() {
		return undefined
	}
	return fmt.Sprintf("%.3f", float64(v))
}

// difference formats a difference of metrics.
func difference(v metric.Value) Cell {
	if !v.Defined() {
		return Cell{Text: undefined}
	}
	switch text := fmt.Sprintf("%+.3f", float64(v)); {
	case text == "+0.000" || text == "-0.000":
		return Cell{Text: "±0.000"}
	case v < 0:
		return Cell{Text: "−" + text[1:], Sign: -1}
	default:
		return Cell{Text: text, Sign: 1}
	}
}

// Text lays the table out for a terminal, about 120 columns wide. The best values are marked by *. Below it are the gains.
func (t Table) Text() string {
	lines := [][]string{{"category", "map", "n"}}
	for _, h := range t.Head {
		lines[0] = append(lines[0], h.Short+" ")
	}
	for _, g := range t.Groups {
		lines = append(lines, nil)
		for i, l := range g.Lines {
			line := []string{g.Category, l.Name, l.Images}
			if i > 0 {
				line[0] = ""
			}
			for _, c := range l.Cells {
				mark := " "
				if c.Best {
					mark = "*"
				}
				line = append(line, c.Text+mark)
			}
			lines = append(lines, line)
		}
	}
	var b strings.Builder
	align(&b, lines, 2)
	if len(t.Gains) == 0 {
		return b.String()
	}
	b.WriteString("\npixel AP: differences and their 95 % intervals over resamples of the images\n\n")
	lines = nil
	last := ""
	for _, g := range t.Gains {
		line := []string{"", g.Name, g.Value.Text, fmt.Sprintf("%s to %s", g.Low.Text, g.High.Text)}
		if g.Category != last {
			line[0], last = g.Category, g.Category
		}
		lines = append(lines, line)
	}
	align(&b, lines, 2)
	return b.String()
}

// align writes lines in columns, the first ones aligned to the left and the others to the right.
func align(b *strings.Builder, lines [][]string, left int) {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, s := range line {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	for _, line := range lines {
		var l strings.Builder
		for i, s := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			if i < left {
				l.WriteString(s + pad + " ")
			} else {
				l.WriteString(pad + s + " ")
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
}
