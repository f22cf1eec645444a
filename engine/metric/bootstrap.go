package metric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"

	"f2pad.example/engine/internal/par"

	"gorgonia.org/tensor"
)

// Bootstrap says how much the pooled pixel AP of several kinds of map, and the differences between them, owe to the choice
// of images: it measures them on resamples of the images. A resample of n images is n draws with replacement from all of
// them, normal ones included, the same draws for every kind (paired, not stratified: the numbers of defective and of normal
// images vary as they would in another sample). A resample without an anomalous pixel is drawn again.
//
// Of each image and kind only the pixels of each bin are counted, anomalous and normal ones apart: 2 to 4 bytes for each bin
// that has any, which is about 1 kB for an image of 256 by 256 pixels and 16 kB at most, so 10^5 images of three kinds take
// some 300 MB. The draws go by the order in which the images were added. Not for concurrent use. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
type Bootstrap struct {
	bins   []*Bins
	images []counted
}

// counted is what is kept of an image: for each kind the counts of its bins, in ascending order, each as varints of the
// distance to the bin before, doubled and 1 more if there are anomalous pixels, the normal pixels, and those anomalous.
type counted struct {
	defective bool
	counts    [][]byte
}

// NewBootstrap returns an empty accumulator. bins has the bins of each kind of map: PixelResult.Bins of the same images.
func NewBootstrap(bins ...*Bins) *Bootstrap { return &Bootstrap{bins: bins} }

// Add counts one image: its ground truth as for Pixels.Add, and a score map for each kind, all of one size. No tensor is
// kept. Up to 40 ns per pixel and kind, less on smooth maps.
func (b *Bootstrap) Add(mask *tensor.Dense, scores ...*tensor.Dense) error {
	if len(scores) != len(b.bins) {
		return fmt.Errorf("metric: %d score maps for %d kinds", len(scores), len(b.bins))
	}
	im := counted{counts: make([][]byte, len(scores))}
	for k, score := range scores {
		s, m, err := open(score, mask)
		if err != nil {
			return err
		}
		if b.bins[k].Len() == 0 {
			return errors.New("metric: no bins")
		}
		im.defective = slices.Contains(m, 1)
		im.counts[k] = b.bins[k].count(s, m)
	}
	b.images = append(b.images, im)
	return nil
}

// count counts the pixels in each bin.
func (b *Bins) count(s, m []float32) []byte {
	pixels := make([][2]uint32, b.Len()) // normal, anomalous
	at := 0
	for i, v := range s {
		at = b.of(^rank(v), at)
		truth := 0
		if m != nil {
			truth = int(m[i])
		}
		pixels[at][truth]++
	}
	var out []byte
	last := 0
	for i, n := range pixels {
		if n[0]+n[1] == 0 {
			continue
		}
		out = binary.AppendUvarint(out, uint64(i-last)<<1|uint64(min(n[1], 1)))
		if out = binary.AppendUvarint(out, uint64(n[0])); n[1] > 0 {
			out = binary.AppendUvarint(out, uint64(n[1]))
		}
		last = i
	}
	return slices.Clip(out)
}

// Defective is the number of images with an anomalous pixel.
func (b *Bootstrap) Defective() int {
	n := 0
	for _, im := range b.images {
		if im.defective {
			n++
		}
	}
	return n
}

// block is how many resamples are counted at once: the counts are unpacked once for all of them.
const block = 16

// AP returns the pooled pixel AP of every kind in each of n resamples, [kind][resample]; nil if no image has an anomalous
// pixel. It is that of the binned scores, within 1e-3 of the exact one. A resample is a function of the seed, its number and
// which images are defective; the number of threads changes nothing. Runs on all cores. Time: some 2 ns for each resample
// and each bin that an image has pixels in; 1,000 resamples of 350 images of three kinds take about a second on one core.
func (b *Bootstrap) AP(n int, seed uint64) [][]float64 {
	if b.Defective() == 0 {
		return nil
	}
	ap := make([][]float64, len(b.bins))
	for k := range ap {
		ap[k] = make([]float64, n)
	}
	workers := make([]resampler, runtime.GOMAXPROCS(0))
	par.Workers(len(workers), (n+block-1)/block, func(worker, i int) {
		r := &workers[worker]
		first := i * block
		r.draw(b, first, min(block, n-first), seed)
		for k := range ap {
			r.ap(b, k, ap[k][first:min(first+block, n)])
		}
	})
	return ap
}

