package synth

import (
	"math"
	"math/rand/v2"
)

// rgb is a colour in [0,1], as a camera stores it.
type rgb [3]float64

func (c rgb) scale(k float64) rgb { return rgb{c[0] * k, c[1] * k, c[2] * k} }

func blend(a, b rgb, t float64) rgb {
	return rgb{mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)}
}

// surface is one piece of a material on an unbounded plane, lengths in pixels. What all pieces have in common, the
// product, is constant; what differs from piece to piece follows from a seed.
// look has a colour at every point.
type look interface {
	at(x, y float64) rgb
}

type surface interface {
	look
	// flaw breaks the structure in a way of the material's own.
	flaw(r *rand.Rand, where place) flaw
}

// weave is a plain weave: thread i of the warp runs down column i, thread j of the weft along row j, and the warp lies on
// top where i+j is even.
type weave struct{ seed uint64 }

const (
	pitch     = 10.0 // pixels from thread to thread
	halfWidth = 0.47 // of a thread, in pitches
)

// position is a point's position in threads, which do not lie quite straight.
func (w weave) position(x, y float64) (u, v float64) {
	return (x + 1.3*noise(w.seed, x/70, y/45)) / pitch, (y + 1.3*noise(w.seed+1, x/45, y/70)) / pitch
}

func (w weave) at(x, y float64) rgb {
	u, v := w.position(x, y)
	i, j := math.Floor(u), math.Floor(v)
	warpUp := 1 - 2*math.Abs(math.Mod(i+j, 2))
	warp := w.thread(0, i, u-i-0.5, v, warpUp)
	weft := w.thread(1, j, v-j-0.5, u, -warpUp)
	if warp.height > weft.height {
		return warp.colour
	}
	return weft.colour
}

// point is what one thread shows of itself at a point.
type point struct {
	height float64
	colour rgb
}

// thread is a parabolic roof that waves up and down, twisted from fibres; across is -0.5..0.5 of a pitch, along counts
// the crossings, and up says whether the thread lies on top in this cell: 1, or -1, or 0 if nothing crosses it.
func (w weave) thread(set uint64, index, across, along, up float64) point {
	seed := w.seed + 3 + 5*set
	t := across / (halfWidth * (1 + 0.10*noise(seed, index*7.3, along*0.23)))
	if math.Abs(t) >= 1 {
		return point{-10, rgb{0.20, 0.19, 0.17}}
	}
	lift := up * math.Cos(math.Pi*(along-math.Floor(along)-0.5))
	twist := noise(seed+1, along*1.1+2.2*t+31*index, t*2.5)
	shade := 0.06 * (unit(hash(seed+2, int(index), 0)) - 0.5)
	light := 0.66 + shade + 0.13*lift + 0.10*twist - 0.22*t*t*t*t - 0.10*t
	return point{0.8*lift - 0.7*t*t, rgb{0.98, 0.95, 0.88}.scale(light)}
}

// flaw leaves out a piece of one thread, or turns a patch of the cloth.
func (w weave) flaw(r *rand.Rand, where place) flaw {
	if r.IntN(2) == 0 {
		return turned(r, where, w)
	}
	half := min(max(where.area/pitch, 3*pitch), where.size/2) / 2
	position, crossing := w.position, uint64(1) // of the warp, a thread is missing, and the weft shows
	if r.IntN(2) == 0 {
		position, crossing = func(x, y float64) (v, u float64) {
			u, v = w.position(x, y)
			return v, u
		}, 0
	}
	middle, centre := position(where.x, where.y)
	middle = math.Floor(middle) + 0.5
	return flaw{
		outline(0.7, func(x, y float64) float64 {
			across, along := position(x, y)
			return strip(across-middle, along-centre, half)
		}),
		func(x, y float64, _ rgb) rgb {
			across, along := position(x, y)
			i := math.Floor(along)
			return w.thread(crossing, i, along-i-0.5, across, 0).colour
		},
	}
}

// strip is negative within half a pitch across a thread and half pixels along it; across and along are in pitches.
func strip(across, along, half float64) float64 {
	return max(math.Abs(across)*pitch-pitch/2, math.Abs(along)*pitch-half)
}

