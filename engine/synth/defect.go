package synth

import (
	"math"
	"math/rand/v2"
)

// place is where a defect goes and how large it may be.
type place struct {
	x, y float64 // centre
	area float64 // pixels
	size float64 // side of the image
}

// flaw is a defect: where, and what is seen there. under is the sound surface.
type flaw struct {
	coverage coverage
	look     func(x, y float64, under rgb) rgb
}

// coverage is the share of the pixel at (x,y) that a defect covers.
type coverage func(x, y float64) float64

// outline turns a function that is negative inside a shape and grows outwards, by at most 4 per pixel, into a coverage
// that is 0.5 on the outline and falls from 1 to 0 from soft pixels inside it to soft pixels outside: to first order, f
// over the length of its gradient is the distance.
func outline(soft float64, f func(x, y float64) float64) coverage {
	return func(x, y float64) float64 {
		const h = 0.25
		d := f(x, y)
		if d > 4*soft {
			return 0
		}
		slope := math.Hypot(f(x+h, y)-f(x-h, y), f(x, y+h)-f(x, y-h)) / (2 * h)
		return 1 - step(-soft, soft, d/max(slope, 1e-3))
	}
}

// blob is an irregular ellipse.
type blob struct {
	x, y      float64
	radius    float64 // of the disc of the same area
	stretch   float64 // long half-axis = radius*stretch
	sin, cos  float64 // direction of the long axis
	amplitude [4]float64
	phase     [4]float64
}

func newBlob(r *rand.Rand, where place, stretch float64) *blob {
	b := &blob{x: where.x, y: where.y, radius: max(math.Sqrt(where.area/math.Pi), 1.5)}
	b.stretch = 1 + (stretch-1)*r.Float64()
	b.sin, b.cos = math.Sincos(math.Pi * r.Float64())
	for k := range b.amplitude {
		b.amplitude[k] = 0.22 * r.Float64() / float64(k+1)
		b.phase[k] = 2 * math.Pi * r.Float64()
	}
	return b
}

// level is negative inside the blob, -radius at the centre.
func (b *blob) level(x, y float64) float64 {
	x, y = x-b.x, y-b.y
	u, v := (x*b.cos+y*b.sin)/b.stretch, (y*b.cos-x*b.sin)*b.stretch
	angle := math.Atan2(v, u)
	r := b.radius
	for k := range b.amplitude {
		r += b.radius * b.amplitude[k] * math.Sin(float64(k+2)*angle+b.phase[k])
	}
	return math.Hypot(u, v) - r
}

func (b *blob) coverage(soft float64) coverage { return outline(soft, b.level) }

// turned is a patch that shows another part of the surface, turned by 27 to 63 degrees.
func turned(r *rand.Rand, where place, s look) flaw {
	where.area = max(where.area, 300) // a smaller piece of a pattern looks like any other
	b := newBlob(r, where, 1.4)
	sin, cos := math.Sincos(math.Pi * (0.15 + 0.2*r.Float64()) * float64(1-2*r.IntN(2)))
	dx, dy := 300*r.Float64(), 300*r.Float64()
	return flaw{b.coverage(1.2), func(x, y float64, _ rgb) rgb {
		x, y = x-b.x, y-b.y
		return s.at(b.x+dx+x*cos+y*sin, b.y+dy+y*cos-x*sin)
	}}
}

// hole goes through the material or deep into it: dark, darkest on the side the light comes from.
func hole(r *rand.Rand, where place) flaw {
	b := newBlob(r, where, 1.5)
	dark := 0.04 + 0.12*r.Float64()
	opacity := 0.55 + 0.45*r.Float64()
	seed := r.Uint64()
	return flaw{b.coverage(1.1), func(x, y float64, under rgb) rgb {
		lit := ((x - b.x) + (y - b.y)) / (2 * b.radius) // -1..1 away from the light
		v := dark * (1 + 0.5*lit + 0.5*noise(seed, x/3, y/3))
		rim := step(-0.35*b.radius, 0, b.level(x, y))
		return blend(under, rgb{v, v, v * 0.95}, opacity*(1-0.35*rim))
	}}
}

// scratch is a thin bent line, pressed more and less along its way.
func scratch(r *rand.Rand, where place) flaw {
	width := (0.9 + 1.3*r.Float64()) * max(1, where.size/320)
	length := min(max(where.area/(1.6*width), 0.12*where.size), 0.8*where.size)
	angle := 2 * math.Pi * r.Float64()
	sin, cos := math.Sincos(angle)
	bend := 0.3 * (r.Float64() - 0.5) / length
	wiggle, seed := (0.02+0.05*r.Float64())*length, r.Uint64()
	change := 0.13 + 0.3*r.Float64()*r.Float64()
	if r.IntN(2) == 0 {
		change = -change
	}
	return flaw{
		outline(0.8, func(x, y float64) float64 {
			x, y = x-where.x, y-where.y
			u, v := x*cos+y*sin, y*cos-x*sin
			v -= 4*bend*u*u + wiggle*noise(seed, 3*u/length, 0)
			taper := 1 - math.Pow(2*u/length, 4)
			half := max(width*taper*(0.85+0.4*noise(seed+1, u/9, 0)), 0.7)
			return max(math.Abs(v)-half, math.Abs(u)-length/2)
		}),
		func(x, y float64, under rgb) rgb {
			k := change * (1 + 0.5*noise(seed+2, x/6, y/6))
			return rgb{under[0] + k, under[1] + k, under[2] + k}
		},
	}
}

// stain is a dried drop: it darkens and tints, most along its outline.
func stain(r *rand.Rand, where place) flaw {
	b := newBlob(r, where, 1.5)
	seed := r.Uint64()
	wobble := 0.12 * b.radius
	strength := 0.22 + 0.3*r.Float64()
	tint := rgb{0.75 + 0.25*r.Float64(), 0.95, 1.1 + 0.2*r.Float64()} // how much of each colour is taken
	if r.IntN(3) == 0 {
		tint = rgb{1, 1, 1}
	}
	level := func(x, y float64) float64 {
		return b.level(x, y) + wobble*fractal(seed, 1.3*x/b.radius, 1.3*y/b.radius, 2)
	}
	return flaw{
		outline(min(1.8, 0.4*b.radius), level),
		func(x, y float64, under rgb) rgb {
			ring := step(-0.3*b.radius, -0.02*b.radius, level(x, y))
			k := strength * (0.75 + 0.45*ring + 0.25*noise(seed+9, x/7, y/7))
			return rgb{under[0] * (1 - k*tint[0]), under[1] * (1 - k*tint[1]), under[2] * (1 - k*tint[2])}
		},
	}
}