// resampler has the buffers for a block of resamples.
type resampler struct {
	draws [][block]uint64    // how often each image is in each resample
	bins  [][2][block]uint64 // normal and anomalous pixels in each bin
}

// draw draws resamples first to first+n-1, each from a generator of its own.
func (r *resampler) draw(b *Bootstrap, first, n int, seed uint64) {
	r.draws = slices.Grow(r.draws[:0], len(b.images))[:len(b.images)]
	for j := range n {
		rng := rand.New(rand.NewPCG(seed, uint64(first+j)))
		for defective := false; !defective; {
			for i := range r.draws {
				r.draws[i][j] = 0
			}
			for range b.images {
				i := rng.IntN(len(b.images))
				r.draws[i][j]++
				defective = defective || b.images[i].defective
			}
		}
	}
}

// ap computes the AP of one kind in the resamples drawn.
func (r *resampler) ap(b *Bootstrap, kind int, out []float64) {
	bins := b.bins[kind]
	r.bins = slices.Grow(r.bins[:0], bins.Len())[:bins.Len()]
	clear(r.bins)
	for i, im := range b.images {
		draws := &r.draws[i]
		add := func(to *[block]uint64, pixels uint64) {
			for j, d := range draws {
				to[j] += d * pixels
			}
		}
		at := 0
		next := func(raw *[]byte) uint64 {
			v, n := binary.Uvarint(*raw)
			*raw = (*raw)[n:]
			return v
		}
		for raw := im.counts[kind]; len(raw) > 0; {
			head := next(&raw)
			at += int(head >> 1)
			add(&r.bins[at][0], next(&raw))
			if head&1 != 0 {
				add(&r.bins[at][1], next(&raw))
			}
		}
	}
	for j := range out {
		out[j] = bins.ap(func(bin int) (neg, pos uint64) { return r.bins[bin][0][j], r.bins[bin][1][j] })
	}
}

// ap is the average precision of binned pixels. Those of a bin of several scores count as evenly mixed.
func (b *Bins) ap(pixels func(bin int) (neg, pos uint64)) float64 {
	var tp, all, sum float64
	for i, single := range b.single {
		n, p := pixels(i)
		neg, pos := float64(n), float64(p)
		if p > 0 {
			found, seen := pos, pos+neg
			if !single {
				found, seen = (found+1)/2, (seen+1)/2
			}
			sum += pos * (tp + found) / (all + seen)
		}
		tp += pos
		all += pos + neg
	}
	return sum / tp
}

// Interval holds a quantity with a confidence of 95 %.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Above reports whether all of the interval is above 0.
func (v Interval) Above() bool { return v.Low > 0 }

// Below reports whether all of the interval is below 0.
func (v Interval) Below() bool { return v.High < 0 }

// Difference is the 95 % percentile interval of a - b, which have a value for each resample: its 0.025 and 0.975 quantiles,
// interpolated as by Quantiles; nil of no resamples.
func Difference(a, b []float64) *Interval {
	if len(a) == 0 {
		return nil
	}
	d := make([]float64, len(a))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return percentiles(d)
}

// percentiles are the 0.025 and 0.975 quantiles, interpolated as by Quantiles, of values, which it sorts.
func percentiles(d []float64) *Interval {
	slices.Sort(d)
	at := func(share float64) float64 {
		h := share * float64(len(d)-1)
		i := int(h)
		return d[i] + (d[min(i+1, len(d)-1)]-d[i])*(h-float64(i))
	}
	return &Interval{at(0.025), at(0.975)}
}
