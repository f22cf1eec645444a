package run

import (
	"encoding/json"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"f2pad.example/engine"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
)

// Name is an image's path in a line. JSON holds no bytes that are not UTF-8: of a path with such bytes Image is what
// can be read of it, and Base64 the path itself.
type Name struct {
	Image  string `json:"image"`
	Base64 []byte `json:"image_base64,omitempty"`
}

func nameOf(path string) Name {
	if utf8.ValidString(path) {
		return Name{Image: path}
	}
	return Name{strings.ToValidUTF8(path, "\uFFFD"), []byte(path)}
}

// Path is the image's path.
func (n Name) Path() string {
	if len(n.Base64) > 0 {
		return string(n.Base64)
	}
	return n.Image
}

// Content tells an image's content apart from what is at its path at another time.
type Content struct {
	Bytes    int64  `json:"bytes"`
	Modified string `json:"modified"`
	SHA256   string `json:"sha256"`
	Tag      string `json:"tag,omitempty"` // what an object's store says of the content
}

func contentOf(f engine.Fingerprint) Content {
	return Content{f.Bytes, timeOf(f.Modified), f.SHA256, string(f.Tag)}
}

func timeOf(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Line is the line of an image that was scored. Paths of outputs are relative to the run's folder.
type Line struct {
	Name
	Content
	ImageScore     float64         `json:"image_score"`
	Threshold      float64         `json:"threshold"`
	Anomalous      bool            `json:"anomalous"`
	Refined        bool            `json:"refined"`
	Device         string          `json:"device"`
	PixelThreshold *float64        `json:"pixel_threshold"`
	Regions        []region.Region `json:"regions"` // of the mask; nil where no map was made
	Map            *string         `json:"map"`
	Mask           *string         `json:"mask"`
	Overlay        *string         `json:"overlay"`
	Seconds        float64         `json:"seconds"`
}

// lineOf is the line of an image that was scored, without outputs, and what is marked in a map of kind, [H,W]; nil for no map ("").
func lineOf(r *engine.Result, kind refine.Kind, o region.Options) (Line, []bool) {
	line := Line{
		Name: nameOf(r.Item.Path), Content: contentOf(r.File),
		ImageScore: r.Score, Threshold: r.Threshold, Anomalous: r.Anomalous, Refined: r.Refined, Device: r.Device,
		Seconds: r.Seconds[refine.Base],
	}
	if kind == "" {
		return line, nil
	}
	threshold := r.PixelThreshold[kind]
	line.PixelThreshold, line.Seconds = &threshold, r.Seconds[kind]
	marked, regions := r.Mark(kind, o)
	line.Regions = regions
	return line, marked
}

// FormatLine is the line of ResultsFile, without its end, of what an engine that takes fingerprints found in an image, or why it could
// not: what a Run that writes no outputs puts there, for whoever keeps results elsewhere. kind is of the map that Regions are of, one
// that the engine makes, or "".
func FormatLine(r *engine.Result, kind refine.Kind, o region.Options) ([]byte, error) {
	if r.Err != nil {
		return json.Marshal(unscored{nameOf(r.Item.Path), r.Err.Error()})
	}
	line, _ := lineOf(r, kind, o)
	return json.Marshal(line)
}

// stem is the name that the line's outputs share, "" if it has none.
func (l *Line) stem() string {
	for _, name := range []*string{l.Map, l.Mask, l.Overlay} {
		if name != nil {
			return stemOf(*name)
		}
	}
	return ""
}

// unscored is the line of an image that could not be scored.
type unscored struct {
	Name
	Error string `json:"error"`
}

// claim is a line of OldFile only: what stood at these outputs is about to be overwritten with those of the image, so that
// no older line may be trusted that names them.
type claim struct {
	Name
	Map     *string `json:"map,omitempty"`
	Mask    *string `json:"mask,omitempty"`
	Overlay *string `json:"overlay,omitempty"`
	Claim   bool    `json:"claim"`
}

// finished is what a run that is continued has to know of a line.
type finished struct {
	Name
	Content
	Error     string   `json:"error"`
	Score     *float64 `json:"image_score"`
	Anomalous bool     `json:"anomalous"`
	Map       string   `json:"map"`
	Mask      string   `json:"mask"`
	Overlay   string   `json:"overlay"`
	Claim     bool     `json:"claim"`
	raw       []byte   // the line itself
}

// outputs lists the files that the line names.
func (l *finished) outputs() (names []string) {
	for _, name := range []string{l.Map, l.Mask, l.Overlay} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// stem is the name that the line's outputs share, "" if it has none.
func (l *finished) stem() string {
	for _, name := range l.outputs() {
		return stemOf(name)
	}
	return ""
}

// stemOf is an output's name without its folder and extension.
func stemOf(name string) string {
	_, name, _ = strings.Cut(name, "/")
	return strings.TrimSuffix(name, path.Ext(name))
}

// parseLine reads a line. What a dying process or a broken disk left is none, and neither is what leads out of the folder.
func parseLine(line []byte) (finished, bool) {
	l := finished{raw: line}
	if len(line) == 0 || line[len(line)-1] != '\n' || json.Unmarshal(line, &l) != nil || l.Image == "" {
		return l, false
	}
	if l.Error == "" && l.Score == nil && !l.Claim {
		return l, false
	}
	for _, name := range l.outputs() {
		folder, _, below := strings.Cut(name, "/")
		if !below || !filepath.IsLocal(filepath.FromSlash(name)) || !slices.Contains([]string{mapFiles.folder, maskFiles.folder, overlayFiles.folder}, folder) {
			return l, false
		}
	}
	return l, true
}
