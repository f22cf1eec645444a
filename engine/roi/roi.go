// Package roi says which part of images is inspected: a region of interest, read from a mask or from polygons.
package roi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/truth"
)

// What a file of polygons may hold.
const (
	maxBytes  = 1 << 20
	maxPoints = 10_000
)

// What an error wraps.
var (
	ErrEmpty  = errors.New("an empty region of interest") // no pixel is inspected
	ErrAspect = errors.New("a region of interest of another aspect")
)

// Region is what is inspected of images. It is immutable.
type Region struct {
	name string // for messages
	// A region has the pixels of an image of h x w, or polygons in the pixels of every image, whatever its size.
	h, w     int
	in       []bool
	polygons [][]point
}

type point struct{ x, y float64 }

// Read reads a region of interest. A file .json holds polygons (in any case of letters), everything else is an image whose
// white is inspected, in the way of masks (truth.Read). It fits images of its own aspect.
//
//	{"polygons": [[[x, y], [x, y], [x, y], ...], ...], "width": W, "height": H}
//
// Points are in pixels from the image's upper left corner, 0 to its width and height; a pixel is inspected if its centre lies in
// a polygon (by the even-odd rule in each). width and height are those of the image that the polygons were drawn on, from which
// they are scaled to others; without them they are in the pixels of each image. Errors name the file.
func Read(path string, lim imageio.Limits) (*Region, error) {
	if strings.EqualFold(filepath.Ext(path), ".json") {
		r, err := readPolygons(path, lim)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if r.h == 0 {
			return r, nil
		}
		return r.Sized(r.h, r.w)
	}
	m, err := truth.ReadMask(path, lim)
	if err != nil {
		return nil, err
	}
	in := make([]bool, m.Pix.Size())
	for i, v := range nd.Data(m.Pix) {
		in[i] = v != 0
	}
	r, err := New(path, in, m.Pix.Shape()[0], m.Pix.Shape()[1])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// New is the region of the pixels in of an image of h x w, which it keeps. Name is for messages.
func New(name string, in []bool, h, w int) (*Region, error) {
	if !slices.Contains(in, true) {
		return nil, ErrEmpty
	}
	return &Region{name: name, h: h, w: w, in: in}, nil
}

func readPolygons(path string, lim imageio.Limits) (*Region, error) {
	f, info, err := openfile.Regular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > maxBytes {
		return nil, fmt.Errorf("%d bytes of polygons, at most %d are allowed", info.Size(), maxBytes)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err != nil {
		return nil, err
	}
	var file struct {
		Width    int           `json:"width"`
		Height   int           `json:"height"`
		Polygons [][][]float64 `json:"polygons"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("no polygons: %w", err)
	}
	if d.More() {
		return nil, errors.New("no polygons: there is more after the object")
	}
	if len(file.Polygons) == 0 {
		return nil, fmt.Errorf("%w: no polygons", ErrEmpty)
	}
	r, points := &Region{name: path}, 0
	for i, polygon := range file.Polygons {
		if points += len(polygon); len(polygon) < 3 || points > maxPoints {
			return nil, fmt.Errorf("polygon %d has %d points, want 3 and more, and at most %d in all", i+1, len(polygon), maxPoints)
		}
		var of []point
		for _, p := range polygon {
			if len(p) != 2 {
				return nil, fmt.Errorf("polygon %d has a point of %d numbers, want x and y", i+1, len(p))
			}
			of = append(of, point{p[0], p[1]})
		}
		r.polygons = append(r.polygons, of)
	}
	if r.h, r.w = file.Height, file.Width; r.h != 0 || r.w != 0 {
		if err := lim.Check(r.w, r.h); err != nil {
			return nil, fmt.Errorf("width and height: %w", err)
		}
	}
	return r, nil
}

// Size is that of the image that the region was made for; 0 x 0 of polygons in the pixels of every image.
func (r *Region) Size() (h, w int) { return r.h, r.w }

// Pixels are those of an image of Size; they must not be changed.
func (r *Region) Pixels() []bool { return r.in }

// Sized is the region as it is in images of h x w pixels.
func (r *Region) Sized(h, w int) (*Region, error) {
	in, err := r.At(h, w)
	if err != nil {
		return nil, err
	}
	return &Region{name: r.name, h: h, w: w, in: in}, nil
}

// At returns which pixels of an image of h x w are inspected, row by row; they must not be changed. An image of another size than
// the region's has the region's nearest pixel at the same place. Errors: ErrEmpty, ErrAspect where its sides differ by more than a
// pixel from those of the region scaled, and points outside of the image.
func (r *Region) At(h, w int) ([]bool, error) {
	in, err := r.at(h, w)
	if err == nil && !slices.Contains(in, true) {
		err = fmt.Errorf("%w: nothing in %dx%d pixels", ErrEmpty, w, h)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	return in, nil
}

func (r *Region) at(h, w int) ([]bool, error) {
	switch {
	case r.polygons != nil:
		return r.draw(h, w)
	case r.h == h && r.w == w:
		return r.in, nil
	}
	if d := r.h*w - h*r.w; d > max(r.h, r.w) || -d > max(r.h, r.w) {
		return nil, fmt.Errorf("%w: %dx%d pixels for an image of %dx%d", ErrAspect, r.w, r.h, w, h)
	}
	return Scale(r.in, r.h, r.w, h, w), nil
}

// Scale brings the pixels in of an image of h x w to H x W: each is the one under its centre.
func Scale(in []bool, h, w, H, W int) []bool {
	out := make([]bool, H*W)
	for y := range H {
		row := in[(2*y+1)*h/(2*H)*w:][:w]
		for x := range W {
			out[y*W+x] = row[(2*x+1)*w/(2*W)]
		}
	}
	return out
}

// draw fills the polygons, line by line.
func (r *Region) draw(h, w int) ([]bool, error) {
	in := make([]bool, h*w)
	for i, polygon := range r.polygons {
		for _, p := range polygon {
			if !(p.x >= 0 && p.x <= float64(w) && p.y >= 0 && p.y <= float64(h)) {
				return nil, fmt.Errorf("polygon %d has the point (%g, %g), outside of an image of %dx%d pixels", i+1, p.x, p.y, w, h)
			}
		}
		var cuts []float64
		for y := range h {
			cuts = cuts[:0]
			at, last := float64(y)+0.5, polygon[len(polygon)-1]
			for _, p := range polygon {
				if (p.y > at) != (last.y > at) {
					cuts = append(cuts, p.x+(at-p.y)/(last.y-p.y)*(last.x-p.x))
				}
				last = p
			}
			slices.Sort(cuts)
			for c := 0; c < len(cuts); c += 2 {
				for x := ceilHalf(cuts[c]); x < min(ceilHalf(cuts[c+1]), w); x++ {
					in[y*w+x] = true
				}
			}
		}
	}
	return in, nil
}

// ceilHalf is the first pixel whose centre is not left of x >= 0.
func ceilHalf(x float64) int {
	n := int(x)
	if float64(n)+0.5 < x {
		n++
	}
	return n
}
