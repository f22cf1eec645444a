package export

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Format is what results can be exported to.
type Format struct {
	Name   string
	About  string   // a line about it
	Folder bool     // it is a folder of files; otherwise one file
	Takes  []Option // the options that it knows

	failed      bool                                          // it lists the inputs that have failed
	masks, maps func(o Options) bool                          // it is made of them; nil: it is not
	open        func(x *exporting, w io.Writer) (sink, error) // w is the file
}

// Option is one of Options that some formats take, by its name on the command line.
type Option string

// The options.
const (
	OptionRows       Option = "rows"
	OptionPolygons   Option = "polygons"
	OptionSimplify   Option = "simplify"
	OptionLabel      Option = "label"
	OptionRelativeTo Option = "relative-to"
	OptionPrefix     Option = "prefix"
	OptionObject     Option = "object"
)

var (
	tables      = []Option{OptionRows, OptionPolygons, OptionSimplify}
	annotations = []Option{OptionPolygons, OptionSimplify, OptionLabel, OptionRelativeTo, OptionPrefix}
	layouts     = []Option{OptionObject}
)

func always(Options) bool     { return true }
func polygons(o Options) bool { return o.Polygons }

// Formats lists the formats.
func Formats() []Format {
	return []Format{
		{"csv", "a table, comma-separated (RFC 4180)", false, tables, true, polygons, nil, openCSV},
		{"parquet", "the same table as Apache Parquet", false, tables, true, polygons, nil, openParquet},
		{"coco", "COCO instances (JSON): regions as compressed RLE or polygons", false, annotations, false, always, nil, openCOCO},
		{"cvat", "CVAT for images 1.1 (XML): regions as masks or polygons", false, annotations, false, always, nil, openCVAT},
		{"labelstudio", "Label Studio predictions (JSON): regions as brush strokes or polygons", false, annotations, false, always, nil, openLabelStudio},
		{"mvtec", "maps where MVTec AD's evaluation looks for them: OBJECT/test/DEFECT/ID.tiff", true, layouts, false, nil, always, openMVTec},
		{"mvtec-ad2", "a submission for MVTec AD 2: anomaly_images and anomaly_images_thresholded", true, layouts, false, always, always, openMVTecAD2},
	}
}

func (f Format) needs(o Options) (masks, maps bool) {
	return f.masks != nil && f.masks(o), f.maps != nil && f.maps(o)
}

// Check finds the format, and refuses options that it does not take.
func (o Options) Check() (Format, error) {
	all := Formats()
	at := slices.IndexFunc(all, func(f Format) bool { return f.Name == o.Format })
	if at < 0 {
		return Format{}, fmt.Errorf("unknown format %q", o.Format)
	}
	f := all[at]
	for _, given := range []struct {
		Option
		is bool
	}{
		{OptionRows, o.EachRegion}, {OptionPolygons, o.Polygons}, {OptionSimplify, o.Simplify != 0}, {OptionLabel, o.Label != ""},
		{OptionRelativeTo, o.RelativeTo != ""}, {OptionPrefix, o.Prefix != ""}, {OptionObject, o.Object != ""},
	} {
		if given.is && !slices.Contains(f.Takes, given.Option) {
			return f, fmt.Errorf("--%s is not for --format %s", given.Option, f.Name)
		}
	}
	switch {
	case o.Simplify != 0 && !o.Polygons:
		return f, errors.New("--simplify is for --polygons")
	case !(o.Simplify >= 0):
		return f, errors.New("--simplify must not be negative")
	case o.Polygons && slices.Contains(f.Takes, OptionRows) && !o.EachRegion:
		return f, errors.New("--polygons needs --rows regions")
	case strings.ContainsAny(o.Object, `/\`) || o.Object == "." || o.Object == "..":
		return f, errors.New("--object must be the name of a folder")
	}
	return f, nil
}
