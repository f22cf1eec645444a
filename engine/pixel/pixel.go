// Package pixel holds the kernels that work on pixels, in pure Go: blur, upsampling, the residual to the nearest of several
// fills, the composition of an image and an anomaly, and one iteration of the optimiser. They are the twins that kernels
// on other devices are tested against, so each is one function over plain slices: planes are row-major float32, several
// planes [C,h,w] lie one after the other. Sums over pixels are float64, in row-major order.
//
// Slices of the wrong length are a caller's mistake and panic, as indexing does.
package pixel

// Box is a half-open rectangle of pixels: rows [Y0,Y1), columns [X0,X1).
type Box struct{ Y0, X0, Y1, X1 int }

// H is the number of rows.
func (b Box) H() int { return b.Y1 - b.Y0 }

// W is the number of columns.
func (b Box) W() int { return b.X1 - b.X0 }

// Grow widens the box by r pixels on every side, within an image of h x w.
func (b Box) Grow(r, h, w int) Box {
	return Box{max(b.Y0-r, 0), max(b.X0-r, 0), min(b.Y1+r, h), min(b.X1+r, w)}
}

// Within reports whether the box lies in an image of h x w.
func (b Box) Within(h, w int) bool { return b.Y0 >= 0 && b.X0 >= 0 && b.Y1 <= h && b.X1 <= w }

// Bounds returns the smallest box around pixels, which are indices y*w+x. It is empty for none.
func Bounds(pixels []int32, w int) Box {
	if len(pixels) == 0 {
		return Box{}
	}
	first := int(pixels[0])
	b := Box{first / w, first % w, first/w + 1, first%w + 1}
	for _, p := range pixels {
		y, x := int(p)/w, int(p)%w
		b = Box{min(b.Y0, y), min(b.X0, x), max(b.Y1, y+1), max(b.X1, x+1)}
	}
	return b
}

// Crop copies the box of each of the planes [C,h,w] into dst [C,b.H(),b.W()].
func Crop(dst, planes []float32, c, h, w int, b Box) {
	bh, bw := b.H(), b.W()
	for k := range c {
		for i := range bh {
			copy(dst[(k*bh+i)*bw:(k*bh+i+1)*bw], planes[(k*h+b.Y0+i)*w+b.X0:])
		}
	}
}

// To8 is the 8-bit value of v in [0,1]: round(255 v), clamped; 0 for NaN.
func To8(v float32) uint8 {
	switch {
	case v >= 1:
		return 255
	case v > 0:
		return uint8(v*255 + 0.5)
	}
	return 0
}
