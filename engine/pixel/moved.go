package pixel

// Moved fills dst [h,w] with src at (y+dy, x+dx), or at the nearest pixel of the image.
func Moved(dst, src []float32, h, w, dy, dx int) {
	from, to := min(max(-dx, 0), w), max(min(w-dx, w), 0) // columns of dst that src has pixels for
	for y := range h {
		row, out := src[min(max(y+dy, 0), h-1)*w:][:w], dst[y*w:][:w]
		for x := range from {
			out[x] = row[0]
		}
		if from < to {
			copy(out[from:to], row[from+dx:])
		}
		for x := max(from, to); x < w; x++ {
			out[x] = row[w-1]
		}
	}
}