// wood is plain-sawn timber, its fibres running down the image.
type wood struct{ seed uint64 }

// at darkens slowly through a ring to its late wood, which ends sharply; fibres and pores run along the rings.
func (w wood) at(x, y float64) rgb {
	across := x + 14*fractal(w.seed, x/150, y/420, 3)
	ring := across/15 + 0.8*noise(w.seed+1, across/55, 0)
	year := math.Floor(ring)
	phase := ring - year
	late := step(0.2, 0.92, phase) * (1 - step(0.92, 1, phase)) * (0.45 + 0.55*unit(hash(w.seed+2, int(year), 0)))
	late += 0.12 * fractal(w.seed+6, x/40, y/200, 2)
	c := blend(rgb{0.80, 0.63, 0.43}, rgb{0.60, 0.41, 0.24}, late)
	fibre := 0.6*noise(w.seed+3, x/1.6, y/34) + 0.5*noise(w.seed+4, x/3.3, y/80)
	pore := step(0.38, 0.62, noise(w.seed+5, x/1.4, y/17)) * (0.4 + 0.6*step(0.2, 0.6, phase))
	return c.scale((1 + 0.11*fibre) * (1 - 0.2*pore))
}

// flaw grows a knot, or turns a patch of the grain.
func (w wood) flaw(r *rand.Rand, where place) flaw {
	if r.IntN(2) == 0 {
		return turned(r, where, w)
	}
	b := newBlob(r, where, 1.25)
	seed := r.Uint64()
	return flaw{b.coverage(1.2), func(x, y float64, _ rgb) rgb {
		d := b.level(x, y) / b.radius // -1 at the centre, 0 at the edge
		ring := 0.5 + 0.5*math.Sin(9*d+3*noise(seed, x/9, y/9))
		c := blend(rgb{0.36, 0.21, 0.11}, rgb{0.55, 0.35, 0.19}, 0.6*ring+0.3)
		return c.scale((1 + 0.12*noise(seed+1, x/2, y/2)) * (1 - 0.35*step(-0.25, 0, d)))
	}}
}

// grain is a moulded, grainy plastic lit from the upper left.
type grain struct{ seed uint64 }

func (g grain) at(x, y float64) rgb { return g.relief(x, y, 1, 1) }

// relief shades the slope of a field of pebbles, which are stretched by sx and sy. Its octaves are turned against each
// other, which hides the noise's lattice.
func (g grain) relief(x, y, sx, sy float64) rgb {
	height := func(x, y float64) float64 {
		x, y = x/sx, y/sy
		return 0.9*math.Abs(noise(g.seed, (0.8*x+0.6*y)/8, (0.8*y-0.6*x)/8)) +
			0.6*noise(g.seed+1, (0.28*x+0.96*y)/5, (0.28*y-0.96*x)/5) +
			0.2*noise(g.seed+2, (0.92*x-0.38*y)/2.6, (0.92*y+0.38*x)/2.6)
	}
	const h = 0.8
	slope := (height(x+h, y+h) - height(x-h, y-h)) / (2 * h)
	v := 0.50 + 0.50*slope + 0.10*height(x, y) + 0.03*fractal(g.seed+3, x/60, y/60, 2)
	return rgb{v, v, v}
}

// flaw makes a patch coarser, or smears it.
func (g grain) flaw(r *rand.Rand, where place) flaw {
	b := newBlob(r, where, 1.3)
	other := grain{r.Uint64()}
	if r.IntN(2) == 0 {
		k := 1.7 + 0.8*r.Float64()
		return flaw{b.coverage(1.5), func(x, y float64, _ rgb) rgb { return other.relief(x, y, k, k) }}
	}
	long := 4 + 3*r.Float64()
	sin, cos := math.Sincos(math.Pi * r.Float64())
	return flaw{b.coverage(1.5), func(x, y float64, _ rgb) rgb {
		return other.relief(x*cos+y*sin, y*cos-x*sin, long, 1)
	}}
}
