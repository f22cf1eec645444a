package refine

import (
	"slices"

	"f2pad.example/engine/internal/morph"
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
	for v, most := range peak {
		y, x := v/(w/o.Stride)*o.Stride, v%(w/o.Stride)*o.Stride
		least := max(o.Region.Suspect, o.Region.PeakShare*float64(most))
		for i := range o.Stride {
			for j, v := range u[(y+i)*w+x:][:o.Stride] {
				if float64(v) > least {
					p := (y+i)*w + x + j
					suspect[p] = true
					if float64(v) > certainly {
						certain[p], reached[p] = true, true
						queue = append(queue, int32(p))
					}
				}
			}
		}
	}
	if len(queue) == 0 {
		return nil
	}
	morph.Flood(queue, suspect, reached, h, w, true)
	keep := morph.Dilate(certain, h, w, o.px(o.Region.KeepCells))
	for p, k := range keep {
		keep[p] = k && reached[p]
	}
	return morph.Dilate(keep, h, w, o.px(o.Region.DilateCells))
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

// cellsNear marks the grid cells, of stride x stride pixels, that have a pixel at most r from one of mask [H,W].
func cellsNear(mask []bool, H, W, stride int, r float64, where []bool) {
	w := W / stride
	for p, near := range morph.Dilate(mask, H, W, r) {
		if near {
			where[p/W/stride*w+p%W/stride] = true
		}
	}
}
