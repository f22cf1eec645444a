package cuda

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"f2pad.example/engine/method/padim"
	"f2pad.example/kernels"
)

// gaussiansHead is PaDiM's: distances to the Gaussians of the locations' cells.
type gaussiansHead struct {
	fitted    padim.Gaussians
	widths    []int // channels of each layer
	gaussians *gaussians
	scratch   int // headScratch
}

func (d *Device) gaussiansHead(m *padim.Model) (head, error) {
	h := &gaussiansHead{fitted: m.Gaussians(), widths: m.Shape().Widths, scratch: headScratch}
	if k := h.fitted.K(); k > kernels.MahalanobisMaxK {
		return nil, fmt.Errorf("cuda: Gaussians of %d values, of more than %d: %w", k, kernels.MahalanobisMaxK, errNoHead)
	}
	var err error
	if h.gaussians, err = d.newGaussians(h.fitted.Mean, h.fitted.Factor, h.fitted.K()); err != nil {
		return nil, err
	}
	return h, nil
}

// gaussiansScoring has the wanted locations in the order of their Gaussians, which all windows then share the reading of: those are the
// rows of vectors and of their gradients.
type gaussiansScoring struct {
	*embedding
	at, order kernels.Ptr // [L] int32: a row's location, and its index in v.at
	x, unit   kernels.Ptr // vectors of a part of the rows, and [L,K] the gradients of all distances
	parts     []gaussiansPart
	measure   kernels.Mahalanobis
}

// gaussiansPart is some rows, whose vectors are there at once.
type gaussiansPart struct {
	first, rows, groups int
	group               kernels.Ptr
}

func (h *gaussiansHead) view(j *job, v *view) (scoring, error) {
	for n := range v.n {
		row, col := v.origin(n)
		if err := h.fitted.Cover(v.h, v.w, row, col); err != nil {
			return nil, fmt.Errorf("cuda: %w", err)
		}
	}
	k := h.fitted.K()
	e, err := v.embed(j, h.widths, k, func(cells, locations int) [][][]kernels.AxisTap {
		taps := make([][]kernels.AxisTap, locations)
		for i := range taps {
			taps[i] = []kernels.AxisTap{{Offset: padim.Cell(i, cells, locations), Weight: 1}}
		}
		return [][][]kernels.AxisTap{taps}
	})
	if err != nil {
		return nil, err
	}
	first := 0
	for l, kept := range h.fitted.Channels {
		channels, values := make([]int32, len(kept)), slices.Repeat([]int32{-1}, h.widths[l])
		for i, c := range kept {
			channels[i], values[c] = int32(c), int32(first+i)
		}
		forward, back := &e.forward[l], &e.back[l]
		forward.First, forward.Kept = first, len(kept)
		if forward.Channels = put(j, channels); v.gradient {
			back.First, back.Kept, back.Values = first, len(kept), put(j, values)
		}
		first += len(kept)
	}

	state := make([]int32, len(v.at))
	order := make([]int32, len(v.at))
	for i, at := range v.at {
		row, col := v.origin(int(at) / (v.h * v.w))
		order[i], state[i] = int32(i), int32(h.fitted.Of(row+int(at)/v.w%v.h, col+int(at)%v.w))
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(state[a], state[b]) })
	at, sorted, row := make([]int32, len(order)), make([]int32, len(order)), slices.Repeat([]int32{-1}, v.n*v.h*v.w)
	for r, i := range order {
		at[r], sorted[r], row[v.at[i]] = v.at[i], state[i], int32(r)
	}
	step := max(1, h.scratch/(4*k))
	s := &gaussiansScoring{
		embedding: e, at: put(j, at), order: put(j, order), x: j.floats(min(step, len(at)) * k),
		measure: kernels.Mahalanobis{
			Gaussians: h.gaussians.states, K: k, Mean: h.gaussians.mean, Factor: h.gaussians.factor, S: v.s,
		},
	}
	for lo := 0; lo < len(at); lo += step {
		hi := min(lo+step, len(at))
		groups := kernels.MahalanobisGroups(sorted[lo:hi])
		s.parts = append(s.parts, gaussiansPart{lo, hi - lo, len(groups) / 3, put(j, groups)})
	}
	if v.gradient {
		s.unit = j.floats(len(at) * k)
		rows := put(j, row)
		for l := range e.back {
			g := &e.back[l]
			g.Rows, g.Row, g.DQ, g.Weight, g.Item = len(at), rows, s.unit, v.ds, v.item
		}
	}
	return s, j.err
}

func (s *gaussiansScoring) score(q kernels.Queue) error {
	for _, p := range s.parts {
		if err := s.vectors(q, p.rows, s.at.Plus(p.first), s.x); err != nil {
			return err
		}
		m := s.measure
		m.Items, m.Groups, m.Group, m.X, m.Order = p.rows, p.groups, p.group, s.x, s.order.Plus(p.first)
		if s.v.gradient {
			m.Unit = s.unit.Plus(p.first * m.K)
		}
		if err := m.Enqueue(q); err != nil {
			return err
		}
	}
	return nil
}

func (s *gaussiansScoring) grad(q kernels.Queue) error {
	for _, l := range s.back {
		if err := l.Enqueue(q); err != nil {
			return err
		}
	}
	return nil
}

func (s *gaussiansScoring) streamed() bool { return false }

// images leaves the scores as they are: PaDiM's are the maxima of its maps.
func (h *gaussiansHead) images(context.Context, *job, *view, scoring, []bool, []float32) error {
	return nil
}

func (h *gaussiansHead) close() error { return h.gaussians.Close() }
