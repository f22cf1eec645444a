package imageio

import (
	"math"

	"f2pad/engine/nd"

	"gorgonia.org/tensor"
)

// Resize brings the planes t [C,H,W] to h x w with a triangle filter, antialiased: when shrinking, the filter is as wide
// as the pixels it makes. It agrees with Pillow's BILINEAR on floats and PyTorch's bilinear with antialias=True. The
// result is new unless t has that size already. Cost: O(C (H w + h w) (1 + scale)).
func Resize(t *tensor.Dense, h, w int) *tensor.Dense {
	c, H, W := t.Shape()[0], t.Shape()[1], t.Shape()[2]
	if h == H && w == W {
		return t
	}
	wide := nd.New(c, H, w)
	cols := triangle(W, w)
	for y := range c * H {
		src, dst := nd.Data(t)[y*W:(y+1)*W], nd.Data(wide)[y*w:(y+1)*w]
		for x, k := range cols {
			sum := 0.0
			for i, v := range src[k.first : k.first+len(k.weights)] {
				sum += float64(v) * k.weights[i]
			}
			dst[x] = float32(sum)
		}
	}
	out := nd.New(c, h, w)
	rows := triangle(H, h)
	sum := make([]float64, w)
	for p := range c {
		for y, k := range rows {
			clear(sum)
			for i, weight := range k.weights {
				src := nd.Data(wide)[(p*H+k.first+i)*w:][:w]
				for x, v := range src {
					sum[x] += float64(v) * weight
				}
			}
			dst := nd.Data(out)[(p*h+y)*w:][:w]
			for x, v := range sum {
				dst[x] = float32(v)
			}
		}
	}
	return out
}

// tap is the part of a line that one pixel of the result is made of.
type tap struct {
	first   int
	weights []float64
}

// triangle returns the taps that bring a line of n pixels to m.
func triangle(n, m int) []tap {
	scale := float64(n) / float64(m)
	width := max(scale, 1)
	taps := make([]tap, m)
	for i := range taps {
		centre := (float64(i) + 0.5) * scale
		first, last := max(int(centre-width+0.5), 0), min(int(centre+width+0.5), n)
		weights := make([]float64, last-first)
		total := 0.0
		for j := range weights {
			weights[j] = max(1-math.Abs(float64(first+j)-centre+0.5)/width, 0)
			total += weights[j]
		}
		for j := range weights {
			weights[j] /= total
		}
		taps[i] = tap{first, weights}
	}
	return taps
}

// ResizeMap brings a map of h x w values, row-major, to H x W by bilinear interpolation between pixel centres, without
// antialias: PyTorch's bilinear with align_corners=False. Beyond the outermost centres the edge's value is kept.
func ResizeMap(src []float32, h, w, H, W int) []float32 {
	rows, cols := lerps(h, H), lerps(w, W)
	dst := make([]float32, H*W)
	for y, r := range rows {
		top, bottom, out := src[r.at*w:][:w], src[r.next*w:][:w], dst[y*W:][:W]
		for x, c := range cols {
			a := top[c.at] + c.t*(top[c.next]-top[c.at])
			b := bottom[c.at] + c.t*(bottom[c.next]-bottom[c.at])
			out[x] = a + r.t*(b-a)
		}
	}
	return dst
}

// lerp is a place between two pixels of a line.
type lerp struct {
	at, next int
	t        float32
}

func lerps(n, m int) []lerp {
	list := make([]lerp, m)
	for i := range list {
		pos := max((float64(i)+0.5)*float64(n)/float64(m)-0.5, 0)
		at := min(int(pos), n-1)
		list[i] = lerp{at, min(at+1, n-1), float32(pos - float64(at))}
	}
	return list
}

// PadReflect extends the planes t [C,h,w] to H x W at the bottom and the right by reflection about the edge pixel, which
// is not repeated (numpy's "reflect"); a pad wider than the image is mirrored again and again.
func PadReflect(t *tensor.Dense, H, W int) *tensor.Dense { return reflect(t, 0, 0, H, W) }

// PadReflectCentred is PadReflect with the image in the middle; (top, left) is where its first pixel comes to lie.
func PadReflectCentred(t *tensor.Dense, H, W int) (padded *tensor.Dense, top, left int) {
	top, left = (H-t.Shape()[1])/2, (W-t.Shape()[2])/2
	return reflect(t, top, left, H, W), top, left
}

func reflect(t *tensor.Dense, top, left, H, W int) *tensor.Dense {
	c, h, w := t.Shape()[0], t.Shape()[1], t.Shape()[2]
	cols := make([]int, W)
	for x := range cols {
		cols[x] = mirror(x-left, w)
	}
	out := nd.New(c, H, W)
	for p := range c {
		for y := range H {
			src, dst := nd.Data(t)[(p*h+mirror(y-top, h))*w:][:w], nd.Data(out)[(p*H+y)*W:][:W]
			for x, from := range cols {
				dst[x] = src[from]
			}
		}
	}
	return out
}

// mirror brings an index into [0,n), reflecting about the first and the last.
func mirror(i, n int) int {
	if n == 1 {
		return 0
	}
	period := 2 * (n - 1)
	i = ((i % period) + period) % period
	return min(i, period-i)
}

// Crop copies the h x w pixels at (top, left) out of the planes t [C,H,W]. They must lie within.
func Crop(t *tensor.Dense, top, left, h, w int) *tensor.Dense {
	c, H, W := t.Shape()[0], t.Shape()[1], t.Shape()[2]
	out := nd.New(c, h, w)
	for p := range c {
		for y := range h {
			copy(nd.Data(out)[(p*h+y)*w:][:w], nd.Data(t)[(p*H+top+y)*W+left:][:w])
		}
	}
	return out
}
