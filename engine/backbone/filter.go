package backbone

import "math"

const (
	orientations = 6
	gaborSide    = 9
)

// gaussian samples exp(-x^2/(2 sigma^2)), |x| <= 3 sigma, and scales the taps to sum 1. An odd stride puts the taps at
// whole pixels; an even one puts them half-way between, so that every output is centred on the pixels it stands for.
func gaussian(sigma float64, stride int) []float64 {
	first := math.Floor(3 * sigma)
	if stride%2 == 0 {
		first = math.Floor(3*sigma-0.5) + 0.5
	}
	taps := make([]float64, int(2*first)+1)
	sum := 0.0
	for i := range taps {
		x := float64(i) - first
		taps[i] = math.Exp(-x * x / (2 * sigma * sigma))
		sum += taps[i]
	}
	for i := range taps {
		taps[i] /= sum
	}
	return taps
}

// gabor returns the complex 9x9 filters of the six orientations k pi/6, real and imaginary part in turn, row-major. With
// u along the wave and v along its crests (x to the right, y down, from the centre),
//
//	e = exp(-(u^2 + 0.6 v^2) / (2 1.7^2)),   re = e (cos wu - m) / sum(e),   im = e sin wu / sum(e),   w = pi/2.2,
//
// where m makes the real part's sum zero (a Morlet wavelet): a flat image has no response.
func gabor() [][]float64 {
	const (
		frequency = math.Pi / 2.2
		sigma     = 1.7
		slant     = 0.6
		radius    = gaborSide / 2
	)
	var bank [][]float64
	for k := range orientations {
		re, im := make([]float64, gaborSide*gaborSide), make([]float64, gaborSide*gaborSide)
		var envelope [gaborSide * gaborSide]float64
		sin, cos := math.Sincos(float64(k) * math.Pi / orientations)
		sum, dc := 0.0, 0.0
		for i := range envelope {
			y, x := float64(i/gaborSide-radius), float64(i%gaborSide-radius)
			u, v := x*cos+y*sin, y*cos-x*sin
			envelope[i] = math.Exp(-(u*u + slant*v*v) / (2 * sigma * sigma))
			re[i], im[i] = envelope[i]*math.Cos(frequency*u), envelope[i]*math.Sin(frequency*u)
			sum += envelope[i]
			dc += re[i]
		}
		for i := range envelope {
			re[i] = (re[i] - envelope[i]*dc/sum) / sum
			im[i] /= sum
		}
		bank = append(bank, re, im)
	}
	return bank
}
