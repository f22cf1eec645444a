package main

import (
	"context"
	"fmt"

	"f2pad/engine/backbone"
	"f2pad/engine/exec"
	"f2pad/engine/graph"
	"f2pad/engine/method"
	"f2pad/engine/nd"
	"f2pad/engine/refine"

	"gorgonia.org/tensor"
)

// whole scores batches of whole images of one size, as the engine's scorer does, whose diary it does not show.
type whole struct {
	stride  int
	norm    backbone.Affine
	method  method.Method
	scores  scale // of the method's scores
	maps    scale // of its maps
	net     exec.Net
	outputs []graph.Shape
}

// scale puts quantiles of held-out normal images at 0 and 1.
type scale struct{ q50, q995 float64 }

func (c scale) of(s float32) float64 { return (float64(s) - c.q50) / (c.q995 - c.q50) }

var _ refine.Scorer = (*whole)(nil)

func newWhole(f *fitted, e executor) (*whole, error) {
	g, err := f.backbone.Graph(size, size)
	if err != nil {
		return nil, err
	}
	shapes, err := g.Infer()
	if err != nil {
		return nil, err
	}
	c := f.Info.Calibration
	w := &whole{
		stride: f.backbone.Stride(), norm: f.norm, method: f.method,
		scores: scale{c.Q50, c.Q995}, maps: scale{c.MapQ50, c.MapQ995},
	}
	for _, out := range g.Outputs {
		w.outputs = append(w.outputs, shapes[out])
	}
	w.net, err = e.Compile(g, true)
	return w, err
}

func (w *whole) Stride() int { return w.stride }

// features runs the network on x and returns the features, with tensors of the same shapes for their gradients.
func (w *whole) features(ctx context.Context, x *tensor.Dense) (f, df []*tensor.Dense, err error) {
	sh := x.Shape()
	in := nd.New(sh...)
	plane := sh[2] * sh[3]
	for i, v := range nd.Data(x) {
		c := i / plane % 3
		nd.Data(in)[i] = v*w.norm.Scale[c] + w.norm.Shift[c]
	}
	for _, s := range w.outputs {
		shape := append([]int{sh[0]}, s[1:]...)
		f, df = append(f, nd.New(shape...)), append(df, nd.New(shape...))
	}
	return f, df, w.net.Forward(ctx, []*tensor.Dense{in}, f)
}

// score returns the scores [N,h,w] of x as the method gives them.
func (w *whole) score(ctx context.Context, x *tensor.Dense) (*tensor.Dense, error) {
	f, _, err := w.features(ctx, x)
	if err != nil {
		return nil, err
	}
	sh := x.Shape()
	r := &method.Result{S: nd.New(sh[0], sh[2]/w.stride, sh[3]/w.stride)}
	return r.S, w.method.Score(ctx, f, r)
}

// rank fills v [N,H,W] with the calibrated maps of the scores s [N,h,w].
func (w *whole) rank(s, v *tensor.Dense) {
	h, width, H, W := s.Shape()[1], s.Shape()[2], v.Shape()[1], v.Shape()[2]
	for i := range s.Shape()[0] {
		method.BaseMap(nd.Data(s)[i*h*width:(i+1)*h*width], h, width, H, W, w.method.Map(), nd.Data(v)[i*H*W:(i+1)*H*W])
	}
	for p, b := range nd.Data(v) {
		nd.Data(v)[p] = float32(w.maps.of(b))
	}
}

func (w *whole) Map(ctx context.Context, _ []int, x *tensor.Dense, _ []bool, v *tensor.Dense) error {
	s, err := w.score(ctx, x)
	if err == nil {
		w.rank(s, v)
	}
	return err
}

func (w *whole) Gradient(ctx context.Context, x *tensor.Dense, where []bool, e refine.Energy, energy []float64, dx *tensor.Dense) error {
	f, df, err := w.features(ctx, x)
	if err != nil {
		return err
	}
	n, h, width := x.Shape()[0], x.Shape()[2]/w.stride, x.Shape()[3]/w.stride
	r := &method.Result{S: nd.New(n, h, width), Where: where, Gradient: true}
	if err := w.method.Score(ctx, f, r); err != nil {
		return err
	}
	dS := nd.New(n, h, width)
	clear(energy)
	for i, on := range where {
		if on {
			z := w.scores.of(nd.Data(r.S)[i])
			energy[i/(h*width)] += e.Value(z)
			nd.Data(dS)[i] = float32(e.Slope(z) / (w.scores.q995 - w.scores.q50))
		}
	}
	if err := w.method.Grad(ctx, f, r, dS, df); err != nil {
		return err
	}
	if err := w.net.Backward(ctx, df, []*tensor.Dense{dx}); err != nil {
		return err
	}
	plane := x.Shape()[2] * x.Shape()[3]
	for i := range nd.Data(dx) {
		nd.Data(dx)[i] *= w.norm.Scale[i/plane%3]
	}
	return nil
}

// first returns the diary of the first iteration on each of y.
func (w *whole) first(ctx context.Context, f *fitted, y []*tensor.Dense) ([]refine.Iteration, error) {
	r, err := refine.New(f.options(1))
	if err != nil {
		return nil, err
	}
	x := nd.New(len(y), 3, size, size)
	for i, t := range y {
		copy(nd.Data(x)[i*3*size*size:], nd.Data(t))
	}
	s, err := w.score(ctx, x)
	if err != nil {
		return nil, err
	}
	v := nd.New(len(y), size, size)
	w.rank(s, v)
	for i, raw := range nd.Data(s) {
		nd.Data(s)[i] = float32(w.scores.of(raw))
	}
	in := make([]refine.Input, len(y))
	g := size / w.stride
	for i, t := range y {
		in[i] = refine.Input{
			Y: t, Z: nd.Wrap(nd.Data(s)[i*g*g:(i+1)*g*g], g, g), V: nd.Wrap(nd.Data(v)[i*size*size:(i+1)*size*size], size, size),
			Seed: f.seed(t), Memory: f.memory, Diary: true,
		}
	}
	out, err := r.Run(ctx, w, in, []refine.Kind{refine.F2PAD})
	if err != nil {
		return nil, err
	}
	var diary []refine.Iteration
	for i, o := range out {
		if len(o.Diary.Iterations) != 1 {
			return nil, fmt.Errorf("image %d: nothing was optimised", i)
		}
		diary = append(diary, o.Diary.Iterations[0])
	}
	return diary, nil
}
