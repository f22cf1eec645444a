package metric

import "gorgonia.org/tensor"

// tolerance is how far, in pixels, a contour may be off and still count.
const tolerance = 2

// Boundary accumulates how well the contours of masks agree with those of the ground truth. A contour is the pixels of a
// mask with a 4-neighbour outside the mask; the frame of the image is not a contour. A contour pixel is matched if the
// other contour has a pixel within the Euclidean distance of 2 px. All counts are pooled over the images. The zero
// value is empty. Not for concurrent use.
type Boundary struct {
	predicted, precise int // contour pixels of the masks; those of them matched
	truth, recalled    int // contour pixels of the ground truth; those of them matched
}

// Add counts one image with the mask score > threshold. score and mask are as for Pixels.Add; a NaN threshold marks
// nothing.
func (b *Boundary) Add(score, mask *tensor.Dense, threshold float64) error {
	s, m, err := open(score, mask)
	if err != nil {
		return err
	}
	h, w := score.Shape()[0], score.Shape()[1]
	predicted := contour(h, w, func(i int) bool { return float64(s[i]) > threshold })
	truth := contour(h, w, func(i int) bool { return m != nil && m[i] != 0 })
	b.predicted += len(predicted)
	b.precise += matched(predicted, truth, h, w)
	b.truth += len(truth)
	b.recalled += matched(truth, predicted, h, w)
	return nil
}

// F is the harmonic mean of precision (the matched share of the masks' contours) and recall (that of the ground
// truth's), 0 if nothing is matched; undefined without contours in the ground truth.
func (b *Boundary) F() Value {
	if b.truth == 0 {
		return Undefined()
	}
	if b.precise == 0 || b.recalled == 0 {
		return 0
	}
	precision := float64(b.precise) / float64(b.predicted)
	recall := float64(b.recalled) / float64(b.truth)
	return Value(2 * precision * recall / (precision + recall))
}

// contour lists the pixels of a mask with a 4-neighbour outside it.
func contour(h, w int, in func(i int) bool) []int {
	var edge []int
	for i := range h * w {
		if !in(i) {
			continue
		}
		y, x := i/w, i%w
		if y > 0 && !in(i-w) || y < h-1 && !in(i+w) || x > 0 && !in(i-1) || x < w-1 && !in(i+1) {
			edge = append(edge, i)
		}
	}
	return edge
}

// matched counts the pixels of a that have one of b within the tolerance.
func matched(a, b []int, h, w int) int {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	near := make([]bool, h*w)
	for _, i := range b {
		y, x := i/w, i%w
		for dy := -tolerance; dy <= tolerance; dy++ {
			for dx := -tolerance; dx <= tolerance; dx++ {
				ny, nx := y+dy, x+dx
				if dy*dy+dx*dx <= tolerance*tolerance && ny >= 0 && ny < h && nx >= 0 && nx < w {
					near[ny*w+nx] = true
				}
			}
		}
	}
	n := 0
	for _, i := range a {
		if near[i] {
			n++
		}
	}
	return n
}
