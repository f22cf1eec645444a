package pixel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"f2pad.example/engine/compare"

	"github.com/stretchr/testify/require"
)

// rounding is for float32 results of a few dozen operations on values around 1, against float64.
var rounding = compare.Tolerance{Abs: 3e-6, Rel: 3e-6}

func random(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// reflected is index i of an n-long row that goes back and forth for ever, edges repeated: found by walking.
func reflected(i, n int) int {
	at, dir := 0, 1
	for steps := max(i, -1-i); steps > 0; steps-- { // by symmetry -1-i is where i is
		if at+dir < 0 || at+dir >= n {
			dir = -dir
		} else {
			at += dir
		}
	}
	return at
}

// slowBlur is the two-dimensional sum in float64.
func slowBlur(x []float64, h, w int, sigma float64) []float64 {
	if sigma == 0 {
		return append([]float64(nil), x...)
	}
	r := int(math.Floor(4*sigma + 0.5))
	sum := 0.0
	for k := -r; k <= r; k++ {
		sum += math.Exp(-float64(k*k) / (2 * sigma * sigma))
	}
	out := make([]float64, h*w)
	for i := range h {
		for j := range w {
			for a := -r; a <= r; a++ {
				for b := -r; b <= r; b++ {
					g := math.Exp(-float64(a*a+b*b)/(2*sigma*sigma)) / (sum * sum)
					out[i*w+j] += g * x[reflected(i+a, h)*w+reflected(j+b, w)]
				}
			}
		}
	}
	return out
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func TestBlurIsTheConvolution(t *testing.T) {
	for i, c := range []struct {
		h, w  int
		sigma float64
	}{{1, 1, 1}, {1, 7, 1.5}, {9, 1, 1}, {2, 3, 2}, {13, 17, 1}, {16, 11, 1.5}, {20, 20, 0.3}, {5, 6, 0}, {12, 12, 0.1}} {
		x := random(c.h*c.w, uint64(i))
		want := slowBlur(wide(x), c.h, c.w, c.sigma)
		g := NewGaussian(c.sigma)
		scratch := random(g.Scratch(c.h, c.w), 1) // what is in it does not matter
		g.Blur(x, c.h, c.w, scratch)
		compare.Require(t, fmt.Sprintf("%d x %d, sigma %g", c.h, c.w, c.sigma), x, want, rounding)
	}
}

func TestGaussianRadius(t *testing.T) {
	for sigma, r := range map[float64]int{0: 0, 0.1: 0, 0.13: 1, 1: 4, 1.2: 5, 1.5: 6, 4: 16} {
		require.Equal(t, r, NewGaussian(sigma).Radius(), "sigma %g", sigma)
	}
}

// A window with room for the kernel, cut from a plane that is 0 outside a region, gives the whole plane's values on it.
func TestBlurOfAWindowIsThatOfTheImage(t *testing.T) {
	const h, w = 40, 50
	g := NewGaussian(1.5)
	for _, region := range []Box{{15, 20, 22, 31}, {0, 0, 5, 4}, {33, 44, 40, 50}} {
		whole := make([]float32, h*w)
		for i := region.Y0; i < region.Y1; i++ {
			copy(whole[i*w+region.X0:i*w+region.X1], random(region.W(), uint64(i)))
		}
		b := region.Grow(g.Radius(), h, w)
		part := make([]float32, b.H()*b.W())
		Crop(part, whole, 1, h, w, b)
		g.Blur(whole, h, w, make([]float32, g.Scratch(h, w)))
		g.Blur(part, b.H(), b.W(), make([]float32, g.Scratch(b.H(), b.W())))
		for i := region.Y0; i < region.Y1; i++ {
			for j := region.X0; j < region.X1; j++ {
				require.Equal(t, whole[i*w+j], part[(i-b.Y0)*b.W()+j-b.X0], "%v at %d,%d", region, i, j)
			}
		}
	}
}

// A box, blurred, has the whole plane's values, bit for bit; what is in dst before does not matter.
func TestBlurBoxIsThatOfThePlane(t *testing.T) {
	for i, c := range []struct {
		h, w  int
		sigma float64
		box   Box
	}{
		{40, 50, 1.5, Box{15, 20, 22, 31}}, {40, 50, 1.5, Box{0, 0, 5, 4}}, {40, 50, 2, Box{33, 44, 40, 50}}, {40, 50, 1, Box{0, 7, 40, 23}},
		{40, 50, 0, Box{3, 4, 9, 20}}, {5, 6, 4, Box{1, 2, 4, 5}}, {1, 1, 1, Box{0, 0, 1, 1}}, {30, 9, 3, Box{12, 1, 13, 8}},
	} {
		plane := random(c.h*c.w, uint64(i))
		g := NewGaussian(c.sigma)
		scratch := random(g.Scratch(c.h, c.w), 2)
		dst := random(c.box.H()*c.box.W(), 3)
		g.BlurBox(dst, plane, c.h, c.w, c.box, scratch)
		g.Blur(plane, c.h, c.w, scratch)
		want := make([]float32, len(dst))
		Crop(want, plane, 1, c.h, c.w, c.box)
		require.Equal(t, want, dst, "%+v", c)
	}
}

func BenchmarkBlur(b *testing.B) {
	const h, w = 256, 256
	x := random(h*w, 1)
	g := NewGaussian(1.5)
	scratch := make([]float32, g.Scratch(h, w))
	b.SetBytes(4 * h * w)
	for b.Loop() {
		g.Blur(x, h, w, scratch)
	}
}
