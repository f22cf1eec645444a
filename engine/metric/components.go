package metric

import "f2pad.example/engine/region"

// areas finds the 8-connected components of an [H,W] mask (pixels that are not 0). It returns for each pixel the area of
// its component, 0 outside, and the number of components.
func areas(mask []float32, h, w int) (area []uint32, components int) {
	in := make([]bool, len(mask))
	for i, v := range mask {
		in[i] = v != 0
	}
	labels, n := region.Label(in, h, w)
	size := make([]uint32, n+1)
	for _, label := range labels {
		size[label]++
	}
	size[0] = 0
	area = make([]uint32, len(mask))
	for i, label := range labels {
		area[i] = size[label]
	}
	return area, n
}
