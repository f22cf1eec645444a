package bench

import (
	"context"
	"fmt"
	"hash/crc32"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/region"
)

// pass is what images gave.
type pass struct {
	paths   []string
	digests []uint64 // of each image's result
	scores  []float64
	maps    [][]float32 // of the first images, where the lane keeps them
	masks   [][]bool    // theirs
	refined int
	suspect float64 // sum of shares
}

// look scores items and keeps what tells their results apart. An image that fails, or was computed elsewhere, is an error.
func (l *lane) look(ctx context.Context, items iter.Seq[dataset.Item]) (p pass, err error) {
	err = l.scorer.Score(ctx, items, func(r *engine.Result) error {
		if r.Err != nil {
			return r.Err
		}
		if !slices.Contains(devicesOf(l.row.Device), r.Device) {
			return fmt.Errorf("%s: computed on %s", r.Item.Path, r.Device)
		}
		if l.worked != nil {
			l.worked[r.Device]++
		}
		p.paths = append(p.paths, r.Item.Path)
		p.digests = append(p.digests, digest(r))
		p.scores = append(p.scores, r.Score)
		if m, ok := r.Maps[l.row.Map]; ok && len(p.maps) < l.keep {
			mask, _ := r.Mark(l.row.Map, region.Options{})
			p.maps, p.masks = append(p.maps, slices.Clone(nd.Data(m))), append(p.masks, mask)
		}
		if r.Refined {
			p.refined++
		}
		p.suspect += r.Suspect
		return nil
	})
	if left := l.scorer.Device(); err == nil && left.Device != l.row.Device {
		err = fmt.Errorf("of %s there is only %s left", l.row.Device, left.Device)
	}
	return p, err
}

// devicesOf are those that compute together.
func devicesOf(name string) []string { return strings.Split(name, "+") }

// digest tells results apart by the bits of the score and of every pixel. It takes a ten-thousandth of what the pixels took to make.
func digest(r *engine.Result) uint64 {
	sum := math.Float64bits(r.Score)
	table := crc32.MakeTable(crc32.Castagnoli) // which the processor computes
	var buf [1 << 12]byte
	for _, k := range slices.Sorted(maps.Keys(r.Maps)) {
		crc := uint32(0)
		for part := range slices.Chunk(nd.Data(r.Maps[k]), len(buf)/4) {
			for i, v := range part {
				bits := math.Float32bits(v)
				buf[4*i], buf[4*i+1], buf[4*i+2], buf[4*i+3] = byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24)
			}
			crc = crc32.Update(crc, table, buf[:4*len(part)])
		}
		sum = sum*31 + uint64(crc)
	}
	return sum
}

// same is an error unless the digests are those of the images from number from on, which begin anew after the last.
func (p pass) same(digests []uint64, from int) error {
	for i, d := range digests {
		if k := (from + i) % len(p.digests); d != p.digests[k] {
			return fmt.Errorf("%s: another pass gave another result, by the bits of its score or map", p.paths[k])
		}
	}
	return nil
}

// apart is the largest difference of image scores, relative to the larger of the two.
func (p pass) apart(other pass) (worst float64) {
	for i, s := range p.scores {
		t := other.scores[i]
		if d := math.Abs(s - t); d > 0 {
			worst = max(worst, d/max(math.Abs(s), math.Abs(t)))
		}
	}
	return worst
}

// mapsApart is the RMS of the difference of the maps that both have kept over the larger RMS of the two. ok is false where there are none.
func (p pass) mapsApart(other pass) (apart float64, ok bool) {
	var difference, own, others float64
	n := min(len(p.maps), len(other.maps))
	for i := range n {
		for k, v := range p.maps[i] {
			v, w := float64(v), float64(other.maps[i][k])
			difference, own, others = difference+(v-w)*(v-w), own+v*v, others+w*w
		}
	}
	if difference == 0 {
		return 0, n > 0
	}
	return math.Sqrt(difference / max(own, others)), true
}

// masksApart compares the masks of the images whose maps both have kept, all pixels together: share is that of the pixels which one marks
// and the other does not, dice 2 |A and B| / (|A| + |B|), 1 where neither marks any. ok is false where there are none.
func (p pass) masksApart(other pass) (share, dice float64, ok bool) {
	var pixels, marked, both int
	for i := range min(len(p.masks), len(other.masks)) {
		pixels += len(p.masks[i])
		for k, a := range p.masks[i] {
			b := other.masks[i][k]
			if a {
				marked++
			}
			if b {
				marked++
			}
			if a && b {
				both++
			}
		}
	}
	if dice = 1; marked > 0 {
		dice = 2 * float64(both) / float64(marked)
	}
	return float64(marked-2*both) / float64(max(pixels, 1)), dice, pixels > 0
}
