package imageio

import (
	"math"

	"f2pad.example/engine/internal/index"
	"f2pad.example/engine/nd"

	"gorgonia.org/tensor"
)

// Resize brings the planes t [C,H,W] to h x w with a triangle filter, antialiased: when shrinking, the filter is as wide
// as the pixels it makes. It agrees with Pillow's BILINEAR on floats and PyTorch's bilinear with antialias=True. The
// result is new unless t has that size already. Rows are brought to their width first; where those of a very tall image
// were too much work (tallWork), the columns to their height, which makes a difference of a rounding to float32.
//
// Cost: O(C (H w + h w) (1 + scale)). Memory beside the result: the weights of a line, O(W + H), and a few lines, or as much
// as the result where it has more rows than t.
func Resize(t *tensor.Dense, h, w int) *tensor.Dense {
	c, H, W := t.Shape()[0], t.Shape()[1], t.Shape()[2]
	if h == H && w == W {
		return t
	}
	out := nd.New(c, h, w)
	data := nd.Data(t)
	if h < H && h*W < H*w && H*w > tallWork {
		resizeTall(data, c, H, W, nd.Data(out), h, w)
		return out
	}
	for x0 := 0; x0 < w; {
		// Of a very wide image the weights of all columns are many times a row of the result.
		first := triangle(W, w, x0, nil)
		cols := append(make([]tap, 0, min(w-x0, blockWeights/len(first.weights)+1)), first)
		for n := len(first.weights); x0+len(cols) < w && n < blockWeights; n += len(cols[len(cols)-1].weights) {
			cols = append(cols, triangle(W, w, x0+len(cols), nil))
		}
		for p := range c {
			narrow := func(y int, dst []float32) { resizeRow(data[(p*H+y)*W:][:W], cols, dst) }
			keep := func(y int, sum []float64) {
				dst := nd.Data(out)[(p*h+y)*w+x0:][:len(cols)]
				for x, v := range sum {
					dst[x] = float32(v)
				}
			}
			if h < H {
				shrinkRows(H, h, len(cols), narrow, keep)
			} else {
				growRows(H, h, len(cols), narrow, keep)
			}
		}
		x0 += len(cols)
	}
	return out
}

// tallWork is how many values of a plane are made on the way from t to the result: 1 GiB of them, seconds of work. Only
// images of more than 2^20 rows reach it at 256 pixels, of more than 2^15 at 8192.
const tallWork = 1 << 28

// resizeTall is Resize, the columns first.
func resizeTall(src []float32, c, H, W int, dst []float32, h, w int) {
	cols := make([]tap, w)
	for x := range cols {
		cols[x] = triangle(W, w, x, nil)
	}
	low := make([]float32, W)
	for p := range c {
		shrinkRows(H, h, W, func(y int, row []float32) { copy(row, src[(p*H+y)*W:][:W]) }, func(y int, sum []float64) {
			for x, v := range sum {
				low[x] = float32(v)
			}
			resizeRow(low, cols, dst[(p*h+y)*w:][:w])
		})
	}
}

// blockWeights bounds the weights that are in memory at once: 8 MiB, enough for all columns of any photograph.
const blockWeights = 1 << 20

// resizeRow makes some pixels of a row of the result's width.
func resizeRow(src []float32, cols []tap, dst []float32) {
	for x, k := range cols {
		sum := 0.0
		for i, v := range src[k.first : k.first+len(k.weights)] {
			sum += float64(v) * k.weights[i]
		}
		dst[x] = float32(sum)
	}
}

// growRows makes h rows of H, at least as many, each of w values: from reads one, keep takes a finished one.
func growRows(H, h, w int, from func(y int, dst []float32), keep func(y int, sum []float64)) {
	wide := make([]float32, H*w)
	for y := range H {
		from(y, wide[y*w:][:w])
	}
	sum := make([]float64, w)
	var k tap
	for y := range h {
		clear(sum)
		k = triangle(H, h, y, k.weights)
		for i, weight := range k.weights {
			for x, v := range wide[(k.first+i)*w:][:w] {
				sum[x] += float64(v) * weight
			}
		}
		keep(y, sum)
	}
}

