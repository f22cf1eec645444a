package report

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"f2pad.example/engine/metric"

	"github.com/stretchr/testify/require"
)

// element is a parsed HTML element with the text inside it.
type element struct {
	name string
	attr map[string]string
	text string
}

// parse reads a page and returns its elements in order. It fails if they are not properly nested.
func parse(t *testing.T, page []byte) []*element {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var all, open []*element
	for {
		token, err := d.Token()
		if err == io.EOF {
			require.Empty(t, open)
			return all
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attr: map[string]string{}}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			require.NotEmpty(t, open)
			require.Equal(t, open[len(open)-1].name, token.Name.Local)
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text += string(token)
			}
		}
	}
}

func named(all []*element, name string) (some []*element) {
	for _, e := range all {
		if e.name == name {
			some = append(some, e)
		}
	}
	return some
}

func classed(all []*element, class string) (some []*element) {
	for _, e := range all {
		if e.attr["class"] == class {
			some = append(some, e)
		}
	}
	return some
}

func write(t *testing.T, r *Report) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.Write(&b))
	return b.Bytes()
}

func row(category, name string, ap metric.Value) metric.Row {
	return metric.Row{Category: category, Map: name, Images: 7, ImageAUROC: 0.9, PixelAUROC: 0.8, PixelAP: ap, AUPRO: ap / 2,
		DiceOracle: ap, IoUOracle: ap / (2 - ap), DiceLabelFree: metric.Undefined(), IoULabelFree: 0.1, BoundaryF: 1 - ap,
		SecondsPerImage: 0.25 + float64(ap)}
}

func picture(t *testing.T, w, h int) Picture {
	t.Helper()
	p, err := NewPicture(image.NewGray(image.Rect(0, 0, w, h)))
	require.NoError(t, err)
	return p
}

func sample(t *testing.T) *Report {
	entry := func(category, id string, why Why, ap ...metric.Value) Entry {
		e := Entry{Category: category, ID: id, Why: why, Score: 2, Threshold: 1.5, Image: picture(t, 31, 20)}
		for i, name := range []string{"base", "residual", "f2pad"} {
			e.Maps = append(e.Maps, Map{name, ap[i], picture(t, 33+i, 20)})
		}
		return e
	}
	na := metric.Undefined()
	r := &Report{
		Title: "Evaluation of grain",
		Date:  "2026-01-02",
		Run:   []Fact{{"Method", "PaDiM"}, {"Executor", "goexec"}},
		Rows: []metric.Row{
			row("hole", "base", 0.25), row("hole", "residual", 0.5), row("hole", "f2pad", 0.625),
			row("all", "base", 0.25), row("all", "residual", 0.75), row("all", "f2pad", 0.5),
		},
		Notes: []string{"One image was left out."},
		Gallery: []Entry{
			entry("stain", "test/stain/1.png", Median, 0.5, 0.5, 0.5),
			entry("hole", "test/hole/2.png", LargestGain, 0.25, 0.5, 0.75),
			entry("hole", "test/good/3.png", "a false alarm", na, na, na),
			entry("hole", "test/hole/4.png", LargestLoss, 0.5, 0.25, 0.125),
		},
	}
	r.Rows[2].OverBase, r.Rows[2].OverControl = &metric.Interval{Low: -0.125, High: 0.5}, &metric.Interval{High: 0.25}
	r.Rows[2].Worse = 0.0417
	for i := range r.Gallery {
		if i != 2 {
			r.Gallery[i].Truth = picture(t, 32, 20)
		}
	}
	r.Gallery[2].Normal = true
	r.Gallery[3].Score = 1.5
	return r
}

