package main

import (
	"context"
	"fmt"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"

	"gorgonia.org/tensor"
)

// firstIterations returns the diary of the first iteration on each of f's images, which the network sees whole.
func firstIterations(ctx context.Context, f *fitted, e executor, y []*tensor.Dense) (diary []loop.Iteration, err error) {
	r, err := refine.New(f.options(1))
	if err != nil {
		return nil, err
	}
	spec := sight.Spec{Backbone: f.backbone, Method: f.method, MaxPixels: 1 << 30, Context: backbone.Whole}
	d, err := place.NewHost(e).Detector(spec)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	c := f.Info.Calibration
	s := &sight.Scorer{
		Detector: d, Spec: spec, Scale: sight.Scale{Q50: c.Q50, Q995: c.Q995}, Rank: sight.Scale{Q50: c.MapQ50, Q995: c.MapQ995},
	}
	defer s.Finish()
	x, v := nd.New(len(y), 3, size, size), nd.New(len(y), size, size)
	all := make([]int, len(y))
	for i, t := range y {
		copy(nd.Data(x)[i*3*size*size:], nd.Data(t))
		all[i], s.Norms, s.Frames = i, append(s.Norms, f.norm), append(s.Frames, &sight.Frame{Y: t})
	}
	z, err := s.Start(ctx, x, nil)
	if err != nil {
		return nil, err
	}
	g := size / s.Stride()
	if err := s.OwnMaps(all, nd.Data(z), g, g, size, size, nil, nd.Data(v)); err != nil {
		return nil, err
	}
	in := make([]refine.Input, len(y))
	for i, t := range y {
		in[i] = refine.Input{
			Y: t, Z: on(s.Scale, nd.Data(z)[i*g*g:(i+1)*g*g], g), V: on(s.Rank, nd.Data(v)[i*size*size:(i+1)*size*size], size),
			Seed: f.seed(t), Memory: f.memory, Diary: true,
		}
	}
	out, err := r.Run(ctx, s, in, []refine.Kind{refine.F2PAD})
	if err != nil {
		return nil, err
	}
	for i, o := range out {
		if len(o.Diary.Iterations) != 1 {
			return nil, fmt.Errorf("image %d: nothing was optimised", i)
		}
		diary = append(diary, o.Diary.Iterations[0])
	}
	return diary, nil
}

// on puts scores or a map on a scale: [side,side].
func on(c sight.Scale, s []float32, side int) *tensor.Dense {
	t := nd.New(side, side)
	for i, v := range s {
		nd.Data(t)[i] = float32(c.Z(v))
	}
	return t
}
