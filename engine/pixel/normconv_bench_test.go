package pixel

import "testing"

// BenchmarkNormConv continues six fills' residuals, grey, from 400 pixels of a ring into a disc.
func BenchmarkNormConv(b *testing.B) {
	const w, fills, radius = 256, 6, 20
	var at, to []int32
	for p := range int32(w * w) {
		y, x := int(p)/w-100, int(p)%w-120
		switch d := y*y + x*x; {
		case d <= radius*radius:
			to = append(to, p)
		case d <= (radius+3)*(radius+3) && len(at) < 400:
			at = append(at, p)
		}
	}
	v, out := random(len(at)*fills, 1), make([]float32, len(to)*fills)
	for b.Loop() {
		NormConv(v, at, to, w, fills, 4, out)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(to)*len(at)), "ns/pair")
}
