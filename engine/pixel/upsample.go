package pixel

// Upsample enlarges the grid [h,w] s times into out [h*s,w*s]: bilinear between cell centres (half-pixel: output pixel i
// lies at (i + 0.5)/s - 0.5), constant beyond the outermost centres.
func Upsample(grid []float32, h, w, s int, out []float32) {
	W := w * s
	across := make([]mix, W)
	for j := range across {
		across[j].lo, across[j].hi, across[j].f = between(j, s, w)
	}
	// The grid's rows above and below, at the width of the output.
	lines := [2][]float32{make([]float32, W), make([]float32, W)}
	of := [2]int{-1, -1}
	line := func(k, y int) []float32 {
		if of[k] != y {
			of[k] = y
			row := grid[y*w:][:w]
			for j, m := range across {
				lines[k][j] = row[m.lo] + m.f*(row[m.hi]-row[m.lo])
			}
		}
		return lines[k]
	}
	for i := range h * s {
		y0, y1, fy := between(i, s, h)
		a, b := line(y0&1, y0), line(y1&1, y1)
		row := out[i*W:][:W]
		for j, v := range a {
			row[j] = v + fy*(b[j]-v)
		}
	}
}

// mix is a value between two cells, f of the way to the second.
type mix struct {
	lo, hi int
	f      float32
}

// between returns the two of n cells that output pixel i lies between, and the share of the second.
func between(i, s, n int) (lo, hi int, f float32) {
	twice := 2*i + 1 - s // position in units of 1/(2s) cell
	if twice <= 0 {
		return 0, 0, 0
	}
	lo = twice / (2 * s)
	if lo >= n-1 {
		return n - 1, n - 1, 0
	}
	return lo, lo + 1, float32(twice%(2*s)) / float32(2*s)
}
