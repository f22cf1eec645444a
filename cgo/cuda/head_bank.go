package cuda

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/method/patchcore"
	"f2pad.example/kernels"
)

// bankHead is PatchCore's: distances to the nearest members of the bank.
type bankHead struct {
	d      *Device
	fitted patchcore.Fitted
	bank   *bank
	pools  []poolTables // of each layer, where vectors are pooled

	scratch int // headScratch
}

// poolTables are EmbedPool's and EmbedPoolBack's.
type poolTables struct{ forward, back kernels.Ptr }

func (d *Device) bankHead(m *patchcore.Model) (head, error) {
	h := &bankHead{d: d, fitted: m.Fitted(), scratch: headScratch}
	switch {
	case h.fitted.Dim > kernels.KNNMaxD:
		return nil, fmt.Errorf("cuda: vectors of %d values, of more than %d: %w", h.fitted.Dim, kernels.KNNMaxD, errNoHead)
	case h.fitted.Supports > kernels.KNNMaxK:
		return nil, fmt.Errorf("cuda: %d neighbours re-weight an image's score, more than %d: %w", h.fitted.Supports, kernels.KNNMaxK, errNoHead)
	}
	var err error
	if h.bank, err = d.newBank(h.fitted.Bank, h.fitted.Dim); err != nil {
		return nil, err
	}
	if !h.fitted.Unfolded {
		return h, nil
	}
	err = d.do(context.Background(), "pools", func(j *job) {
		j.lasting = true
		for l, pool := range h.fitted.Pool() {
			taps := tapsOf(pool)
			h.pools = append(h.pools, poolTables{
				put(j, kernels.EmbedPool(taps)), put(j, kernels.EmbedPoolBack(taps, h.fitted.Widths[l])),
			})
		}
		if j.err == nil {
			j.held = nil
		}
	})
	if err != nil {
		h.pools = nil
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func tapsOf(rows []patchcore.Taps) [][]kernels.AxisTap {
	taps := make([][]kernels.AxisTap, len(rows))
	for i, r := range rows {
		for k, w := range r.W {
			taps[i] = append(taps[i], kernels.AxisTap{Offset: r.Lo + k, Weight: w})
		}
	}
	return taps
}

// bankScoring keeps each location's nearest member and the distance; grad makes the vectors anew where they have not all been there
// at once.
type bankScoring struct {
	*embedding
	h            *bankHead
	step         int         // locations whose vectors are there at once
	q, work      kernels.Ptr // vectors of step locations; the search's scratch memory, or the vectors' gradients
	winner, dist kernels.Ptr // of all locations
	stream       *streaming  // nil: all of the bank is on the device
}

// streaming is the room for a part of the bank, and what the gradient needs of winners that have gone.
type streaming struct {
	rows, prepared kernels.Ptr
	atOnce         int
	won            []int32     // on the host
	row, numbers   kernels.Ptr // of step locations: their winners' rows, [step,D], and which of these is whose: [step] int32
}

func (h *bankHead) view(j *job, v *view) (scoring, error) {
	f, l := &h.fitted, len(v.at)
	e, err := v.embed(j, f.Widths, f.Dim, func(cells, locations int) (all [][][]kernels.AxisTap) {
		for _, taps := range f.Axis(cells, locations) {
			all = append(all, tapsOf(taps))
		}
		return all
	})
	if err != nil {
		return nil, err
	}
	s := &bankScoring{embedding: e, h: h, winner: j.floats(l), dist: j.room(l, 8)}
	for i, pool := range h.pools {
		forward, back := &e.forward[i], &e.back[i]
		forward.Unfolded, forward.Pool, forward.Add = true, pool.forward, i > 0
		back.Unfolded, back.Values = true, pool.back
	}
	atOnce := h.bank.m
	if h.bank.whole == nil {
		atOnce = h.bank.rowsAtOnce()
	}
	scratch := s.fit(atOnce)
	s.q, s.work = j.floats(s.step*f.Dim), j.room(scratch, 1)
	if h.bank.whole == nil {
		b := kernels.KNNBank{M: atOnce, D: f.Dim, Products: products}
		s.stream = &streaming{rows: j.floats(atOnce * f.Dim), prepared: j.room(b.Bytes(), 1), atOnce: atOnce}
		if v.gradient {
			numbers := make([]int32, s.step)
			for i := range numbers {
				numbers[i] = int32(i)
			}
			s.stream.won = make([]int32, l)
			s.stream.row, s.stream.numbers = j.floats(s.step*f.Dim), put(j, numbers)
		}
	}
	for i := range e.back {
		e.back[i].Row, e.back[i].DQ = v.item, s.work
	}
	return s, j.err
}

// fit finds how many locations' vectors have room at once, and the size of the other memory that they take: in their search, in a bank
// of which so many rows are there at once, and in their gradients.
func (s *bankScoring) fit(atOnce int) (scratch int) {
	const tile = 128 // of queries
	f, l, room := &s.h.fitted, len(s.v.at), s.h.scratch
	for s.step = max(tile, min((l+tile-1)/tile*tile, room/(8*f.Dim)/tile*tile, kernels.KNNMaxN)); ; s.step = max(tile, s.step/2/tile*tile) {
		scratch = 4 * s.step * f.Dim // of the gradients
		for _, m := range []int{atOnce, s.h.bank.m % atOnce} {
			for _, n := range []int{min(s.step, l), l % s.step} {
				if m > 0 && n > 0 {
					k := kernels.KNN{Bank: kernels.KNNBank{M: m, D: f.Dim, Products: products}, N: n, Processors: s.h.d.sms}
					scratch = max(scratch, k.ScratchBytes())
				}
			}
		}
		if s.step == tile || 4*s.step*f.Dim+scratch <= room {
			return scratch
		}
	}
}

func (s *bankScoring) streamed() bool { return s.stream != nil }

// parts visits the locations, as many at a time as there is room for.
func (s *bankScoring) parts(visit func(lo, n int) error) error {
	for lo := 0; lo < len(s.v.at); lo += s.step {
		if err := visit(lo, min(s.step, len(s.v.at)-lo)); err != nil {
			return err
		}
	}
	return nil
}

func (s *bankScoring) score(q kernels.Queue) error {
	if len(s.v.at) == 0 {
		return nil
	}
	err := s.members(q, func(p part) error {
		return s.parts(func(lo, n int) error {
			if err := s.vectors(q, n, s.v.items.Plus(lo), s.q); err != nil {
				return err
			}
			k := kernels.KNN{
				Bank: p.bank, N: n, First: p.first, Accumulate: p.first > 0, Processors: s.h.d.sms,
				Queries: s.q, Scratch: s.work, Winner: s.winner.Plus(lo), Dist: s.dist.Plus(2 * lo),
			}
			return k.Enqueue(q)
		})
	})
	if err != nil {
		return err
	}
	score := kernels.KNNScore{L: len(s.v.at), Squared: s.h.fitted.Squared, Dist: s.dist, S: s.v.s}
	if err := score.Enqueue(q); err != nil || s.stream == nil || !s.v.gradient {
		return err
	}
	stream, err := streamOf(q)
	if err != nil {
		return err
	}
	return stream.Download(kernels.Bytes(s.stream.won), s.winner)
}

// copier is a queue that also copies to the device and back.
type copier interface {
	Upload(dst kernels.Ptr, src ...[]byte) error
	Download(dst []byte, src kernels.Ptr) error
}

func streamOf(q kernels.Queue) (copier, error) {
	c, ok := q.(copier)
	if !ok {
		return nil, fmt.Errorf("cuda: the bank passes through the device, which a %T cannot do", q)
	}
	return c, nil
}

// members visits the bank: all of it, or one part after another.
func (s *bankScoring) members(q kernels.Queue, visit func(part) error) error {
	b := s.h.bank
	if s.stream == nil {
		return visit(*b.whole)
	}
	stream, err := streamOf(q)
	if err != nil {
		return err
	}
	for first := 0; first < b.m; first += s.stream.atOnce {
		p := part{first, kernels.KNNBank{
			M: min(s.stream.atOnce, b.m-first), D: b.width, Products: products, Rows: s.stream.rows, Prepared: s.stream.prepared,
		}}
		if err := stream.Upload(p.bank.Rows, kernels.Bytes(b.rows[first*b.width:(first+p.bank.M)*b.width])); err != nil {
			return err
		}
		if err := p.bank.Enqueue(q); err != nil {
			return err
		}
		if err := visit(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *bankScoring) grad(q kernels.Queue) error {
	if len(s.v.at) == 0 {
		return s.pull(q, 0, 0)
	}
	return s.parts(func(lo, n int) error {
		if s.step < len(s.v.at) {
			if err := s.vectors(q, n, s.v.items.Plus(lo), s.q); err != nil {
				return err
			}
		}
		g := kernels.KNNGradient{
			L: n, D: s.h.bank.width, M: s.h.bank.m, Squared: s.h.fitted.Squared, Queries: s.q, Winner: s.winner.Plus(lo),
			Dist: s.dist.Plus(2 * lo), DS: s.v.ds.Plus(lo), DQ: s.work,
		}
		if s.stream == nil {
			g.Rows = s.h.bank.whole.bank.Rows
		} else {
			g.M, g.Rows, g.Winner = n, s.stream.row, s.stream.numbers
			if err := s.fetch(q, lo, n); err != nil {
				return err
			}
		}
		if err := g.Enqueue(q); err != nil {
			return err
		}
		return s.pull(q, lo, n)
	})
}

// fetch brings the winners of n locations to the device.
func (s *bankScoring) fetch(q kernels.Queue, lo, n int) error {
	stream, err := streamOf(q)
	if err != nil {
		return err
	}
	rows := make([]float32, 0, n*s.h.bank.width)
	for _, w := range s.stream.won[lo : lo+n] {
		rows = append(rows, s.h.fitted.Row(w)...)
	}
	return stream.Upload(s.stream.row, kernels.Bytes(rows))
}

// pull enqueues what the gradients of n locations' vectors come to: the first fills the windows up to its own last, each other goes on
// from there, the last fills those that are left.
func (s *bankScoring) pull(q kernels.Queue, lo, n int) error {
	window := func(i int) int { return int(s.v.at[i]) / (s.v.h * s.v.w) }
	from, to, continued := 0, s.v.n, false
	if lo > 0 {
		from, continued = window(lo-1), window(lo-1) == window(lo)
		if !continued {
			from++
		}
	}
	if lo+n < len(s.v.at) {
		to = window(lo+n-1) + 1
	}
	for _, l := range s.back {
		l.From, l.To, l.Continued, l.FirstRow, l.Rows = from, to, continued, lo, n
		if err := l.Enqueue(q); err != nil {
			return err
		}
	}
	return nil
}

// images implements head. It re-weights on the host: that takes a few vectors.
func (h *bankHead) images(ctx context.Context, j *job, v *view, sc scoring, inside []bool, image []float32) error {
	s := sc.(*bankScoring)
	if len(v.at) != v.n*v.h*v.w || len(image) != v.n {
		return fmt.Errorf("cuda: %d image scores from %d locations of [%d,%d,%d]", len(image), len(v.at), v.n, v.h, v.w)
	}
	scores, won := make([]float32, len(v.at)), make([]int32, len(v.at))
	collect(j, v.s, scores)
	get(j, won, s.winner)
	if j.err != nil {
		return j.err
	}
	top, err := h.fitted.Greatest(scores, v.n, inside)
	if err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	at := make([]int32, len(top))
	var winners []float32
	for n, i := range top {
		image[n], at[n] = scores[i], int32(i)
		winners = append(winners, h.fitted.Row(won[i])...)
	}
	if h.fitted.Supports == 0 {
		return nil
	}
	q := make([]float32, len(winners))
	places, vectors := put(j, at), j.floats(len(q))
	j.run(func(queue kernels.Queue) error { return s.vectors(queue, len(at), places, vectors) })
	collect(j, vectors, q)
	near := h.bank.supports(j, winners, h.fitted.Supports, func(visit func(part)) {
		j.run(func(queue kernels.Queue) error {
			return s.members(queue, func(p part) error { visit(p); return j.err })
		})
	}) // which waits
	j.free(places)
	j.free(vectors)
	if j.err != nil {
		return j.err
	}
	for n, members := range near {
		image[n] = h.fitted.Reweighed(image[n], q[n*h.fitted.Dim:(n+1)*h.fitted.Dim], members)
	}
	return ctx.Err()
}

func (h *bankHead) close() error {
	err := h.bank.Close()
	for _, p := range h.pools {
		err = errors.Join(err, h.d.gpu.Free(p.forward), h.d.gpu.Free(p.back))
	}
	h.pools = nil
	return err
}
