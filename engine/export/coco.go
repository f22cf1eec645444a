package export

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/region"
)

// cocoFile writes COCO's instances: images, and then their annotations, which wait in a file of their own meanwhile.
type cocoFile struct {
	w           io.Writer
	images      list
	file        *os.File
	spool       *bufio.Writer // into file
	annotations list
}

type cocoImage struct {
	ID        int     `json:"id"` // the number of its line in the results
	FileName  string  `json:"file_name"`
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Score     float64 `json:"score"`
	Threshold float64 `json:"threshold"`
	Anomalous bool    `json:"anomalous"`
}

type cocoAnnotation struct {
	ID           int     `json:"id"`
	ImageID      int     `json:"image_id"`
	CategoryID   int     `json:"category_id"`
	BBox         [4]int  `json:"bbox"` // x, y, width, height
	Area         int     `json:"area"`
	IsCrowd      int     `json:"iscrowd"`
	Score        float64 `json:"score"`
	Segmentation any     `json:"segmentation"`
}

// cocoRLE is a mask of [height,width] in COCO's compressed form.
type cocoRLE struct {
	Size   [2]int `json:"size"`
	Counts string `json:"counts"`
}

// cocoCategory is the number of the one category.
const cocoCategory = 1

func openCOCO(x *exporting, w io.Writer) (sink, error) {
	head, err := json.Marshal(map[string]any{"description": "Results of f2pad score", "version": x.results.Info.Version, "run": x.results.Info})
	if err != nil {
		return nil, err
	}
	category, err := json.Marshal(map[string]any{"id": cocoCategory, "name": x.Label, "supercategory": "anomaly"})
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(w, "{\"info\":%s,\n\"licenses\":[],\n\"categories\":[%s],\n\"images\":[", head, category); err != nil {
		return nil, err
	}
	f, err := artifact.CreateTemp(filepath.Dir(x.Out))
	if err != nil {
		return nil, artifact.Worded(err)
	}
	c := &cocoFile{w: w, images: list{w: w}, file: f, spool: bufio.NewWriter(f)}
	c.annotations.w = c.spool
	return c, nil
}

// Close removes what waited.
func (c *cocoFile) Close() error { return errors.Join(c.file.Close(), os.Remove(c.file.Name())) }

func (c *cocoFile) take(e *entry) (func() error, error) {
	name, err := e.name()
	if err != nil {
		return nil, err
	}
	p, err := e.picture()
	if err != nil {
		return nil, err
	}
	im := cocoImage{e.number, e.Prefix + name, p.w, p.h, e.ImageScore, e.Threshold, e.Anomalous}
	var all []cocoAnnotation
	for _, f := range p.regions {
		a := cocoAnnotation{
			ImageID: e.number, CategoryID: cocoCategory, BBox: [4]int{f.X, f.Y, f.Width, f.Height}, Area: f.Area, Score: f.score,
			Segmentation: cocoRLE{[2]int{p.h, p.w}, cocoCounts(f.byColumns(p.h, p.w))},
		}
		if e.Polygons {
			a.Segmentation = cocoPolygons(e.outline(f))
		}
		all = append(all, a)
	}
	return func() error {
		if err := c.images.add(im); err != nil {
			return err
		}
		for _, a := range all {
			a.ID = c.annotations.n + 1
			if err := c.annotations.add(a); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (c *cocoFile) end() error {
	if err := c.spool.Flush(); err != nil {
		return err
	}
	waited, err := os.Open(c.file.Name())
	if err != nil {
		return artifact.Worded(err)
	}
	defer waited.Close()
	if _, err := io.WriteString(c.w, "\n],\n\"annotations\":["); err != nil {
		return err
	}
	if _, err := io.Copy(c.w, waited); err != nil {
		return err
	}
	_, err = io.WriteString(c.w, "\n]}\n")
	return err
}

// cocoPolygons are a region's parts as COCO has them, each x, y, x, y, ..., holes joined to it: it knows none.
func cocoPolygons(parts []region.Polygon) [][]int {
	var all [][]int
	for _, p := range parts {
		var flat []int
		for _, c := range p.Single() {
			flat = append(flat, c.X, c.Y)
		}
		all = append(all, flat)
	}
	return all
}

// cocoCounts writes runs as COCO's masks do: from the fourth on, what a run is longer than the one before the last; in characters of five
// bits each, the lowest first, a sixth if there are more, 48 on top.
func cocoCounts(r runs) string {
	var b []byte
	for i, v := range r {
		if i > 2 {
			v -= r[i-2]
		}
		for more := true; more; {
			bits := v & 31
			v >>= 5
			if more = !(v == 0 && bits&16 == 0 || v == -1 && bits&16 != 0); more {
				bits |= 32
			}
			b = append(b, byte(bits+48))
		}
	}
	return string(b)
}
