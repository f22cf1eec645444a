package metric

// WorseBy is by how much an image's AP has to be below that of the base map for the image to count as worse.
const WorseBy = 0.01

// Losses counts the images on which a map is worse than the base map: their pixel AP is lower by more than WorseBy. The
// zero value is empty. Not for concurrent use.
type Losses struct{ images, worse int }

// Add counts one image by the AP of both maps. One without an AP (a normal image) does not count.
func (l *Losses) Add(ap, base Value) {
	if !ap.Defined() || !base.Defined() {
		return
	}
	l.images++
	if ap < base-WorseBy {
		l.worse++
	}
}

// Share is the share of the images that are worse, from 0 to 1; undefined without images.
func (l *Losses) Share() Value { return Value(float64(l.worse) / float64(l.images)) }
