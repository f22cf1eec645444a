package metric

const (
	// A bin of more than one score holds at most one in binGrowth of the pixels above it, and one in binPositives of the
	// anomalous pixels: across it, precision hardly changes and is interpolated.
	binGrowth    = 128
	binPositives = 512
)

// Bins part the scores of a set of images, from the highest down, into ranges that are fine enough for average precision:
// narrow where the few highest pixels are, wide in the bulk. A score that many pixels share has a bin to itself. There
// are some 128 ln(pixels) + 512 of them, and never more than twice as many.
type Bins struct {
	lowest []uint32 // the rank of each bin's lowest score, inverted: ascending
	single []bool   // whether the bin has one score only
}

// Len is the number of bins.
func (b *Bins) Len() int { return len(b.lowest) }

// of is the bin of a score, given by its inverted rank; hint is the bin to try first. What is below all bins is in the
// last one.
func (b *Bins) of(inverted uint32, hint int) int {
	if inverted <= b.lowest[hint] && (hint == 0 || inverted > b.lowest[hint-1]) {
		return hint
	}
	first, n := 0, len(b.lowest)-1
	for n > 0 { // the bin is one of first to first+n
		half := (n + 1) / 2
		if b.lowest[first+half-1] < inverted {
			first += half
		}
		n -= half
	}
	return first
}

// binning makes Bins of scores that come from the highest down.
type binning struct {
	Bins
	positives uint64 // of all scores
	above     uint64 // pixels above the bin in hand
	pixels    uint64 // in the bin in hand
	pos       uint64 // of them anomalous
}

// add counts the pixels of the next score.
func (b *binning) add(rank uint32, pos, neg uint64) {
	n := len(b.lowest) - 1
	if n < 0 || b.pixels+pos+neg > max(b.above/binGrowth, 1) || b.pos+pos > max(b.positives/binPositives, 1) {
		b.above += b.pixels
		b.pixels, b.pos = 0, 0
		b.lowest, b.single = append(b.lowest, ^rank), append(b.single, true)
	} else {
		b.lowest[n], b.single[n] = ^rank, false
	}
	b.pixels += pos + neg
	b.pos += pos
}
