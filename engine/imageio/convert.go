package imageio

import (
	"image"
	"image/color"
	"slices"

	"f2pad.example/engine/nd"
	"f2pad.example/engine/pixel"
)

// FromImage converts a standard image as Decode does: samples scaled to [0,1], alpha ignored.
func FromImage(img image.Image) *Image { return fromImage(img, false, 1) }

// fromImage converts img, whose EXIF orientation is o. studio says that YCbCr samples use the narrow range of television
// (16..235), as WebP's do.
func fromImage(img image.Image, studio bool, o int) *Image {
	b := img.Bounds()
	h, w := b.Dy(), b.Dx()
	to := turnOf(o, h, w)
	H, W := upright(o, h, w)
	switch img := img.(type) {
	case *image.Gray:
		grey := nd.New(1, H, W)
		to.planes(nd.Data(grey), 1, h, w, func(y, x int, row, _, _ []float32) {
			pix := img.Pix[img.PixOffset(b.Min.X+x, b.Min.Y+y):]
			for i := range row {
				row[i] = float32(pix[i]) / 255
			}
		})
		return &Image{Pix: grey, Depth: 8}
	case *image.Gray16:
		grey := nd.New(1, H, W)
		to.planes(nd.Data(grey), 1, h, w, func(y, x int, row, _, _ []float32) {
			pix := img.Pix[img.PixOffset(b.Min.X+x, b.Min.Y+y):]
			for i := range row {
				row[i] = float32(be16(pix[2*i:])) / 65535
			}
		})
		return &Image{Pix: grey, Depth: 16}
	}
	fill, depth := rowReader(img, studio)
	planes := 3
	if allGrey(h, w, fill) { // looked at first: two of three planes are never made
		planes = 1
	}
	t := nd.New(planes, H, W)
	to.planes(nd.Data(t), planes, h, w, fill)
	return &Image{Pix: t, Depth: depth}
}

// filler reads pixels of an image's row y, from x on and as many as fit, into three planes; both count from the image's corner.
type filler func(y, x int, r, g, b []float32)

// pieces is how many pixels of a row are read at once: rows may be millions long.
const pieces = 1 << 12

// inPieces calls visit with the pixels of an image, row by row, until it returns false.
func inPieces(h, w int, fill filler, visit func(y, x int, r, g, b []float32) bool) {
	n := min(w, pieces)
	row := make([]float32, 3*n)
	for y := range h {
		for x := 0; x < w; x += n {
			k := min(n, w-x)
			r, g, b := row[:k], row[n:n+k], row[2*n:2*n+k]
			fill(y, x, r, g, b)
			if !visit(y, x, r, g, b) {
				return
			}
		}
	}
}

// planes brings so many planes of h x w stored pixels into upright ones.
func (t turn) planes(out []float32, planes, h, w int, fill filler) {
	inPieces(h, w, fill, func(y, x int, r, g, b []float32) bool {
		for p, values := range [][]float32{r, g, b}[:planes] {
			t.put(out[p*h*w:(p+1)*h*w], values, y, x)
		}
		return true
	})
}

// allGrey reports whether the three channels are equal everywhere; most colour images end the look in their first row.
func allGrey(h, w int, fill filler) bool {
	grey := true
	inPieces(h, w, fill, func(_, _ int, r, g, b []float32) bool {
		grey = slices.Equal(r, g) && slices.Equal(r, b)
		return grey
	})
	return grey
}

func be16(p []byte) uint16 { return uint16(p[0])<<8 | uint16(p[1]) }

