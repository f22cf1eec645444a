package synth

import "math"

// hash mixes a lattice point and a seed into 64 well-spread bits (the finaliser of SplitMix64: Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", 2014).
func hash(seed uint64, i, j int) uint64 {
	z := seed + uint64(i)*0x9e3779b97f4a7c15 + uint64(j)*0xd1b54a32d192ed03
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit maps a hash to [0,1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// noise is smooth gradient noise (Perlin, "Improving noise", 2002) with unit lattice: mean 0, within [-1,1], deviation
// about 0.3.
func noise(seed uint64, x, y float64) float64 {
	fx, fy := math.Floor(x), math.Floor(y)
	i, j := int(fx), int(fy)
	x, y = x-fx, y-fy
	slope := func(di, dj int) float64 {
		h := hash(seed, i+di, j+dj)
		g := directions[h>>60]
		return g[0]*(x-float64(di)) + g[1]*(y-float64(dj))
	}
	u, v := fade(x), fade(y)
	return math.Sqrt2 * mix(mix(slope(0, 0), slope(1, 0), u), mix(slope(0, 1), slope(1, 1), u), v)
}

// fractal sums octaves of noise, each of half the size and half the height of the one before, within [-2,2].
func fractal(seed uint64, x, y float64, octaves int) float64 {
	sum, height := 0.0, 1.0
	for o := range octaves {
		sum += height * noise(seed+uint64(o)*0x632be59bd9b4e019, x, y)
		x, y, height = 2*x, 2*y, height/2
	}
	return sum
}

// directions are the sixteen unit gradients of the noise.
var directions = func() (d [16][2]float64) {
	for k := range d {
		d[k][1], d[k][0] = math.Sincos(float64(k) * math.Pi / 8)
	}
	return d
}()

// fade is the quintic with zero slope and curvature at 0 and 1.
func fade(t float64) float64 { return t * t * t * (t*(6*t-15) + 10) }

func mix(a, b, t float64) float64 { return a + (b-a)*t }

// step rises smoothly from 0 at lo to 1 at hi.
func step(lo, hi, x float64) float64 {
	return fade(min(max((x-lo)/(hi-lo), 0), 1))
}
