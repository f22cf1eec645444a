package method

import "testing"

// A whole map, and a region of 4 % of it, as the refinement asks for it: with the scores that it depends on.
func BenchmarkBaseMap(b *testing.B) {
	const h, w, stride = 64, 64, 4
	const H, W, side = stride * h, stride * w, 51
	o := MapOptions{Sigma: 4, Radius: 16}
	s, dst := make([]float32, h*w), make([]float32, H*W)
	for i := range s {
		s[i] = float32(i * 7 % 31)
	}
	region := make([]bool, H*W)
	for y := range side {
		for x := range side {
			region[(100+y)*W+60+x] = true
		}
	}
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
	run("whole", func() { BaseMap(s, h, w, H, W, o, dst) })
	run("region", func() { BaseMaps(s, 1, h, w, H, W, o, region, dst) })
	run("cells", func() { o.Cells(region, 1, h, w, H, W) })
	run("axes", func() { o.axes(h, w, H, W) }) // of each of them
}