func TestPageShowsEverything(t *testing.T) {
	page := parse(t, write(t, sample(t)))
	require.Equal(t, "Evaluation of grain", named(page, "title")[0].text)
	require.Equal(t, "Evaluation of grain", named(page, "h1")[0].text)
	require.Contains(t, named(page, "main")[0].text, "2026-01-02")
	require.Contains(t, named(page, "main")[0].text, "One image was left out.")

	require.Equal(t, "MethodPaDiM Executorgoexec", strings.Join(strings.Fields(classed(page, "card facts")[0].text), " "))

	require.Len(t, named(page, "tbody"), 2+1)
	require.Len(t, named(page, "tr"), 1+2*6+1+2, "head; per category its name, three maps, two differences; head and two intervals")
	require.Len(t, named(page, "td"), 2*6*(1+len(columns)+2)+2*3)
	require.Contains(t, strings.Join(strings.Fields(named(page, "table")[1].text), " "),
		"f2pad − basehole+0.375−0.125 to +0.500 f2pad − residualhole+0.125±0.000 to +0.250")
	require.Contains(t, named(page, "tbody")[0].text, "0.042")
	require.Len(t, classed(page, "difference"), 4)
	require.Contains(t, classed(page, "difference")[1].text, "f2pad − residual")
	require.Contains(t, classed(page, "difference")[1].text, "+0.125", "AP .625 to .5")
	require.Contains(t, classed(page, "difference")[3].text, "−0.250", "AP .5 to .75")
	require.Len(t, named(page, "dt"), 2+3+len(columns), "facts, maps, metrics")

	charts := classed(page, "card chart")
	require.Len(t, charts, 6)
	require.Equal(t, "pixel AP base0.250 residual0.750 f2pad0.500 +0.250 f2pad over base−0.250 of it over the control: "+
		"by the optimisation, further questions and the classifier", strings.Join(strings.Fields(charts[1].text), " "))
	require.Equal(t, "width:75%", classed(page, "residual")[1].attr["style"])

	var ids []string
	for _, e := range named(page, "h4") {
		ids = append(ids, e.text)
	}
	require.Equal(t, []string{"test/hole/2.png", "test/good/3.png", "test/hole/4.png", "test/stain/1.png"}, ids,
		"categories in the order of the rows, those without rows last")
	headings := named(page, "h3")
	require.Len(t, headings, 6+2, "charts and galleries; none for a category without images")
	require.Equal(t, "hole", headings[6].text)
	entries := named(page, "article")
	require.Contains(t, entries[0].text, "largest gain")
	require.Contains(t, entries[0].text, "image score 2.000, threshold 1.500: anomalous")
	require.Contains(t, entries[0].text, "AP +0.500 over base, +0.250 over the control")
	require.Contains(t, entries[0].text, "residual AP 0.500")
	require.NotContains(t, entries[1].text, "AP", "a normal image has none")
	require.Contains(t, entries[1].text, "nothing to find")
	require.Contains(t, entries[2].text, "threshold 1.500: normal", "anomalous is above the threshold, not at it")
	require.Contains(t, entries[2].text, "AP −0.375 over base, −0.125 over the control")
}

func TestPicturesAreInThePage(t *testing.T) {
	images := named(parse(t, write(t, sample(t))), "img")
	require.Len(t, images, 4*5-1, "the normal image has no ground truth")
	for i, e := range images {
		data, ok := strings.CutPrefix(e.attr["src"], "data:image/png;base64,")
		require.True(t, ok)
		raw, err := base64.StdEncoding.DecodeString(data)
		require.NoError(t, err)
		c, _, err := image.DecodeConfig(bytes.NewReader(raw))
		require.NoError(t, err)
		require.Equal(t, []string{strconv.Itoa(c.Width), strconv.Itoa(c.Height)}, []string{e.attr["width"], e.attr["height"]})
		if i < 5 {
			require.Equal(t, 31+i, c.Width, "image, ground truth, base, residual, f2pad")
		}
		require.Contains(t, e.attr["alt"], "test/")
	}
	require.Equal(t, "Heat map f2pad of test/hole/2.png with the contour of its mask; AP 0.750",
		images[4].attr["alt"])
}

