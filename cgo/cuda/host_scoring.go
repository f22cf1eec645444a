package cuda

import (
	"context"
	"fmt"

	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// hostScoring is a scoring of a method that is computed on the host: features come down to it, and their gradients go up. It
// waits for the device, and works on its job's stream whatever queue it is given.
type hostScoring struct {
	ctx    context.Context
	j      *job
	method method.Method
	v      *view

	f []*tensor.Dense
	r *method.Result
}

func (h *hostScoring) streamed() bool { return true }

// score implements scoring.
func (h *hostScoring) score(kernels.Queue) error {
	v := h.v
	h.f = fetch(h.j, v.layers, v.n)
	if h.j.err != nil {
		return h.j.err
	}
	h.r = &method.Result{S: nd.New(v.n, v.h, v.w), Where: make([]bool, v.n*v.h*v.w), Gradient: v.gradient, Origins: v.origins}
	for _, at := range v.at {
		h.r.Where[at] = true
	}
	if err := h.method.Score(h.ctx, h.f, h.r); err != nil {
		return fmt.Errorf("%s: %w", h.method.Name(), err)
	}
	s := make([]float32, len(v.at))
	for i, at := range v.at {
		s[i] = nd.Data(h.r.S)[at]
	}
	h.j.write(v.s, kernels.Bytes(s))
	return h.j.err
}

// grad implements scoring.
func (h *hostScoring) grad(kernels.Queue) error {
	v := h.v
	ds, dS := make([]float32, len(v.at)), nd.New(v.n, v.h, v.w)
	get(h.j, ds, v.ds)
	for i, at := range v.at {
		nd.Data(dS)[at] = ds[i]
	}
	df := make([]*tensor.Dense, len(h.f))
	for l, f := range h.f {
		df[l] = nd.New(f.Shape()...)
	}
	if h.j.err != nil {
		return h.j.err
	}
	if err := h.method.Grad(h.ctx, h.f, h.r, dS, df); err != nil {
		return fmt.Errorf("gradient of %s: %w", h.method.Name(), err)
	}
	for l, d := range df {
		h.j.write(v.layers[l].df, kernels.Bytes(channelsLast(d)))
	}
	return h.j.err
}

// fetch brings features down: [n,d,h,w] for each layer.
func fetch(j *job, layers []layerView, n int) (all []*tensor.Dense) {
	down := make([][]float32, len(layers))
	for l, v := range layers {
		down[l] = make([]float32, n*v.h*v.w*v.d)
		collect(j, v.f, down[l])
	}
	if j.err == nil {
		j.err = j.Sync()
	}
	for l, v := range layers {
		t := nd.New(n, v.d, v.h, v.w)
		to, cells := nd.Data(t), v.h*v.w
		for i := range n {
			for c := range v.d {
				for p := range cells {
					to[(i*v.d+c)*cells+p] = down[l][(i*cells+p)*v.d+c]
				}
			}
		}
		all = append(all, t)
	}
	return all
}

// channelsLast is [n,d,h,w] as [n,h,w,d].
func channelsLast(t *tensor.Dense) []float32 {
	s, from := t.Shape(), nd.Data(t)
	d, cells := s[1], s[2]*s[3]
	to := make([]float32, len(from))
	for i := range s[0] {
		for c := range d {
			for p := range cells {
				to[(i*cells+p)*d+c] = from[(i*d+c)*cells+p]
			}
		}
	}
	return to
}