// shrinkRows makes h rows of H, which are more. Every row is read once, in order, and added to those that it takes part in,
// so that none is kept; the sums are in growRows' order.
func shrinkRows(H, h, w int, from func(y int, dst []float32), keep func(y int, sum []float64)) {
	type open struct {
		tap
		y   int
		sum []float64
	}
	var all, free []open // all: begun and not finished
	row := make([]float32, w)
	next, ahead := 0, triangle(H, h, 0, nil)
	for y := range H {
		for next < h && ahead.first <= y {
			o := open{y: next, tap: ahead}
			var used open
			if n := len(free); n > 0 {
				used, free = free[n-1], free[:n-1]
			}
			if o.sum = used.sum; o.sum == nil {
				o.sum = make([]float64, w)
			}
			clear(o.sum)
			all = append(all, o)
			if next++; next < h {
				ahead = triangle(H, h, next, used.weights)
			}
		}
		from(y, row)
		for _, o := range all {
			weight := o.weights[y-o.first]
			for x, v := range row {
				o.sum[x] += float64(v) * weight
			}
		}
		for len(all) > 0 && y+1 == all[0].first+len(all[0].weights) {
			keep(all[0].y, all[0].sum)
			free, all = append(free, all[0]), append(all[:0], all[1:]...)
		}
	}
}

// tap is the part of a line that one pixel of the result is made of.
type tap struct {
	first   int
	weights []float64
}

// triangle returns the tap of pixel i when a line of n pixels is brought to m, in the memory of weights if they suffice.
func triangle(n, m, i int, weights []float64) tap {
	scale := float64(n) / float64(m)
	width := max(scale, 1)
	centre := (float64(i) + 0.5) * scale
	first, last := max(int(centre-width+0.5), 0), min(int(centre+width+0.5), n)
	if cap(weights) < last-first {
		weights = make([]float64, last-first, min(n, int(2*width)+2)) // enough for every other pixel, too
	}
	weights = weights[:last-first]
	total := 0.0
	for j := range weights {
		weights[j] = max(1-math.Abs(float64(first+j)-centre+0.5)/width, 0)
		total += weights[j]
	}
	for j := range weights {
		weights[j] /= total
	}
	return tap{first, weights}
}

// ResizeMap brings a map of h x w values, row-major, to H x W by bilinear interpolation between pixel centres, without
// antialias: PyTorch's bilinear with align_corners=False. Beyond the outermost centres the edge's value is kept.
func ResizeMap(src []float32, h, w, H, W int) []float32 {
	dst := make([]float32, H*W)
	cols := make([]lerp, min(W, lerpBlock)) // of very wide maps not all columns' places at once
	for x0 := 0; x0 < W; x0 += len(cols) {
		cols = cols[:min(len(cols), W-x0)]
		for x := range cols {
			cols[x] = lerpAt(w, W, x0+x)
		}
		for y := range H {
			r := lerpAt(h, H, y)
			top, bottom, out := src[r.at*w:][:w], src[r.next*w:][:w], dst[y*W+x0:][:len(cols)]
			for x, c := range cols {
				a := top[c.at] + c.t*(top[c.next]-top[c.at])
				b := bottom[c.at] + c.t*(bottom[c.next]-bottom[c.at])
				out[x] = a + r.t*(b-a)
			}
		}
	}
	return dst
}

const lerpBlock = 1 << 16

// lerp is a place between two pixels of a line.
type lerp struct {
	at, next int
	t        float32
}

// lerpAt is where pixel i lies when a line of n pixels is brought to m.
func lerpAt(n, m, i int) lerp {
	pos := max((float64(i)+0.5)*float64(n)/float64(m)-0.5, 0)
	at := min(int(pos), n-1)
	return lerp{at, min(at+1, n-1), float32(pos - float64(at))}
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
		cols[x] = index.Reflect(x-left, w)
	}
	out := nd.New(c, H, W)
	for p := range c {
		for y := range H {
			src, dst := nd.Data(t)[(p*h+index.Reflect(y-top, h))*w:][:w], nd.Data(out)[(p*H+y)*W:][:W]
			for x, from := range cols {
				dst[x] = src[from]
			}
		}
	}
	return out
}

// Paste copies the planes part [C,h,w] over those of t [C,H,W] at (top, left). They must lie within.
func Paste(t, part *tensor.Dense, top, left int) {
	c, H, W := t.Shape()[0], t.Shape()[1], t.Shape()[2]
	h, w := part.Shape()[1], part.Shape()[2]
	for p := range c {
		for y := range h {
			copy(nd.Data(t)[(p*H+top+y)*W+left:][:w], nd.Data(part)[(p*h+y)*w:])
		}
	}
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
