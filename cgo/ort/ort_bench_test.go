//go:build cgo

package ort

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/exectest"
	"f2pad.example/engine/exec/goexec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// BenchmarkNetworks times ONNX Runtime and pure Go by turns, forward and gradient, and reports medians: of ONNX Runtime ms
// and GFLOP/s of the forward and ms of both, of which ratio is the forward's multiple; and how many times longer Go takes.
func BenchmarkNetworks(b *testing.B) {
	const size = 256
	lite, err := exectest.Lite(size)
	require.NoError(b, err)
	graphs := []*graph.Graph{lite}
	for _, a := range []architecture{resnet18, wide50} {
		graphs = append(graphs, a.build(b, size))
	}
	for _, g := range graphs {
		macs := multiplyAdds(b, g)
		for _, images := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s of %d", g.Name, images), func(b *testing.B) {
				data := newArrays(b, g, images)
				fast, slow := compile(b, open(b, Options{}), g, true), compile(b, goexec.New(), g, true)
				var forward, both, goForward, goBoth times
				time1 := func(n exec.Net, forward, both *times) {
					ctx, start := context.Background(), time.Now()
					require.NoError(b, n.Forward(ctx, data.x, data.y))
					*forward = append(*forward, time.Since(start))
					require.NoError(b, n.Backward(ctx, data.dy, data.dx))
					*both = append(*both, time.Since(start))
				}
				time1(fast, new(times), new(times)) // makes the buffers
				time1(slow, new(times), new(times))
				for b.Loop() {
					time1(fast, &forward, &both)
					time1(slow, &goForward, &goBoth)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(1e3*forward.median(), "forward-ms")
				b.ReportMetric(2e-9*macs*float64(images)/forward.median(), "GFLOP/s")
				b.ReportMetric(1e3*both.median(), "both-ms")
				b.ReportMetric(both.median()/forward.median(), "ratio")
				b.ReportMetric(goForward.median()/forward.median(), "go-forward")
				b.ReportMetric(goBoth.median()/both.median(), "go-both")
			})
		}
	}
}

// multiplyAdds counts those of a graph's convolutions.
func multiplyAdds(t testing.TB, g *graph.Graph) (sum float64) {
	shapes, err := g.Infer()
	require.NoError(t, err)
	for _, n := range g.Nodes {
		if n.Op == graph.Conv {
			sum += float64(shapes[n.Out].PerImage() * nd.Size(shapes[n.In[1]][1:]...))
		}
	}
	return sum
}

type times []time.Duration

// median in seconds.
func (t times) median() float64 {
	slices.Sort(t)
	return t[len(t)/2].Seconds()
}

// BenchmarkMaxPoolGrad is ResNet's: in Go here.
func BenchmarkMaxPoolGrad(b *testing.B) {
	n := &graph.Node{Op: graph.MaxPoolGrad, In: []string{"dy", "x"}, Out: "dx", Attr: graph.Attrs{
		"kernel_shape": []int{3, 3}, "strides": []int{2, 2}, "pads": []int{1, 1, 1, 1}}}
	h, err := maxPoolGrad(n, map[string]graph.Shape{"dy": {graph.N, 64, 64, 64}, "x": {graph.N, 64, 128, 128}})
	require.NoError(b, err)
	dy, x, dx := make([]float32, 64*64*64), make([]float32, 64*128*128), make([]float32, 64*128*128)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range x {
		x[i] = max(0, rng.Float32()-0.5)
	}
	scratch := make([]int64, h.scratch)
	for b.Loop() {
		h.run([][]float32{dy, x}, dx, scratch, 0, h.planes)
	}
}
