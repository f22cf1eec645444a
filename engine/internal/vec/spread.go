package vec

// Spread adds by[k]*wy[a]*wx[b], multiplied from left to right, to x[a*w+b][k]: every product and sum is rounded.
func Spread(x [][8]float32, w int, wy, wx []float32, by *[8]float32) {
	if len(wy) == 0 || len(wx) == 0 {
		return
	}
	if !fast {
		spreadGo(x, w, wy, wx, by)
		return
	}
	_ = x[(len(wy)-1)*w:][:len(wx)] // the assembly would not notice
	spreadAVX2(x, w, wy, wx, by)
}

func spreadGo(x [][8]float32, w int, wy, wx []float32, by *[8]float32) {
	for a, fy := range wy {
		for b, fx := range wx {
			to := &x[a*w+b]
			for k, v := range by {
				to[k] += float32(float32(v*fy) * fx)
			}
		}
	}
}
