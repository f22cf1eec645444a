package cuda

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"f2pad.example/engine/method/cflow"
	"f2pad.example/kernels"
)

// flowHead is CFLOW-AD's: a flow for each layer, whose likelihoods make a score together.
type flowHead struct {
	d       *Device
	fitted  cflow.Plain
	widths  []int          // channels of each layer
	flows   []kernels.Flow // of each layer, its weights on the device; what is measured is a view's
	fusion  kernels.FlowFusion
	held    []kernels.Ptr
	scratch int // headScratch
}

func (d *Device) flowHead(m *cflow.Model) (head, error) {
	h := &flowHead{d: d, fitted: m.Plain(), scratch: headScratch}
	switch h.fitted.Fuse {
	case cflow.FuseSum:
		h.fusion = kernels.FlowSum
	case cflow.FuseRoot:
		h.fusion = kernels.FlowRoot
	case cflow.FuseMean:
		h.fusion = kernels.FlowMean
	default:
		return nil, fmt.Errorf("cuda: fusion %q: %w", h.fitted.Fuse, errNoHead)
	}
	for _, l := range h.fitted.Layers {
		if l.D > kernels.FlowMaxD {
			return nil, fmt.Errorf("cuda: a flow of %d values, of more than %d: %w", l.D, kernels.FlowMaxD, errNoHead)
		}
		h.widths = append(h.widths, l.D)
	}
	err := d.do(context.Background(), "flows", func(j *job) {
		j.lasting = true
		for i := range h.fitted.Layers {
			h.upload(j, &h.fitted.Layers[i])
		}
		if j.err == nil {
			h.held, j.held = j.held, nil
		}
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// upload brings a flow to the device; the host keeps what a view asks for.
func (h *flowHead) upload(j *job, l *cflow.PlainLayer) {
	model := kernels.FlowModel{
		D: l.D, Hidden: l.Hidden, H: max(l.H, 1), W: max(l.W, 1), Mean: l.Mean, Whiten: l.Whiten, Clamp: float32(l.Clamp), Constant: float32(l.Constant),
	}
	for _, b := range l.Blocks {
		model.Blocks = append(model.Blocks, kernels.FlowBlock(b))
	}
	t, err := kernels.PackFlow(model)
	if err != nil {
		j.fail(err)
		return
	}
	f := kernels.Flow{Processors: h.d.sms, WeightsAt: put(j, t.Weights), StreamsAt: put(j, t.Streams), ValuesAt: put(j, t.Values)}
	t.Weights, t.Values = nil, nil
	f.FlowTables, l.Blocks, l.Mean, l.Whiten = t, nil, nil, nil
	h.flows = append(h.flows, f)
}

// flowScoring measures the cells that the wanted locations read, and fuses what is found.
type flowScoring struct {
	flows []kernels.Flow // of each layer that has any
	fuse  kernels.FlowFuse
	back  []kernels.FlowSpread // of each layer, where gradient
}

func (h *flowHead) view(j *job, v *view) (scoring, error) {
	if err := v.check(h.widths); err != nil {
		return nil, err
	}
	grid := kernels.FlowGrid{N: v.n, H: v.h, W: v.w, Scores: len(v.at), Fusion: h.fusion, Total: h.fitted.Total, Layers: len(v.layers)}
	s := &flowScoring{fuse: kernels.FlowFuse{Items: v.items, S: v.s}}
	layers, taps := make([]kernels.FlowLayer, len(v.layers)), []kernels.FlowTap{}
	values := 0 // of all q
	for l, la := range v.layers {
		fitted := &h.fitted.Layers[l]
		layers[l] = kernels.FlowLayer{
			Largest: fitted.Largest, Range: fitted.Largest - fitted.Average, H: int32(la.h), W: int32(la.w), Q: int32(values),
			Rows: int32(len(taps)), Cols: int32(len(taps) + v.h),
		}
		values += v.n * la.h * la.w
		for _, up := range [][]cflow.PlainTap{cflow.Up(la.h, v.h), cflow.Up(la.w, v.w)} {
			for _, t := range up {
				taps = append(taps, kernels.FlowTap{Lo: int32(t.Lo), W0: t.W0, W1: t.W1})
			}
		}
	}
	if values > math.MaxInt32 {
		return nil, fmt.Errorf("cuda: %d windows of %dx%d locations are too many", v.n, v.h, v.w)
	}
	spans, starts := kernels.FlowSpans(taps, layers, v.h, v.w)
	for l := range layers {
		layers[l].Spans = starts[l]
	}
	grid.Q, grid.Taps, grid.Table = j.floats(values), put(j, kernels.FlowBytes(taps)), put(j, kernels.FlowBytes(layers))
	read := kernels.Ptr(0)
	if v.gradient {
		grid.Logs, read = j.room(len(v.at), 8), put(j, spans)
	}
	s.fuse.FlowGrid = grid

	scratch := 0
	for l := range v.layers {
		f, index, err := h.measure(j, v, l, taps[layers[l].Rows:][:v.h], taps[layers[l].Cols:][:v.w])
		if err != nil {
			return nil, err
		}
		f.Q = grid.Q.Plus(int(layers[l].Q))
		if v.gradient {
			scratch = max(scratch, f.ScratchBytes())
			back := kernels.FlowSpread{
				FlowGrid: grid, Layer: l, Cells: v.layers[l].h * v.layers[l].w, D: f.D, Item: v.item, Index: put(j, index), Spans: read,
				DS: v.ds, Unit: f.Unit, DF: v.layers[l].df,
			}
			back.Scores = max(back.Scores, 1) // where nothing is wanted gradients are 0
			s.back = append(s.back, back)
		}
		if f.Items > 0 {
			s.flows = append(s.flows, f)
		}
	}
	if scratch > 0 {
		room := j.room(scratch, 1) // one layer after the other
		for i := range s.flows {
			s.flows[i].Scratch = room
		}
	}
	return s, j.err
}

// measure is layer l's flow for the cells that the wanted locations read; index is the place of each cell [n,h,w] among them, or -1.
func (h *flowHead) measure(j *job, v *view, l int, rows, cols []kernels.FlowTap) (f kernels.Flow, index []int32, err error) {
	la, fitted := v.layers[l], &h.fitted.Layers[l]
	origins := make([][2]int, v.n)
	for n := range origins {
		row, col := v.origin(n)
		if origins[n], err = fitted.Place([2]int{la.h, la.w}, [2]int{v.h, v.w}, row, col); err != nil {
			return f, nil, fmt.Errorf("cuda: layer %d: %w", l+1, err)
		}
	}
	index = slices.Repeat([]int32{-1}, v.n*la.h*la.w)
	for _, p := range v.at {
		n, row, col := int(p)/(v.h*v.w), rows[int(p)/v.w%v.h], cols[int(p)%v.w]
		for a, wy := range []float32{row.W0, row.W1} {
			for b, wx := range []float32{col.W0, col.W1} {
				if wy*wx != 0 {
					index[(n*la.h+int(row.Lo)+a)*la.w+int(col.Lo)+b] = 0
				}
			}
		}
	}
	var at, places []int32
	for cell, i := range index {
		if i < 0 {
			continue
		}
		index[cell] = int32(len(at))
		n, row, col := cell/(la.h*la.w), cell/la.w%la.h, cell%la.w
		if at = append(at, int32(cell)); fitted.H == 0 {
			places = append(places, 0, 0)
		} else {
			places = append(places, int32(origins[n][0]+row), int32(origins[n][1]+col))
		}
	}
	f = h.flows[l]
	f.Items, f.X, f.At, f.Places = len(at), la.f, put(j, at), put(j, places)
	if v.gradient {
		f.Unit = j.floats(len(at) * f.D)
		for f.ScratchBytes() > h.scratch && f.Processors > 1 {
			f.Processors /= 2
		}
	}
	return f, index, nil
}

func (s *flowScoring) score(q kernels.Queue) error {
	if len(s.flows) == 0 {
		return nil
	}
	for _, f := range s.flows {
		if err := f.Enqueue(q); err != nil {
			return err
		}
	}
	return s.fuse.Enqueue(q)
}

func (s *flowScoring) grad(q kernels.Queue) error {
	for _, b := range s.back {
		if err := b.Enqueue(q); err != nil {
			return err
		}
	}
	return nil
}

func (s *flowScoring) streamed() bool { return false }

// images leaves the scores as they are: CFLOW-AD's are the maxima of its maps.
func (h *flowHead) images(context.Context, *job, *view, scoring, []bool, []float32) error {
	return nil
}

func (h *flowHead) close() error {
	var errs []error
	for _, p := range h.held {
		errs = append(errs, h.d.gpu.Free(p))
	}
	h.held = nil
	return errors.Join(errs...)
}
