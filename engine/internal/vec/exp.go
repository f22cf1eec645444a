package vec

import "math"

// Exp sets y to e^x, within a unit in the last place: 0 below -104, +Inf above 88.8, NaN for NaN.
func Exp(y, x []float32) {
	if n := whole(len(y)); n > 0 {
		expAVX2(y[:n], x)
		y, x = y[n:], x[n:]
	}
	expGo(y, x)
}

func expGo(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] = exp(v)
	}
}

// Tanh sets y to the hyperbolic tangent of x, within one and a half units in the last place.
func Tanh(y, x []float32) {
	if n := whole(len(y)); n > 0 {
		tanhAVX2(y[:n], x)
		y, x = y[n:], x[n:]
	}
	tanhGo(y, x)
}

func tanhGo(y, x []float32) {
	for i, v := range x[:len(y)] {
		y[i] = tanh(v)
	}
}

// exp is 2^n e^r for the integer n nearest to x/log 2, with a polynomial for e^r, |r| <= log(2)/2, and 2^n in two factors, of
// which one alone may overflow. Every product is rounded before it is added to, as the assembly does. Polynomials: Moshier, the
// Cephes library.
func exp(x float32) float32 {
	v := x
	if v < -104 {
		v = -104
	} else if v > 89 {
		v = 89
	}
	n := float32(math.RoundToEven(float64(float32(v * math.Log2E))))
	v -= float32(n * 0.693359375) // the first digits of log 2, whose product is exact, then the rest
	v -= float32(n * -2.12194440e-4)
	p := polynomial(v, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
	p = float32(p*float32(v*v)) + v
	p++
	if n != n {
		return n
	}
	half := int32(n) >> 1
	p *= math.Float32frombits(uint32(half+127) << 23)
	return p * math.Float32frombits(uint32(int32(n)-half+127)<<23)
}

// tanh is a polynomial near 0 and 1 - 2/(e^2x + 1) further off.
func tanh(x float32) float32 {
	size := float32(math.Abs(float64(x)))
	if size < 0.625 {
		z := float32(x * x)
		p := polynomial(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
		return float32(float32(p*z)*x) + x
	}
	y := 1 - 2/(exp(size+size)+1)
	return float32(math.Copysign(float64(y), float64(x)))
}

// polynomial is c[0] x^n + ... + c[n].
func polynomial(x float32, c ...float32) float32 {
	y := c[0]
	for _, v := range c[1:] {
		y = float32(y*x) + v
	}
	return y
}
