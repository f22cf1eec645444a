package cuda

import (
	"context"
	"fmt"
	"slices"

	"f2pad.example/engine/pixel"
	"f2pad.example/engine/refine"
	"f2pad.example/kernels"
)

// atOnce is how many values a call for fills has on the GPU at once, where one item has not more.
const atOnce = 1 << 28

// atMost is how many of the items, one at least, have at most atOnce values in all and fit into a launch.
func atMost[T any](items []T, values func(T) int) int {
	n, sum := 0, 0
	for n < min(len(items), kernels.MaxJobs) {
		if sum += values(items[n]); n > 0 && sum > atOnce {
			break
		}
		n++
	}
	return n
}

// Costs implements sight.Batch, in float32. The images are blurred on the GPU, where they are, and so are normal images where they are
// looked at.
func (b *begun) Costs(searches []refine.Search) error {
	for _, s := range searches {
		if s.Image < 0 || s.Image >= b.n || s.H != b.h || s.W != b.w || len(s.Y)%(s.H*s.W) != 0 || len(s.Y) > 3*s.H*s.W {
			return fmt.Errorf("cuda: fills for image %d of %dx%d with %d values, of a batch of %d of %dx%d", s.Image, s.H, s.W, len(s.Y), b.n, b.h, b.w)
		}
		for _, r := range s.Rings {
			clear(r.Costs)
		}
	}
	for len(searches) > 0 {
		n, taps := len(searches), searches[0].Blur.Taps()
		if other := slices.IndexFunc(searches, func(s refine.Search) bool { return !slices.Equal(s.Blur.Taps(), taps) }); other > 0 {
			n = other
		}
		if err := b.costs(searches[:n], taps); err != nil {
			return err
		}
		searches = searches[n:]
	}
	return nil
}

// costs is Costs of images that one Gaussian blurs.
func (b *begun) costs(searches []refine.Search, taps []float32) error {
	done := func() {}
	defer func() { done() }()
	return b.t.d.do(context.Background(), "searching fills", func(j *job) {
		s := search{job: j, searches: searches, blur: taps, taps: put(j, taps), images: j.floats(3 * b.n * b.h * b.w)}
		// Of images that nobody searches, too: one launch, and planes begin at 16 bytes.
		s.run(kernels.Blur{N: 3 * b.n, H: b.h, W: b.w, Taps: taps, In: b.x, Out: s.images}.Enqueue)
		all := s.normals()
		var at map[*refine.Normal]kernels.Ptr
		at, done = b.t.d.normals.use(j, all)
		s.compare(at, true)
		all = slices.DeleteFunc(all, func(n *refine.Normal) bool { return at[n] != 0 })
		for j.err == nil && len(all) > 0 { // those that do not stay
			n := atMost(all, func(n *refine.Normal) int { data, _ := n.Planes(); return len(data) })
			at := map[*refine.Normal]kernels.Ptr{}
			var parts [][]uint8
			size := 0
			for _, n := range all[:n] {
				data, _ := n.Planes()
				parts, at[n] = append(parts, data), kernels.Ptr(size)
				size += len(data)
			}
			p := put(j, parts...)
			for n := range at {
				at[n] += p
			}
			s.compare(at, false)
			j.free(p)
			all = all[n:]
		}
	})
}

// search is the work on images for Costs.
type search struct {
	*job
	searches []refine.Search
	blur     []float32
	taps     kernels.Ptr
	images   kernels.Ptr // of the batch [n,3,h,w], blurred
}

