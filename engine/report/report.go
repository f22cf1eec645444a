// Package report writes an evaluation for people: one HTML file that needs nothing else, and the table of metrics for a
// terminal.
package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"slices"

	"f2pad.example/engine/metric"
)

// Report is what a page shows. All text may come from strangers: file names are escaped.
type Report struct {
	Title string
	Date  string // as it shall be printed
	Run   []Fact // what was run: data set, model, method, profile, backbone, size, executor, device, versions
	Rows  []metric.Row
	Notes []string // remarks of the caller below the table

	Decisions *Decisions // nil: not shown
	Crossing  []Entry    // images that the image threshold decides wrongly, in the order given
	Left      int        // how many more of them there are

	Gallery []Entry // shown category by category in the order of Rows, within one in the order given
	Empty   string  // why there is no gallery, if there is none; shown in its place
}

// Fact is one thing to know about the run.
type Fact struct{ Name, Value string }

// Entry is an image of the gallery with its maps.
type Entry struct {
	Category  string
	ID        string
	Why       Why
	Normal    bool    // it is of no defect type
	Score     float64 // of the image
	Threshold float64 // of the image score: anomalous is Score > Threshold
	Image     Picture
	Truth     Picture // the image with the contour of the ground truth; the zero Picture for a normal image and where there is none
	Maps      []Map
}

// Map is one kind of map of an image.
type Map struct {
	Name    string       // base, residual or f2pad
	AP      metric.Value // of this image alone; undefined for a normal one
	Picture Picture      // heat map with the contour of the mask at the label-free threshold
}

// Picture is an encoded image.
type Picture struct {
	mime          string
	data          []byte
	Width, Height int // px
}

// maxSide bounds a picture: a gallery of larger ones makes a file that phones and mail refuse.
const maxSide = 1024

// NewPicture encodes an image as PNG or JPEG (quality 90, opaque images only), whichever is smaller. Its sides are 1 to
// 1024 px. The image is not kept.
func NewPicture(m image.Image) (Picture, error) {
	size := m.Bounds().Size()
	if size.X < 1 || size.Y < 1 || size.X > maxSide || size.Y > maxSide {
		return Picture{}, fmt.Errorf("report: picture of %d x %d px, want sides of 1 to %d", size.X, size.Y, maxSide)
	}
	var exact, lossy bytes.Buffer
	if err := png.Encode(&exact, m); err != nil {
		return Picture{}, fmt.Errorf("report: %w", err)
	}
	p := Picture{"image/png", exact.Bytes(), size.X, size.Y}
	if o, ok := m.(interface{ Opaque() bool }); ok && o.Opaque() {
		if err := jpeg.Encode(&lossy, m, &jpeg.Options{Quality: 90}); err != nil {
			return Picture{}, fmt.Errorf("report: %w", err)
		}
		if lossy.Len() < exact.Len() {
			p.mime, p.data = "image/jpeg", lossy.Bytes()
		}
	}
	return p, nil
}

// URI is the picture as a data URI. The zero Picture's is empty.
func (p Picture) URI() template.URL {
	if p.data == nil {
		return ""
	}
	return template.URL("data:" + p.mime + ";base64," + base64.StdEncoding.EncodeToString(p.data))
}

//go:embed report.html
var page string

var layout = template.Must(template.New("report").Funcs(template.FuncMap{"show": show}).Parse(page))

// Write writes the page. It is the same to the byte for the same report. An error leaves it incomplete.
func (r *Report) Write(w io.Writer) error {
	v := view{Report: r, Table: NewTable(r.Rows), Columns: columns[:], Glance: glance(r.Rows), Galleries: r.galleries()}
	for _, e := range r.Gallery {
		v.ByAP = v.ByAP || e.Why == HighestAP || e.Why == LowestAP
	}
	if d := r.Decisions; d != nil {
		v.Decided = &decided{
			Decisions: d, Threshold: threshold(d.ImageThreshold, d.ImageGiven), Rates: d.rates(), Maps: d.maps(),
			Histogram: newHistogram(d.Good, d.Bad, d.ImageThreshold), Plots: d.plots(),
		}
	}
	if err := layout.Execute(w, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// view is what the template works on.
type view struct {
	*Report
	Table     Table
	Columns   []column
	Glance    *summary
	Galleries []gallery
	ByAP      bool // the gallery is chosen by the AP itself
	Decided   *decided
}

// decided is the section on decisions.
type decided struct {
	*Decisions
	Threshold string
	Rates     []Shown
	Maps      []shownMap
	Histogram *histogram
	Plots     []plot
}

// summary is the head of the page: the last category's rows, which are "all" where there are several.
type summary struct {
	Category string
	Charts   []chart
}

// chart compares the maps by one metric.
type chart struct {
	Name string
	Bars []bar
	// Base and Control are what f2pad gains over each; empty where either map is missing.
	Base, Control Cell
}

type bar struct {
	Map     string
	Text    string
	Percent float64 // length of the bar
	Best    bool
}

// glance draws the metrics that the map's detail decides.
func glance(rows []metric.Row) *summary {
	if len(rows) == 0 {
		return nil
	}
	last := rows[len(rows)-1].Category
	rows = slices.DeleteFunc(slices.Clone(rows), func(r metric.Row) bool { return r.Category != last })
	s := &summary{Category: last}
	for _, c := range columns {
		switch c.Name {
		case "pixel AP", "AUPRO", "Dice, oracle", "Dice, label-free", "boundary F", "image AUROC":
		default:
			continue
		}
		ch := chart{Name: c.Name}
		for _, r := range rows {
			v := c.of(r)
			b := bar{Map: r.Map, Text: show(v), Best: best(c, r, rows)}
			if v.Defined() {
				b.Percent = 100 * float64(v)
			}
			ch.Bars = append(ch.Bars, b)
		}
		if f, ok := find(rows, refined); ok {
			if b, ok := find(rows, base); ok {
				ch.Base = difference(c.of(f) - c.of(b))
			}
			if b, ok := find(rows, control); ok {
				ch.Control = difference(c.of(f) - c.of(b))
			}
		}
		s.Charts = append(s.Charts, ch)
	}
	return s
}

// gallery is the entries of one category.
type gallery struct {
	Category string
	Entries  []Entry
}

// galleries groups the entries by category, in the order of the rows; categories without rows come last.
func (r *Report) galleries() []gallery {
	var names []string
	for _, row := range r.Rows {
		names = append(names, row.Category)
	}
	for _, e := range r.Gallery {
		names = append(names, e.Category)
	}
	var out []gallery
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		g := gallery{Category: name}
		for _, e := range r.Gallery {
			if e.Category == name {
				g.Entries = append(g.Entries, e)
			}
		}
		if len(g.Entries) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// Anomalous is the verdict on the image.
func (e Entry) Anomalous() bool { return e.Score > e.Threshold }

// Gain is by how much the AP of the most refined map on this image differs from that of the given one; undefined where that is
// the same.
func (e Entry) Gain(over string) Cell {
	most, of, other := "", metric.Undefined(), metric.Undefined()
	for _, m := range e.Maps {
		if m.Name == over {
			other = m.AP
		}
		if m.Name == refined || m.Name == control && most != refined {
			most, of = m.Name, m.AP
		}
	}
	if most == over {
		return difference(metric.Undefined())
	}
	return difference(of - other)
}
