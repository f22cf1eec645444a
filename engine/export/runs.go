package export

// runs are the lengths of runs of pixels, outside of a region and inside in turn, beginning with those outside.
type runs []int

// inBox are the runs in the region's box, row by row.
func (f found) inBox() runs {
	return runsOf(f.Height, f.Width, func(line, i int) bool { return f.in[line*f.Width+i] }, 0, f.Width, f.Width*f.Height)
}

// byRows are the runs in an image of so many pixels, row by row.
func (f found) byRows(h, w int) runs {
	return runsOf(f.Height, f.Width, func(line, i int) bool { return f.in[line*f.Width+i] }, f.Y*w+f.X, w, h*w)
}

// byColumns are the runs in an image of so many pixels, column by column.
func (f found) byColumns(h, w int) runs {
	return runsOf(f.Width, f.Height, func(line, i int) bool { return f.in[i*f.Width+line] }, f.X*h+f.Y, h, h*w)
}

// runsOf are the runs of so many lines of n pixels each, the first of which begins at start of total pixels, and the next ones pitch pixels further.
func runsOf(lines, n int, in func(line, i int) bool, start, pitch, total int) runs {
	var r runs
	end := 0 // of the runs
	for line := range lines {
		for i := 0; i < n; i++ {
			if !in(line, i) {
				continue
			}
			from := i
			for i < n && in(line, i) {
				i++
			}
			if at := start + line*pitch + from; at == end && len(r) > 0 {
				r[len(r)-1] += i - from
			} else {
				r = append(r, at-end, i-from)
			}
			end = start + line*pitch + i
		}
	}
	if end < total {
		r = append(r, total-end)
	}
	return r
}
