package cuda

import "f2pad.example/kernels"

// embedding is how the vectors of a view's locations come of its layers, and their gradients go back.
type embedding struct {
	v       *view
	forward []kernels.Embed         // of each layer; At and Q are the callers'
	back    []kernels.EmbedGradient // so are Row and DQ
}

// stencils say what the locations along an axis of the view read of so many cells: [1 or 3][locations].
type stencils func(cells, locations int) [][][]kernels.AxisTap

// embed brings to the device what every layer of width channels is read with. The vectors have d values.
func (v *view) embed(j *job, widths []int, d int, axis stencils) (*embedding, error) {
	if err := v.check(widths); err != nil {
		return nil, err
	}
	e := &embedding{v: v}
	tables := func(cells, locations int) (forward, back kernels.Ptr) {
		s := axis(cells, locations)
		words, err := kernels.EmbedAxis(s, cells)
		if err != nil {
			j.fail(err)
			return 0, 0
		}
		if forward = put(j, words); v.gradient {
			back = put(j, kernels.EmbedAxisBack(s, cells))
		}
		return forward, back
	}
	first := 0
	for _, la := range v.layers {
		layer := kernels.EmbedLayer{
			Windows: v.n, H: v.h, W: v.w, LayerH: la.h, LayerW: la.w, C: la.d, D: d, First: first, Kept: la.d,
		}
		first += la.d
		forward, back := layer, layer
		forward.Down, back.Down = tables(la.h, v.h)
		forward.Across, back.Across = tables(la.w, v.w)
		e.forward = append(e.forward, kernels.Embed{EmbedLayer: forward, F: la.f})
		e.back = append(e.back, kernels.EmbedGradient{EmbedLayer: back, To: v.n, DF: la.df})
	}
	return e, nil
}

// vectors enqueues the vectors q of so many locations.
func (e *embedding) vectors(queue kernels.Queue, items int, at, q kernels.Ptr) error {
	for _, l := range e.forward {
		l.Items, l.At, l.Q = items, at, q
		if err := l.Enqueue(queue); err != nil {
			return err
		}
	}
	return nil
}
