package synth

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Paints lists the defects that Paint knows: the "hole", "scratch" and "stain" of Render, a "patch" of the same image that
// is turned, and "rough", a worn area with a grain of its own.
func Paints() []string { return []string{"hole", "scratch", "stain", "patch", "rough"} }

// Paint draws a defect of the given kind on a copy of img, [3,H,W] in [0,1], and returns that and the defect's mask,
// [H,W] of 0 and 1. The seed decides place, shape, size (about 0.05 to 4 % of the image, small ones being the more
// frequent) and strength. What covers less than half of a pixel is in the image and not in the mask; a grey image stays
// grey. An image of an unusual sort may show little of its defect: a hole in what is black.
//
// Errors: an unknown defect, a side under MinSize. Cost: about 0.2 us per pixel of the image.
func Paint(img *tensor.Dense, defect string, seed uint64) (painted, mask *tensor.Dense, err error) {
	if err := nd.Check("synth: image", img, 3, -1, -1); err != nil {
		return nil, nil, err
	}
	painted = nd.New(img.Shape()...)
	copy(nd.Data(painted), nd.Data(img))
	mask, err = PaintOver(painted, defect, seed)
	if err != nil {
		return nil, nil, err
	}
	return painted, mask, nil
}

// PaintOver is Paint on img itself. Memory beside the mask: some 20 bytes for each pixel that changes, at most one in ten or so.
func PaintOver(img *tensor.Dense, defect string, seed uint64) (mask *tensor.Dense, err error) {
	if err := nd.Check("synth: image", img, 3, -1, -1); err != nil {
		return nil, err
	}
	if !slices.Contains(Paints(), defect) {
		return nil, fmt.Errorf("synth: unknown defect %q, want one of %s", defect, strings.Join(Paints(), ", "))
	}
	h, w := img.Shape()[1], img.Shape()[2]
	if min(h, w) < MinSize {
		return nil, fmt.Errorf("synth: an image of %dx%d, want sides of at least %d pixels", w, h, MinSize)
	}
	s := photo{nd.Data(img), h, w}
	r := rand.New(rand.NewPCG(seed, streamDefect))
	f := s.flaw(defect, r)
	mask = nd.New(h, w)
	truth := nd.Data(mask)
	n := h * w
	type change struct {
		at int
		c  [3]float32
	}
	var changes []change // kept apart until all is known: a defect may look like other parts of the image
	grey := slices.Equal(s.pix[:n], s.pix[n:2*n]) && slices.Equal(s.pix[:n], s.pix[2*n:])
	for i := range truth {
		x, y := float64(i%w), float64(i/w)
		share := f.coverage(x, y)
		if share <= 0 {
			continue
		}
		if share >= 0.5 {
			truth[i] = 1
		}
		under := rgb{float64(s.pix[i]), float64(s.pix[n+i]), float64(s.pix[2*n+i])}
		c := blend(under, f.look(x, y, under), share)
		if grey {
			v := 0.299*c[0] + 0.587*c[1] + 0.114*c[2]
			c = rgb{v, v, v}
		}
		to := change{at: i}
		for k, v := range c {
			to.c[k] = float32(min(max(v, 0), 1))
		}
		changes = append(changes, to)
	}
	for _, to := range changes {
		for k, v := range to.c {
			s.pix[k*n+to.at] = v
		}
	}
	return mask, nil
}

// photo is an image as a surface to paint on.
type photo struct {
	pix  []float32 // [3,h,w]
	h, w int
}

// at is the nearest pixel; beyond the border the image is reflected.
func (s photo) at(x, y float64) rgb {
	i := index.Mirror(int(math.Round(y)), s.h)*s.w + index.Mirror(int(math.Round(x)), s.w)
	n := s.h * s.w
	return rgb{float64(s.pix[i]), float64(s.pix[n+i]), float64(s.pix[2*n+i])}
}

// flaw places a defect; its area is drawn log-uniformly.
func (s photo) flaw(defect string, r *rand.Rand) flaw {
	area := float64(s.h * s.w)
	where := place{size: math.Sqrt(area), area: area * 0.0005 * math.Pow(80, r.Float64())}
	where.x, where.y = float64(s.w)*(0.05+0.9*r.Float64()), float64(s.h)*(0.05+0.9*r.Float64())
	switch defect {
	case "hole":
		return hole(r, where)
	case "scratch":
		return scratch(r, where)
	case "stain":
		return stain(r, where)
	case "patch":
		return turned(r, where, s)
	}
	return rough(r, where)
}

// rough is a worn area: duller or brighter, with a grain of its own.
func rough(r *rand.Rand, where place) flaw {
	where.area = max(where.area, 60)
	b := newBlob(r, where, 2)
	seed := r.Uint64()
	wobble := 0.3 * b.radius
	shade := (0.05 + 0.2*r.Float64()) * float64(1-2*r.IntN(2))
	grain := 0.05 + 0.2*r.Float64()
	size := 1.5 + 3*r.Float64()
	return flaw{
		outline(1.2, func(x, y float64) float64 {
			return b.level(x, y) + wobble*fractal(seed, 1.5*x/b.radius, 1.5*y/b.radius, 3)
		}),
		func(x, y float64, under rgb) rgb {
			k := 1 + shade + grain*fractal(seed+1, x/size, y/size, 2)
			return under.scale(k)
		},
	}
}