func TestPageNeedsNothingElse(t *testing.T) {
	page := write(t, sample(t))
	for _, s := range []string{"http:", "https:", "<script", "<link", "url(", "@import", "<iframe"} {
		require.NotContains(t, string(page), s)
	}
	for _, e := range parse(t, page) {
		require.NotContains(t, e.attr, "href")
		if src, ok := e.attr["src"]; ok {
			require.True(t, strings.HasPrefix(src, "data:image/"))
		}
	}
	require.Equal(t, page, write(t, sample(t)), "same report, same bytes")
}

func TestHostileTextStaysText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror='a()'></style>{{.}}&lt;` + "`"
	r := sample(t)
	r.Title, r.Date, r.Run[0], r.Notes[0] = evil, evil, Fact{evil, evil}, evil
	r.Rows[5].Map, r.Rows[0].Category = evil, evil
	for i := range r.Gallery {
		e := &r.Gallery[i]
		e.Category, e.ID, e.Why, e.Maps[0].Name = evil, evil, evil, evil
	}
	page := parse(t, write(t, r))
	require.Empty(t, named(page, "script"))
	require.Len(t, named(page, "img"), 19)
	require.Len(t, named(page, "style"), 1)
	for _, e := range page {
		for name := range e.attr {
			require.False(t, strings.HasPrefix(name, "on"), "%s has %s", e.name, name)
		}
	}
	require.Equal(t, evil, named(page, "title")[0].text)
	require.Equal(t, evil, named(page, "h1")[0].text)
	require.Equal(t, evil, named(page, "h4")[0].text)
	require.Equal(t, "Image "+evil, named(page, "img")[0].attr["alt"])
}

func TestEmptyReport(t *testing.T) {
	page := parse(t, write(t, &Report{Title: "Nothing"}))
	require.Empty(t, named(page, "table"))
	require.Empty(t, named(page, "article"))

	page = parse(t, write(t, &Report{Rows: []metric.Row{row("all", "base", 0.5)}}))
	require.Len(t, named(page, "tr"), 3)
	require.NotContains(t, classed(page, "card chart")[1].text, "over", "no differences without f2pad")

	page = parse(t, write(t, &Report{Rows: []metric.Row{row("all", "base", metric.Undefined()), row("all", "f2pad", 0.5)}}))
	chart := strings.Join(strings.Fields(classed(page, "card chart")[1].text), " ")
	require.Equal(t, "pixel AP base- f2pad0.500 - f2pad over base", chart, "no control, no word on the optimisation")
	require.Equal(t, "width:0%", classed(page, "base")[1].attr["style"])
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestWriteReturnsTheWritersError(t *testing.T) {
	full := errors.New("disk full")
	require.ErrorIs(t, sample(t).Write(brokenWriter{full}), full)
}

func TestNewPicture(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	noise := image.NewRGBA(image.Rect(5, 5, 69, 53))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(rng.Uint32())
	}
	p, err := NewPicture(noise)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(p.URI()), "data:image/png;"), "JPEG would drop the transparency")
	require.Equal(t, [2]int{64, 48}, [2]int{p.Width, p.Height})
	for i := 3; i < len(noise.Pix); i += 4 {
		noise.Pix[i] = 255
	}
	p, err = NewPicture(noise)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(p.URI()), "data:image/jpeg;"))
	m, _, err := image.Decode(bytes.NewReader(p.data))
	require.NoError(t, err)
	require.Equal(t, image.Pt(64, 48), m.Bounds().Size())

	flat := image.NewPaletted(image.Rect(0, 0, 1024, 1024), color.Palette{color.Black, color.White})
	p, err = NewPicture(flat)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(p.URI()), "data:image/png;"))

	for _, r := range []image.Rectangle{{}, image.Rect(0, 0, 1025, 1), image.Rect(0, 0, 1, 1025), image.Rect(0, 0, 0, 3)} {
		_, err = NewPicture(image.NewGray(r))
		require.ErrorContains(t, err, "want sides of 1 to 1024")
	}
	require.Empty(t, Picture{}.URI())
}
