package pixel

// Upsample enlarges the grid [h,w] s times into out [h*s,w*s]: bilinear between cell centres (half-pixel: output pixel i
// lies at (i + 0.5)/s - 0.5), constant beyond the outermost centres.
func Upsample(grid []float32, h, w, s int, out []float32) {
	W := w * s
	for i := range h * s {
		y0, y1, fy := between(i, s, h)
		top, bottom := grid[y0*w:][:w], grid[y1*w:][:w]
		row := out[i*W:][:W]
		for j := range row {
			x0, x1, fx := between(j, s, w)
			a := top[x0] + fx*(top[x1]-top[x0])
			b := bottom[x0] + fx*(bottom[x1]-bottom[x0])
			row[j] = a + fy*(b-a)
		}
	}
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