// rowReader returns what reads a colour image, and the image's depth.
func rowReader(img image.Image, studio bool) (fill filler, depth int) {
	x0, y0 := img.Bounds().Min.X, img.Bounds().Min.Y
	switch img := img.(type) {
	case *image.NRGBA:
		return func(y, x int, r, g, b []float32) {
			for i, p := 0, img.Pix[img.PixOffset(x0+x, y0+y):]; i < len(r); i, p = i+1, p[4:] {
				r[i], g[i], b[i] = float32(p[0])/255, float32(p[1])/255, float32(p[2])/255
			}
		}, 8
	case *image.RGBA:
		return func(y, x int, r, g, b []float32) {
			for i, p := 0, img.Pix[img.PixOffset(x0+x, y0+y):]; i < len(r); i, p = i+1, p[4:] {
				r[i], g[i], b[i] = straight(p[0], p[3]), straight(p[1], p[3]), straight(p[2], p[3])
			}
		}, 8
	case *image.NRGBA64:
		return func(y, x int, r, g, b []float32) {
			for i, p := 0, img.Pix[img.PixOffset(x0+x, y0+y):]; i < len(r); i, p = i+1, p[8:] {
				r[i], g[i], b[i] = float32(be16(p))/65535, float32(be16(p[2:]))/65535, float32(be16(p[4:]))/65535
			}
		}, 16
	case *image.RGBA64:
		return func(y, x int, r, g, b []float32) {
			for i, p := 0, img.Pix[img.PixOffset(x0+x, y0+y):]; i < len(r); i, p = i+1, p[8:] {
				a := be16(p[6:])
				r[i], g[i], b[i] = straight(be16(p), a), straight(be16(p[2:]), a), straight(be16(p[4:]), a)
			}
		}, 16
	case *image.YCbCr:
		return ycbcrReader(img, studio), 8
	case *image.NYCbCrA:
		return ycbcrReader(&img.YCbCr, studio), 8
	case *image.Paletted:
		table := make([][3]float32, len(img.Palette))
		for i, c := range img.Palette {
			table[i] = straightColor(c)
		}
		return func(y, x int, r, g, b []float32) {
			row := img.Pix[img.PixOffset(x0+x, y0+y):]
			for i := range r {
				c := table[row[i]]
				r[i], g[i], b[i] = c[0], c[1], c[2]
			}
		}, 8
	case *image.CMYK:
		return func(y, x int, r, g, b []float32) {
			for i, p := 0, img.Pix[img.PixOffset(x0+x, y0+y):]; i < len(r); i, p = i+1, p[4:] {
				cr, cg, cb := color.CMYKToRGB(p[0], p[1], p[2], p[3])
				r[i], g[i], b[i] = float32(cr)/255, float32(cg)/255, float32(cb)/255
			}
		}, 8
	}
	return func(y, x int, r, g, b []float32) {
		for i := range r {
			c := straightColor(img.At(x0+x+i, y0+y))
			r[i], g[i], b[i] = c[0], c[1], c[2]
		}
	}, 16
}

// straight undoes the multiplication of a sample by its alpha; what is fully transparent is black.
func straight[T uint8 | uint16](v, alpha T) float32 {
	if alpha == 0 {
		return 0
	}
	return min(float32(v)/float32(alpha), 1)
}

func straightColor(c color.Color) [3]float32 {
	n := color.NRGBA64Model.Convert(c).(color.NRGBA64)
	return [3]float32{float32(n.R) / 65535, float32(n.G) / 65535, float32(n.B) / 65535}
}

// ycbcrReader converts by ITU-R BT.601, to integers of 8 bits as other decoders do.
func ycbcrReader(img *image.YCbCr, studio bool) filler {
	x0, y0 := img.Rect.Min.X, img.Rect.Min.Y
	shift := 0 // of a column to that of its chroma
	switch img.SubsampleRatio {
	case image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420:
		shift = 1
	case image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410:
		shift = 2
	}
	var unit [256]float32
	for v := range unit {
		unit[v] = float32(v) / 255
	}
	return func(y, x int, r, g, b []float32) {
		luma := img.Y[img.YOffset(x0+x, y0+y):][:len(r)]
		first, last := img.COffset(x0+x, y0+y), img.COffset(x0+x+len(r)-1, y0+y)
		us, vs := img.Cb[first:last+1], img.Cr[first:last+1]
		if !studio && neutral(us) && neutral(vs) { // as grey pictures are
			for i, v := range luma {
				r[i] = unit[v]
			}
			copy(g, r)
			copy(b, r)
			return
		}
		for i, v := range luma {
			c := (x0+x+i)>>shift - (x0+x)>>shift
			if x0 < 0 { // no file has that, and it is rounded otherwise
				c = img.COffset(x0+x+i, y0+y) - first
			}
			var cr, cg, cb uint8
			if studio {
				cr, cg, cb = studioToRGB(v, us[c], vs[c])
			} else {
				cr, cg, cb = color.YCbCrToRGB(v, us[c], vs[c])
			}
			r[i], g[i], b[i] = unit[cr], unit[cg], unit[cb]
		}
	}
}

