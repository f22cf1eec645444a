package method

import "testing"

func BenchmarkBaseMap(b *testing.B) {
	const h, w, stride = 64, 64, 4
	o := MapOptions{Sigma: 4, Radius: 16}
	s, dst := make([]float32, h*w), make([]float32, h*w*stride*stride)
	for i := range s {
		s[i] = float32(i * 7 % 31)
	}
	b.SetBytes(int64(4 * len(dst)))
	for b.Loop() {
		BaseMap(s, h, w, stride*h, stride*w, o, dst)
	}
}
