package vec

// Distance is the squared Euclidean distance of a to b, as long, in float64: the squares are added up in four lanes, what is
// left over to the first, and the lanes in pairs.
func Distance(a, b []float32) float64 {
	b = b[:len(a)]
	var s [4]float64
	if fast {
		distanceAVX2(&s, a, b)
		a, b = a[len(a)&^3:], b[len(a)&^3:]
	} else {
		a, b = distanceGo(&s, a, b)
	}
	for i, x := range a {
		d := float64(x) - float64(b[i])
		s[0] += float64(d * d)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

// distanceGo returns what is left over.
func distanceGo(s *[4]float64, a, b []float32) (_, _ []float32) {
	var s0, s1, s2, s3 float64 // do not wait for one another
	for len(a) >= 4 && len(b) >= 4 {
		d0, d1 := float64(a[0])-float64(b[0]), float64(a[1])-float64(b[1])
		d2, d3 := float64(a[2])-float64(b[2]), float64(a[3])-float64(b[3])
		s0 += float64(d0 * d0)
		s1 += float64(d1 * d1)
		s2 += float64(d2 * d2)
		s3 += float64(d3 * d3)
		a, b = a[4:], b[4:]
	}
	*s = [4]float64{s0, s1, s2, s3}
	return a, b
}