// normals is the normal images that are candidates anywhere, each once.
func (s *search) normals() (all []*refine.Normal) {
	seen := map[*refine.Normal]bool{}
	for _, q := range s.searches {
		for _, r := range q.Rings {
			for _, n := range r.Normals {
				if !seen[n] {
					seen[n] = true
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// compare fills in what some normal images cost, which are on the device, and the shifts if they are asked for.
func (s *search) compare(at map[*refine.Normal]kernels.Ptr, shifts bool) {
	k := kernels.FillSearch{Blur: s.blur, Images: s.images, Taps: s.taps}
	number := map[*refine.Normal]int32{} // of those that are candidates of the rings so far
	var pixels, candidates []int32
	var to []*float64 // where the candidates' costs go
	launch := func() {
		if len(to) > 0 && s.err == nil {
			k.Table, k.Pixels, k.Candidates, k.Costs = put(s.job, k.TableOf()), put(s.job, pixels), put(s.job, candidates), s.floats(len(to))
			s.run(k.Enqueue)
			costs, to := make([]float32, len(to)), to
			collect(s.job, k.Costs, costs)
			s.then(func() {
				for i, c := range costs {
					*to[i] = float64(c)
				}
			})
		}
		k.Rings, pixels, candidates, to = nil, nil, nil, nil
	}
	for _, q := range s.searches {
		for _, r := range q.Rings {
			ring := kernels.SearchRing{
				Pixels: len(r.Pixels), Image: 3 * q.Image * q.H * q.W, Channels: len(q.Y) / (q.H * q.W), H: q.H, W: q.W, MeanShare: q.MeanShare,
			}
			if ring.Pixels == 0 { // every cost is 0
				continue
			}
			if shifts {
				ring.Shifts = len(r.Shifts)
				candidates = append(candidates, r.Shifts...)
				for c := range r.Shifts {
					to = append(to, &r.Costs[c])
				}
			}
			for c, n := range r.Normals {
				if at[n] == 0 {
					continue
				}
				if _, ok := number[n]; !ok {
					_, shape := n.Planes()
					number[n] = int32(len(k.Normals))
					k.Normals = append(k.Normals, kernels.SearchNormal{C: shape[0], H: shape[1], W: shape[2], Bytes: at[n]})
				}
				ring.Normals++
				candidates, to = append(candidates, number[n]), append(to, &r.Costs[len(r.Shifts)+c])
			}
			if ring.Shifts+ring.Normals > 0 {
				k.Rings, pixels = append(k.Rings, ring), append(pixels, r.Pixels...)
			}
			if len(k.Rings) == kernels.MaxJobs {
				launch()
			}
		}
	}
	launch()
}

// Offsets implements refine.Filler, in float32.
func (d *Device) Offsets(offsets []refine.Offset) error {
	for len(offsets) > 0 {
		n := atMost(offsets, func(o refine.Offset) int { return max(len(o.Out), len(o.V)) + len(o.At) + len(o.To) })
		if err := d.offsets(offsets[:n]); err != nil {
			return err
		}
		offsets = offsets[n:]
	}
	return nil
}

func (d *Device) offsets(offsets []refine.Offset) error {
	return d.do(context.Background(), "fitting fills", func(j *job) {
		var k kernels.NormConv
		var pixels [][]int32
		var v, out [][]float32
		for _, o := range offsets {
			k.Jobs = append(k.Jobs, kernels.NormConvJob{N: len(o.At), M: len(o.To), C: o.C, W: o.W, Sigma: o.Sigma})
			pixels, v, out = append(pixels, o.At, o.To), append(v, o.V), append(out, o.Out)
		}
		_, _, size := k.Sizes()
		k.Table, k.Pixels, k.V, k.Out = put(j, k.TableOf()), put(j, pixels...), put(j, v...), j.floats(size)
		j.run(k.Enqueue)
		collect(j, k.Out, out...)
	})
}

// Spreads implements refine.Filler, in float32.
func (d *Device) Spreads(spreads []refine.Spread) error {
	for len(spreads) > 0 {
		n := atMost(spreads, func(s refine.Spread) int { return (3*len(s.Fills) + 1) * len(s.Out) })
		if err := d.spreads(spreads[:n]); err != nil {
			return err
		}
		spreads = spreads[n:]
	}
	return nil
}

func (d *Device) spreads(spreads []refine.Spread) error {
	return d.do(context.Background(), "comparing fills", func(j *job) {
		var k kernels.FillSpread
		var fills, out [][]float32
		size := 0
		for _, s := range spreads {
			k.Jobs = append(k.Jobs, kernels.SpreadJob{N: len(s.Out), K: len(s.Fills), Share: s.Share})
			fills, out = append(fills, s.Fills...), append(out, s.Out)
			size += len(s.Out)
		}
		k.Table, k.Fills, k.Out = put(j, k.TableOf()), put(j, fills...), j.floats(size)
		j.run(k.Enqueue)
		collect(j, k.Out, out...)
	})
}

// Compare implements refine.Pixels, in float32.
func (d *Device) Compare(comparisons []refine.Comparison, smooth, start pixel.Gaussian) error {
	for len(comparisons) > 0 {
		n := atMost(comparisons, func(c refine.Comparison) int { return (2*c.K + 3) * c.H * c.W })
		if err := d.compare(comparisons[:n], smooth, start); err != nil {
			return err
		}
		comparisons = comparisons[n:]
	}
	return nil
}

func (d *Device) compare(comparisons []refine.Comparison, smooth, start pixel.Gaussian) error {
	return d.do(context.Background(), "comparing with fills", func(j *job) {
		var windows kernels.FillWindows
		var pixels, bests [][]int32
		var y, fills, residuals [][]float32
		for _, c := range comparisons {
			windows.Each = append(windows.Each, kernels.FillWindow{H: c.H, W: c.W, Pixels: len(c.Pixels), K: c.K})
			pixels, y, fills = append(pixels, c.Pixels), append(y, c.Y), append(fills, c.Fills)
			residuals, bests = append(residuals, c.Residual), append(bests, c.Best)
		}
		at := windows.At()
		room := at[len(comparisons)]
		windows.Table, windows.Pixels = put(j, windows.TableOf()), put(j, pixels...)
		yOn, fillsOn, residual, best := put(j, y...), put(j, fills...), j.floats(room.Pixels), j.floats(room.Pixels)
		if max(smooth.Radius(), start.Radius()) <= kernels.MaxFillRadius {
			where := j.floats(room.Plane)
			j.fill(where, 4*room.Plane, 0xff) // -1
			j.run(kernels.FillWhere{FillWindows: windows, Where: where}.Enqueue)
			j.run(kernels.FillCompare{
				FillWindows: windows, Smooth: smooth.Taps(), Start: start.Taps(), Y: yOn, Fills: fillsOn, Where: where, Residual: residual, Best: best,
			}.Enqueue)
		} else {
			sq, plane := j.floats(room.Squares), j.floats(room.Plane)
			costs, blurred := j.floats(room.Squares), j.floats(room.Plane)
			j.zero(sq, 4*room.Squares)
			j.zero(plane, 4*room.Plane)
			j.run(kernels.FillMin{FillWindows: windows, Y: yOn, Fills: fillsOn, Sq: sq, Residual: plane}.Enqueue)
			for i, c := range comparisons {
				p, q := at[i].Plane, at[i].Squares
				j.run(kernels.Blur{N: 1, H: c.H, W: c.W, Taps: smooth.Taps(), In: plane.Plus(p), Out: blurred.Plus(p)}.Enqueue)
				j.run(kernels.Blur{N: c.K, H: c.H, W: c.W, Taps: start.Taps(), In: sq.Plus(q), Out: costs.Plus(q)}.Enqueue)
			}
			j.run(kernels.FillLeast{FillWindows: windows, Costs: costs, Plane: blurred, Residual: residual, Best: best}.Enqueue)
		}
		collect(j, residual, residuals...)
		collect(j, best, bests...)
	})
}
