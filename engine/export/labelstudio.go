package export

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// The names that Label Studio's templates for segmentation give to what is labelled and by what.
const (
	studioImage    = "image"
	studioBrush    = "tag"   // <BrushLabels name="tag" toName="image">
	studioPolygons = "label" // <PolygonLabels name="label" toName="image">
)

// LocalFiles is the prefix of files on the machine that Label Studio runs on, below its document root.
const LocalFiles = "/data/local-files/?d="

// studioFile writes tasks with predictions.
type studioFile struct {
	w     io.Writer
	tasks list
	model string
}

type studioTask struct {
	Data        map[string]any     `json:"data"`
	Predictions []studioPrediction `json:"predictions"`
}

type studioPrediction struct {
	Model  string         `json:"model_version"`
	Score  float64        `json:"score"`
	Result []studioResult `json:"result"`
}

type studioResult struct {
	ID       string         `json:"id"`
	Type     string         `json:"type"`
	From     string         `json:"from_name"`
	To       string         `json:"to_name"`
	Width    int            `json:"original_width"`
	Height   int            `json:"original_height"`
	Rotation int            `json:"image_rotation"`
	Score    float64        `json:"score"`
	Value    map[string]any `json:"value"`
}

func openLabelStudio(x *exporting, w io.Writer) (sink, error) {
	model := x.results.Info.Model
	s := &studioFile{w: w, tasks: list{w: w}, model: "f2pad " + model[:min(len(model), 12)]}
	_, err := io.WriteString(w, "[")
	return s, err
}

func (s *studioFile) take(e *entry) (func() error, error) {
	name, err := e.name()
	if err != nil {
		return nil, err
	}
	p, err := e.picture()
	if err != nil {
		return nil, err
	}
	prefix := e.Prefix
	if prefix == "" {
		prefix = LocalFiles
	}
	results := []studioResult{}
	add := func(f found, kind, from string, value map[string]any) {
		threshold := e.Threshold
		if f.scored && e.PixelThreshold != nil {
			threshold = *e.PixelThreshold
		}
		value[kind] = []string{e.Label}
		results = append(results, studioResult{
			ID: fmt.Sprintf("%d-%d", e.number, len(results)+1), Type: kind, From: from, To: studioImage,
			Width: p.w, Height: p.h, Score: studioScore(f.score, threshold), Value: value,
		})
	}
	for _, f := range p.regions {
		if !e.Polygons {
			add(f, "brushlabels", studioBrush, map[string]any{"format": "rle", "rle": studioRLE(f.byRows(p.h, p.w))})
			continue
		}
		for _, part := range e.outline(f) {
			var points [][2]float64 // in percent of the image
			for _, c := range part.Single() {
				points = append(points, [2]float64{100 * float64(c.X) / float64(p.w), 100 * float64(c.Y) / float64(p.h)})
			}
			add(f, "polygonlabels", studioPolygons, map[string]any{"points": points, "closed": true})
		}
	}
	task := studioTask{
		Data:        map[string]any{studioImage: prefix + escaped(name), "anomalous": e.Anomalous},
		Predictions: []studioPrediction{{s.model, studioScore(e.ImageScore, e.Threshold), results}},
	}
	return func() error { return s.tasks.add(task) }, nil
}

func (s *studioFile) end() error {
	_, err := io.WriteString(s.w, "\n]\n")
	return err
}

// studioScore brings a score of 0 and more to [0,1], as Label Studio wants it: score / (score + threshold), so that a half is the threshold.
func studioScore(score, threshold float64) float64 {
	if !(score > 0) {
		return 0
	}
	return score / (score + max(threshold, 0))
}

// escaped is a name as an address holds it, in its path or behind its question mark.
func escaped(name string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(name))
}

// studioRLE packs the runs of a mask as Label Studio's brush does: a header (32 bits: how many values, 5: their bits less one, 4 times 4: how long
// the numbers of values may be, in bits less one), then for each run a 1, which of these lengths is taken (2 bits), how many values less
// one, and the value. There are four values for each pixel, 255 inside and 0 outside.
func studioRLE(r runs) []int {
	const channels, wordBits = 4, 8
	sizes := [4]int{3, 4, 8, 16}
	total := 0
	for _, n := range r {
		total += channels * n
	}
	var b bits
	b.add(total, 32)
	b.add(wordBits-1, 5)
	for _, s := range sizes {
		b.add(s-1, 4)
	}
	value := 0
	for _, n := range r {
		for left := channels * n; left > 0; {
			k := min(left, 1<<sizes[3])
			which := 0
			for k > 1<<sizes[which] {
				which++
			}
			b.add(1, 1)
			b.add(which, 2)
			b.add(k-1, sizes[which])
			b.add(value, wordBits)
			left -= k
		}
		value = 255 - value
	}
	return b.bytes()
}

// bits are bits in a row, the highest of each number first.
type bits struct {
	full []int  // bytes
	rest uint64 // the last bits, fewer than 8
	n    int
}

func (b *bits) add(v, n int) {
	b.rest = b.rest<<n | uint64(v)
	for b.n += n; b.n >= 8; b.n -= 8 {
		b.full = append(b.full, int(b.rest>>(b.n-8)&255))
	}
}

// bytes fills the last byte with zeros.
func (b *bits) bytes() []int {
	if b.n > 0 {
		b.add(0, 8-b.n)
	}
	return b.full
}
