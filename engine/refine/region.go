package refine

import (
	"math"
	"slices"

	"f2pad/engine/internal/index"
)

// suspicious returns Omega (step 1), or nil if no pixel is suspicious: the 8-connected components of pixels that stand out
// of their neighbourhood, u > Suspect and u > PeakShare peak, that contain u > Certain and u > TopShare of the image's
// highest peak, kept within KeepCells of such pixels, dilated by DilateCells; distances are Euclidean. peak is of the cells
// [h/Stride,w/Stride]. So a weak and wide suspicion, of a part unlike those learned from, makes no region of half the image.
func suspicious(u, peak []float32, h, w int, o *Options) []bool {
	n := h * w
	certain, reached, suspect := make([]bool, n), make([]bool, n), make([]bool, n)
	certainly := max(o.Region.Certain, o.Region.TopShare*float64(slices.Max(peak)))
	var queue []int32
	for p, v := range u {
		near := float64(peak[p/w/o.Stride*(w/o.Stride)+p%w/o.Stride])
		suspect[p] = float64(v) > max(o.Region.Suspect, o.Region.PeakShare*near)
		if suspect[p] && float64(v) > certainly {
			certain[p], reached[p] = true, true
			queue = append(queue, int32(p))
		}
	}
	if len(queue) == 0 {
		return nil
	}
	flood(queue, suspect, reached, h, w, true)
	keep := within(distances(certain, h, w), o.px(o.Region.KeepCells))
	for p, k := range keep {
		keep[p] = k && reached[p]
	}
	return within(distances(keep, h, w), o.px(o.Region.DilateCells))
}

// peaks returns, for each cell of the grid z [h,w], the largest value of the square of cells at most r away.
func peaks(z []float32, h, w, r int) []float32 {
	rows, out := make([]float32, len(z)), make([]float32, len(z))
	for v := range z {
		y, x := v/w, v%w
		rows[v] = slices.Max(z[y*w+max(x-r, 0) : y*w+min(x+r+1, w)])
	}
	for v := range z {
		y, x := v/w, v%w
		most := rows[v]
		for i := max(y-r, 0); i <= min(y+r, h-1); i++ {
			most = max(most, rows[i*w+x])
		}
		out[v] = most
	}
	return out
}

// flood adds to queue, whose pixels are already in reached, every pixel of mask connected to one of them: over 8
// neighbours or over 4.
func flood(queue []int32, mask, reached []bool, h, w int, eight bool) []int32 {
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

// components returns the connected components of mask, over 8 neighbours or over 4, each with its pixels in row-major
// order, in the order of their first pixels.
func components(mask []bool, h, w int, eight bool) [][]int32 {
	var out [][]int32
	reached := make([]bool, h*w)
	for p, on := range mask {
		if on && !reached[p] {
			reached[p] = true
			c := flood([]int32{int32(p)}, mask, reached, h, w, eight)
			slices.Sort(c)
			out = append(out, c)
		}
	}
	return out
}

// distances returns each pixel's squared Euclidean distance to the nearest pixel of set, exactly; (h+w)^2 or more if it
// is empty. Two passes (Meijster, Roerdink, Hesselink 2000): along columns, then the lower envelope of each row's parabolas.
func distances(set []bool, h, w int) []int32 {
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
			row[x] = int32((x-i)*(x-i) + sq[i])
			if x == from[k] {
				k--
			}
		}
	}
	return d
}

// within marks the pixels at most r from the set that the squared distances d belong to.
func within(d []int32, r float64) []bool {
	m := make([]bool, len(d))
	r2 := int32(math.Floor(r * r))
	for p, v := range d {
		m[p] = v <= r2
	}
	return m
}

// cellsNear marks the grid cells, of stride x stride pixels, that have a pixel at most r from the set that the squared
// distances d [H,W] belong to.
func cellsNear(d []int32, H, W, stride int, r float64, where []bool) {
	w := W / stride
	for p, near := range within(d, r) {
		if near {
			where[p/W/stride*w+p%W/stride] = true
		}
	}
}
