package vec

// Nearer lowers each of dist [P] to the squared Euclidean distance of its point of x [P,len(z)] to z, if that is less. The
// squares are added up in eight lanes, those in pairs, and what is left over to that. A far point is not measured to the
// end.
func Nearer(dist, x, z []float32) {
	if fast {
		nearerAVX2(dist, x[:len(dist)*len(z)], z)
		return
	}
	nearerGo(dist, x, z)
}

func nearerGo(dist, x, z []float32) {
	d := len(z)
	for p, far := range dist {
		a, b := x[p*d:][:d], z
		var s [8]float32
		total := float32(0)
		for n := 8; len(a) >= 8 && len(b) >= 8; n += 8 {
			for l := range s {
				v := a[l] - b[l]
				s[l] += float32(v * v)
			}
			a, b = a[8:], b[8:]
			if n%32 == 0 || len(a) < 8 {
				total = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
				if total >= far {
					break
				}
			}
		}
		for l := 0; l < len(a) && !(total >= far); l++ {
			v := a[l] - b[l]
			total += float32(v * v)
		}
		if !(total >= far) {
			dist[p] = total
		}
	}
}
