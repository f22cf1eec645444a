package metric

// areas finds the 8-connected components of an [H,W] mask (pixels that are not 0). It returns for each pixel the area of
// its component, 0 outside, and the number of components.
func areas(mask []float32, h, w int) (area []uint32, components int) {
	area = make([]uint32, len(mask))
	var members []int
	for seed, v := range mask {
		if v == 0 || area[seed] != 0 {
			continue
		}
		components++
		members = append(members[:0], seed)
		area[seed] = 1
		for next := 0; next < len(members); next++ {
			y, x := members[next]/w, members[next]%w
			for ny := max(y-1, 0); ny <= min(y+1, h-1); ny++ {
				for nx := max(x-1, 0); nx <= min(x+1, w-1); nx++ {
					if n := ny*w + nx; mask[n] != 0 && area[n] == 0 {
						area[n] = 1
						members = append(members, n)
					}
				}
			}
		}
		for _, m := range members {
			area[m] = uint32(len(members))
		}
	}
	return area, components
}
