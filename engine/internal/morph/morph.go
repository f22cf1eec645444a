// Package morph is morphology of masks [H,W] in row order: what is connected in them, and how far from them it is.
package morph

import (
	"math"
	"slices"

	"f2pad.example/engine/internal/index"
)

// Flood adds to queue, whose pixels are already in reached, every pixel of mask connected to one of them: over 8
// neighbours or over 4.
func Flood(queue []int32, mask, reached []bool, h, w int, eight bool) []int32 {
	for next := 0; next < len(queue); next++ {
		y, x := int(queue[next])/w, int(queue[next])%w
		for ny := max(y-1, 0); ny <= min(y+1, h-1); ny++ {
			for nx := max(x-1, 0); nx <= min(x+1, w-1); nx++ {
				if !eight && ny != y && nx != x {
					continue
				}
				if q := ny*w + nx; mask[q] && !reached[q] {
					reached[q] = true
					queue = append(queue, int32(q))
				}
			}
		}
	}
	return queue
}

// Components returns the connected components of mask, over 8 neighbours or over 4, each with its pixels in row-major
// order, in the order of their first pixels.
func Components(mask []bool, h, w int, eight bool) [][]int32 {
	var out [][]int32
	reached := make([]bool, h*w)
	for p, on := range mask {
		if on && !reached[p] {
			reached[p] = true
			c := Flood([]int32{int32(p)}, mask, reached, h, w, eight)
			slices.Sort(c)
			out = append(out, c)
		}
	}
	return out
}

// Distances returns each pixel's squared Euclidean distance to the nearest pixel of set, exactly up to
// math.MaxInt32; (h+w)^2 or that if it is empty. Two passes (Meijster, Roerdink, Hesselink 2000): along columns, then the lower envelope of each row's parabolas.
func Distances(set []bool, h, w int) []int32 {
	d := make([]int32, h*w)
	far := h + w
	for x := range w {
		run := far
		for y := range h {
			if run = min(run+1, far); set[y*w+x] {
				run = 0
			}
			d[y*w+x] = int32(run)
		}
		run = far
		for y := h - 1; y >= 0; y-- {
			if run = min(run+1, far); set[y*w+x] {
				run = 0
			}
			d[y*w+x] = min(d[y*w+x], int32(run))
		}
	}
	sq, at, from := make([]int, w), make([]int, w), make([]int, w)
	for y := range h {
		row := d[y*w : (y+1)*w]
		for x, v := range row {
			sq[x] = int(v) * int(v)
		}
		// Parabola at[k] is the lowest from column from[k] on.
		k := -1
		for x := range w {
			start := 0
			for k >= 0 {
				i := at[k]
				start = index.FloorDiv(x*x-i*i+sq[x]-sq[i], 2*(x-i)) + 1
				if start > from[k] {
					break
				}
				k--
				start = 0
			}
			if start < w {
				k++
				at[k], from[k] = x, start
			}
		}
		for x := w - 1; x >= 0; x-- {
			i := at[k]
			row[x] = int32(min((x-i)*(x-i)+sq[i], math.MaxInt32))
			if x == from[k] {
				k--
			}
		}
	}
	return d
}

// Within marks the pixels at most r from the set that the squared distances d belong to.
func Within(d []int32, r float64) []bool {
	m := make([]bool, len(d))
	r2 := int32(min(math.Floor(r*r), math.MaxInt32-1))
	for p, v := range d {
		m[p] = v <= r2
	}
	return m
}
