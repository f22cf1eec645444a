// Package synth makes images of materials with known defects: procedural textures as a camera would see them, holes,
// scratches, stains and structural flaws, and the exact mask of each.
package synth

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Good is the class of images without a defect.
const Good = "good"

// Sides of an image in pixels.
const (
	MinSize = 32
	MaxSize = 8192
)

// Textures lists the materials: "weave" (a warm grey plain weave), "wood" (plain-sawn timber, in colour) and "grain" (a
// moulded plastic seen by a monochrome camera: equal channels).
func Textures() []string { return []string{"weave", "wood", "grain"} }

// Defects lists the kinds of defect: "hole", "scratch", "stain", and "structural", which is a missing thread or a turned
// patch of weave, a knot or a turned patch of wood, or a coarse or smeared patch of grain.
func Defects() []string { return []string{"hole", "scratch", "stain", "structural"} }

// Render draws one image of a texture, [3,size,size] in [0,1], with a defect of the given kind, or none for Good, and
// the defect's mask, [size,size] of 0 and 1. The seed decides everything that differs between images of one product:
// position and turn (up to 1.5 degrees) of the piece, threads, fibres and grains, lighting, sensor noise; and the
// defect's place, shape, size (about 0.1 to 4 % of the image, small ones being the more frequent) and strength. The same
// seed draws the same piece whatever the defect.
//
// A defect covers a share c of each pixel, and the pixel shows (1-c) sound + c defective material. The mask holds the
// pixels with c >= 0.5, those nearer to the defective look than to the sound one. Pixels with c = 0 are bit for bit
// those of the sound image; c falls to 0 within 4 pixels of the mask.
//
// Errors: an unknown texture or defect, a size outside MinSize to MaxSize.
func Render(texture, defect string, size int, seed uint64) (img, mask *tensor.Dense, err error) {
	if err := check(texture, size); err != nil {
		return nil, nil, err
	}
	if defect != Good && !slices.Contains(Defects(), defect) {
		return nil, nil, fmt.Errorf("synth: unknown defect %q, want %s or one of %s", defect, Good, strings.Join(Defects(), ", "))
	}
	s := newScene(texture, size, seed)
	s.flaw = s.newFlaw(defect, rand.New(rand.NewPCG(seed, streamDefect)))
	img, mask = nd.New(3, size, size), nd.New(size, size)
	s.draw(nd.Data(img), nd.Data(mask))
	return img, mask, nil
}

func check(texture string, size int) error {
	if !slices.Contains(Textures(), texture) {
		return fmt.Errorf("synth: unknown texture %q, want one of %s", texture, strings.Join(Textures(), ", "))
	}
	if size < MinSize || size > MaxSize {
		return fmt.Errorf("synth: size %d, want %d to %d pixels", size, MinSize, MaxSize)
	}
	return nil
}

// Streams of random numbers: what one of them draws does not shift the others.
const (
	streamPiece = iota
	streamDefect
	streamSensor
)

// scene is one piece of material before the camera.
type scene struct {
	size       int
	surface    surface
	monochrome bool
	x0, y0     float64 // material point at the image's centre
	sin, cos   float64 // turn of the piece
	gain       float64
	tilt       [2]float64 // change of the light from the centre to the border
	vignette   float64
	flaw       flaw
	seed       uint64
}

func newScene(texture string, size int, seed uint64) *scene {
	r := rand.New(rand.NewPCG(seed, streamPiece))
	s := &scene{size: size, seed: seed}
	switch piece := r.Uint64(); texture {
	case "weave":
		s.surface = weave{piece}
	case "wood":
		s.surface = wood{piece}
	case "grain":
		s.surface, s.monochrome = grain{piece}, true
	}
	s.x0, s.y0 = 1000*r.Float64(), 1000*r.Float64()
	s.sin, s.cos = math.Sincos((2*r.Float64() - 1) * 1.5 * math.Pi / 180)
	s.gain = 1 + 0.06*(r.Float64()-0.5)
	s.tilt = [2]float64{0.14 * (r.Float64() - 0.5), 0.14 * (r.Float64() - 0.5)}
	s.vignette = 0.03 + 0.04*r.Float64()
	return s
}

// material maps pixel coordinates to the material's.
func (s *scene) material(px, py float64) (x, y float64) {
	c := float64(s.size-1) / 2
	px, py = px-c, py-c
	return s.x0 + px*s.cos - py*s.sin, s.y0 + px*s.sin + py*s.cos
}

// newFlaw places a defect; its area is drawn log-uniformly.
func (s *scene) newFlaw(defect string, r *rand.Rand) flaw {
	side := float64(s.size)
	where := place{size: side, area: side * side * 0.001 * math.Pow(40, r.Float64())}
	where.x, where.y = s.material(side*(0.14+0.72*r.Float64()), side*(0.14+0.72*r.Float64()))
	switch defect {
	case "hole":
		return hole(r, where)
	case "scratch":
		return scratch(r, where)
	case "stain":
		return stain(r, where)
	case "structural":
		return s.surface.flaw(r, where)
	}
	return flaw{coverage: func(x, y float64) float64 { return 0 }}
}

// draw fills the image and the mask.
func (s *scene) draw(img, mask []float32) {
	sensor := rand.New(rand.NewPCG(s.seed, streamSensor))
	plane := s.size * s.size
	for i := range plane {
		px, py := i%s.size, i/s.size
		x, y := s.material(float64(px), float64(py))
		c := s.surface.at(x, y)
		if share := s.flaw.coverage(x, y); share > 0 {
			c = blend(c, s.flaw.look(x, y, c), share)
			if share >= 0.5 {
				mask[i] = 1
			}
		}
		u, v := 2*float64(px)/float64(s.size-1)-1, 2*float64(py)/float64(s.size-1)-1
		c = c.scale(s.gain * (1 + s.tilt[0]*u + s.tilt[1]*v - s.vignette*(u*u+v*v)))
		if s.monochrome {
			grey := 0.299*c[0] + 0.587*c[1] + 0.114*c[2] + 0.011*sensor.NormFloat64()
			c = rgb{grey, grey, grey}
		} else {
			for k := range c {
				c[k] += 0.009 * sensor.NormFloat64()
			}
		}
		for k, v := range c {
			img[k*plane+i] = float32(min(max(v, 0), 1))
		}
	}
}
