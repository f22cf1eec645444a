// Package morph is morphology of masks [H,W] in row order: what is connected in them, and what is near them.
package morph

import (
	"math"
	"slices"
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

// Dilate marks the pixels at most r from one of mask, by the Euclidean distance of their middles. Time: a few operations for each
// pixel of the box around mask and for each of its rows widened by r, whatever r is.
func Dilate(mask []bool, h, w int, r float64) []bool {
	out := make([]bool, h*w)
	y0, y1, x0, x1 := bounds(mask, h, w)
	if y0 == y1 {
		return out
	}
	far := float64(h + w) // a larger radius finds the same
	r2 := int(math.Floor(min(r*r, far*far)))
	reach := root(r2)
	half := make([]int32, reach+2) // of the disc's rows by their distance from its middle, which they have; 0 beyond
	for d := range reach + 1 {
		half[d] = int32(root(r2-d*d)) + 1
	}
	top, bottom, n := max(y0-reach, 0), min(y1+reach, h), x1-x0
	// How far up or down the mask is in the pixel's column; reach + 1: farther.
	away := slices.Repeat([]int32{int32(reach + 1)}, (bottom-top+2)*n)
	rows := func(y int) (before, row, after []int32) {
		at := (y - top) * n
		return away[at:][:n], away[at+n:][:n], away[at+2*n:][:n]
	}
	for y := y0; y < bottom; y++ {
		before, row, _ := rows(y)
		for x, on := range mask[y*w+x0:][:n] {
			row[x] = min(before[x]+1, int32(reach+1))
			if on {
				row[x] = 0
			}
		}
	}
	steps := make([]int32, w+1) // how many of the row's discs begin at column x, less those that have ended
	for y := bottom - 1; y >= top; y-- {
		_, row, after := rows(y)
		clear(steps)
		for x := range row {
			d := min(row[x], after[x]+1)
			row[x] = d
			if k := int(half[d]); k > 0 {
				steps[max(x0+x-k+1, 0)]++
				steps[min(x0+x+k, w)]--
			}
		}
		depth := int32(0)
		for x := range w {
			depth += steps[x]
			out[y*w+x] = depth > 0
		}
	}
	return out
}

// bounds is the smallest box around mask: rows [y0,y1), columns [x0,x1); none of either where it is empty.
func bounds(mask []bool, h, w int) (y0, y1, x0, x1 int) {
	y0, x0 = h, w
	for y := range h {
		row := mask[y*w:][:w]
		first := slices.Index(row, true)
		if first < 0 {
			continue
		}
		y0, y1, x0 = min(y0, y), y+1, min(x0, first)
		for x := w - 1; x >= x1; x-- {
			if row[x] {
				x1 = x + 1
			}
		}
	}
	return min(y0, y1), y1, min(x0, x1), x1
}

// root is the largest integer whose square is at most n.
func root(n int) int {
	r := int(math.Sqrt(float64(n)))
	for r*r > n {
		r--
	}
	for (r+1)*(r+1) <= n {
		r++
	}
	return r
}