// neutral reports whether chroma has no colour: then red, green and blue are the luma.
func neutral(chroma []uint8) bool {
	for _, v := range chroma {
		if v != 128 {
			return false
		}
	}
	return true
}

// studioToRGB converts samples of the ranges 16..235 (luma) and 16..240 (chroma), in 16-bit fixed point.
func studioToRGB(y, cb, cr uint8) (r, g, b uint8) {
	const (
		one = 1 << 16
		ky  = one * 255 / 219                // luma
		kc  = one * 255 / 224                // chroma, times the primaries' share that follows
		kr  = kc * 1402 / 1000               // 2 (1 - 0.299)
		kb  = kc * 1772 / 1000               // 2 (1 - 0.114)
		kgr = kc * 1402 * 299 / (1000 * 587) // 2 (1 - 0.299) 0.299 / 0.587
		kgb = kc * 1772 * 114 / (1000 * 587) // 2 (1 - 0.114) 0.114 / 0.587
	)
	l, u, v := ky*(int32(y)-16)+one/2, int32(cb)-128, int32(cr)-128
	clip := func(v int32) uint8 { return uint8(min(max(v>>16, 0), 255)) }
	return clip(l + kr*v), clip(l - kgr*v - kgb*u), clip(l + kb*u)
}

// RGBA returns the image as a standard one with 8 bits per sample.
func (im *Image) RGBA() *image.RGBA {
	h, w := im.Size()
	pix, plane := nd.Data(im.Pix), h*w
	if im.IsGrey() {
		plane = 0 // the one plane three times
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	r, g, b := pix[:h*w], pix[plane:][:h*w], pix[2*plane:][:h*w]
	for i, p := 0, out.Pix; i < len(r); i, p = i+1, p[4:] {
		p := p[:4]
		p[0] = pixel.To8(r[i])
		if p[1], p[2] = p[0], p[0]; plane > 0 {
			p[1], p[2] = pixel.To8(g[i]), pixel.To8(b[i])
		}
		p[3] = 255
	}
	return out
}

// visibleIn says which pixels of img, whose EXIF orientation is orient, are more than half opaque, upright; nil where all are
// equally so.
func visibleIn(img image.Image, orient int) []bool {
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		return nil
	}
	b := img.Bounds()
	h, w := b.Dy(), b.Dx()
	at := alphaReader(img)
	visible, to := make([]bool, h*w), turnOf(orient, h, w)
	first, varies := at(b.Min.X, b.Min.Y), false
	for y := range h {
		for x := range w {
			a := at(b.Min.X+x, b.Min.Y+y)
			varies = varies || a != first
			visible[to.start+y*to.dy+x*to.dx] = a > 0xffff/2
		}
	}
	if !varies {
		return nil
	}
	return visible
}

// alphaReader returns what reads the opacity of a pixel, 0 to 65535.
func alphaReader(img image.Image) func(x, y int) uint16 {
	switch img := img.(type) {
	case *image.NRGBA:
		return func(x, y int) uint16 { return 0x101 * uint16(img.Pix[img.PixOffset(x, y)+3]) }
	case *image.RGBA:
		return func(x, y int) uint16 { return 0x101 * uint16(img.Pix[img.PixOffset(x, y)+3]) }
	case *image.NRGBA64:
		return func(x, y int) uint16 { return be16(img.Pix[img.PixOffset(x, y)+6:]) }
	case *image.RGBA64:
		return func(x, y int) uint16 { return be16(img.Pix[img.PixOffset(x, y)+6:]) }
	case *image.NYCbCrA:
		return func(x, y int) uint16 { return 0x101 * uint16(img.A[img.AOffset(x, y)]) }
	}
	return func(x, y int) uint16 {
		_, _, _, a := img.At(x, y).RGBA()
		return uint16(a)
	}
}
