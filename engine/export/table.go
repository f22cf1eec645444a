package export

import (
	"encoding/base64"
	"strconv"
	"strings"

	"f2pad.example/engine/region"
)

// imageRow is a row of a table of images. Columns are called as the fields of a line of results are.
type imageRow struct {
	Image          string   `parquet:"image"`
	ImageBase64    *string  `parquet:"image_base64,optional"`
	Bytes          *int64   `parquet:"bytes,optional"`
	Modified       *string  `parquet:"modified,optional"`
	SHA256         *string  `parquet:"sha256,optional"`
	Tag            *string  `parquet:"tag,optional"`
	ImageScore     *float64 `parquet:"image_score,optional"`
	Threshold      *float64 `parquet:"threshold,optional"`
	Anomalous      *bool    `parquet:"anomalous,optional"`
	Refined        *bool    `parquet:"refined,optional"`
	Device         *string  `parquet:"device,optional"`
	PixelThreshold *float64 `parquet:"pixel_threshold,optional"`
	Regions        *int64   `parquet:"regions,optional"` // how many
	Area           *int64   `parquet:"area,optional"`    // of all
	Peak           *float32 `parquet:"peak,optional"`    // the highest
	Map            *string  `parquet:"map,optional"`
	Mask           *string  `parquet:"mask,optional"`
	Overlay        *string  `parquet:"overlay,optional"`
	Seconds        *float64 `parquet:"seconds,optional"`
	Error          *string  `parquet:"error,optional"`
}

// regionRow is a row of a table of regions.
type regionRow struct {
	Image       string   `parquet:"image"`
	ImageBase64 *string  `parquet:"image_base64,optional"`
	ImageScore  float64  `parquet:"image_score"`
	Threshold   float64  `parquet:"threshold"`
	Region      int64    `parquet:"region"` // its number in the image, from 1 on
	X           int64    `parquet:"x"`
	Y           int64    `parquet:"y"`
	Width       int64    `parquet:"width"`
	Height      int64    `parquet:"height"`
	Area        int64    `parquet:"area"`
	Peak        *float32 `parquet:"peak,optional"`
	PeakX       *int64   `parquet:"peak_x,optional"`
	PeakY       *int64   `parquet:"peak_y,optional"`
	Mean        *float64 `parquet:"mean,optional"`
	Polygon     *string  `parquet:"polygon,optional"` // well-known text
}

// rows writes the rows of a table.
type rows[T any] interface {
	add(row T) error
	end() error
}

// table takes images into rows.
type table[T any] struct {
	rows rows[T]
	of   func(e *entry) ([]T, error)
}

func (t table[T]) take(e *entry) (func() error, error) {
	rows, err := t.of(e)
	return func() error {
		for _, row := range rows {
			if err := t.rows.add(row); err != nil {
				return err
			}
		}
		return nil
	}, err
}

func (t table[T]) end() error { return t.rows.end() }

// known is a column's value, or null.
func known[T any](v T, is bool) *T {
	if !is {
		return nil
	}
	return &v
}

// base64 is the column of paths that are not UTF-8.
func (e *entry) base64() *string {
	return known(base64.StdEncoding.EncodeToString(e.Base64), len(e.Base64) > 0)
}

func imageRows(e *entry) ([]imageRow, error) {
	row := imageRow{Image: e.Image, ImageBase64: e.base64(), Error: known(e.Error, e.Error != "")}
	if e.Error != "" {
		return []imageRow{row}, nil
	}
	row.Bytes, row.Modified, row.SHA256 = known(e.Bytes, e.SHA256 != ""), known(e.Modified, e.Modified != ""), known(e.SHA256, e.SHA256 != "")
	row.Tag = known(e.Tag, e.Tag != "")
	row.ImageScore, row.Threshold, row.Anomalous = &e.ImageScore, &e.Threshold, &e.Anomalous
	row.Refined, row.Device, row.PixelThreshold = &e.Refined, known(e.Device, e.Device != ""), e.PixelThreshold
	row.Map, row.Mask, row.Overlay, row.Seconds = e.Map, e.Mask, e.Overlay, &e.Seconds
	if e.Regions != nil {
		e.regions = len(e.Regions)
		area, peak := int64(0), known(float32(0), e.regions > 0)
		for i, r := range e.Regions {
			area += int64(r.Area)
			if i == 0 || r.Peak > *peak {
				*peak = r.Peak
			}
		}
		row.Regions, row.Area, row.Peak = known(int64(e.regions), true), &area, peak
	}
	return []imageRow{row}, nil
}

// regionRows are the rows of an image's regions: those of its line, unless outlines are asked for or it is a line of the first versions, which
// had none.
func regionRows(e *entry) ([]regionRow, error) {
	if e.Error != "" {
		return nil, nil
	}
	var all []found
	if e.Polygons || e.Regions == nil {
		p, err := e.picture()
		if err != nil {
			return nil, err
		}
		all = p.regions
	} else {
		for _, r := range e.Regions {
			all = append(all, found{Region: r, scored: true})
		}
	}
	e.regions = len(all)
	var out []regionRow
	for i, f := range all {
		row := regionRow{
			Image: e.Image, ImageBase64: e.base64(), ImageScore: e.ImageScore, Threshold: e.Threshold, Region: int64(i + 1),
			X: int64(f.X), Y: int64(f.Y), Width: int64(f.Width), Height: int64(f.Height), Area: int64(f.Area),
			Peak: known(f.Peak, f.scored), PeakX: known(int64(f.PeakX), f.scored), PeakY: known(int64(f.PeakY), f.scored),
			Mean: known(f.Mean, f.scored),
		}
		if e.Polygons {
			row.Polygon = known(wellKnown(e.outline(f)), true)
		}
		out = append(out, row)
	}
	return out, nil
}

// wellKnown writes polygons as well-known text: POLYGON ((x y, ...), (...)) with holes, or a MULTIPOLYGON of several.
func wellKnown(parts []region.Polygon) string {
	var polygons []string
	for _, p := range parts {
		var rings []string
		for _, r := range append([]region.Ring{p.Outer}, p.Holes...) {
			var points []string
			for _, c := range append(r[:len(r):len(r)], r[0]) {
				points = append(points, strconv.Itoa(c.X)+" "+strconv.Itoa(c.Y))
			}
			rings = append(rings, "("+strings.Join(points, ", ")+")")
		}
		polygons = append(polygons, "("+strings.Join(rings, ", ")+")")
	}
	if len(polygons) == 1 {
		return "POLYGON " + polygons[0]
	}
	return "MULTIPOLYGON (" + strings.Join(polygons, ", ") + ")"
}
