package main

import (
	"fmt"
	"math"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"
)

// convolutions are the large ones of a ResNet-18 on images of 256 pixels: what a network's time is made of.
func convolutions() []job {
	const batch = 8
	var all []job
	for _, c := range []struct{ channels, size int }{{64, 64}, {128, 32}, {256, 16}} {
		all = append(all, job{
			name: fmt.Sprintf("convolution 3x3, %d to %d channels at %dx%d, batch %d", c.channels, c.channels, c.size, c.size, batch),
			do:   func(m *meter, r *row) error { return m.convolution(r, c.channels, c.size, batch) },
		})
	}
	return all
}

func (m *meter) convolution(r *row, channels, size, batch int) error {
	x := normal(1, 1, batch, channels, size, size)
	w := normal(2, 1/math.Sqrt(9*float64(channels)), channels, channels, 3, 3)
	bias := normal(3, 1, channels)
	b := graph.NewBuilder("convolution")
	in := b.Input("image", graph.N, channels, size, size)
	out := b.Conv(in, b.Const(w), b.Const(bias), graph.Attrs{"pads": []int{1, 1, 1, 1}})
	g, err := b.Graph(out)
	if err != nil {
		return err
	}
	if r.Work, err = operations(g); err != nil {
		return err
	}
	r.Work *= float64(batch)
	params := map[string]any{"channels": channels, "size": size, "batch": batch}
	for name, v := range map[string][]float32{"image": nd.Data(x), "weights": nd.Data(w), "bias": nd.Data(bias)} {
		if params[name], err = m.file(name, v); err != nil {
			return err
		}
	}
	return m.compareNetworks(r, g, x, nil, "conv", params)
}
