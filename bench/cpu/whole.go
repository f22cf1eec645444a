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
	stride    int
	norm      backbone.Affine
	method    method.Method
	q50, q995 float64
	net       exec.Net
	outputs   []graph.Shape
}

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
	w := &whole{stride: f.backbone.Stride(), norm: f.norm, method: f.method, q50: c.Q50, q995: c.Q995}
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

func (w *whole) z(s float32) float64 { return (float64(s) - w.q50) / (w.q995 - w.q50) }

func (w *whole) Score(ctx context.Context, x, z *tensor.Dense) error {
	f, _, err := w.features(ctx, x)
	if err != nil {
		return err
	}
	r := &method.Result{S: z}
	if err := w.method.Score(ctx, f, r); err != nil {
		return err
	}
	for i, s := range nd.Data(z) {
		nd.Data(z)[i] = float32(w.z(s))
	}
	return nil
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
			z := w.z(nd.Data(r.S)[i])
			energy[i/(h*width)] += e.Value(z)
			nd.Data(dS)[i] = float32(e.Slope(z) / (w.q995 - w.q50))
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
	g := size / w.stride
	z := nd.New(len(y), g, g)
	if err := w.Score(ctx, x, z); err != nil {
		return nil, err
	}
	in := make([]refine.Input, len(y))
	for i, t := range y {
		in[i] = refine.Input{Y: t, Z: nd.Wrap(nd.Data(z)[i*g*g:(i+1)*g*g], g, g), Seed: f.seed(t), Memory: f.memory, Diary: true}
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
