package goexec

import (
	"testing"

	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"

	"github.com/stretchr/testify/require"
)

// The shapes are those of the built-in backbone on a 256x256 image, their gradients, and a layer of ResNet-18.
func BenchmarkConv(b *testing.B) {
	type ints = []int
	for _, c := range []struct {
		name string
		op   graph.Op
		x, w []int
		attr graph.Attrs
	}{
		{"9x9 1 to 12", graph.Conv, ints{1, 264, 264}, ints{12, 1, 9, 9}, nil},
		{"9x9 6 groups to 72", graph.Conv, ints{6, 136, 136}, ints{72, 1, 9, 9}, graph.Attrs{"group": 6}},
		{"blur 1x21 stride 4", graph.Conv, ints{6, 276, 276}, ints{6, 1, 1, 21},
			graph.Attrs{"group": 6, "strides": ints{1, 4}}},
		{"blur 21x1 stride 4", graph.Conv, ints{6, 276, 64}, ints{6, 1, 21, 1}, graph.Attrs{"group": 6, "strides": ints{4, 1}}},
		{"blur 1x7", graph.Conv, ints{6, 134, 134}, ints{6, 1, 1, 7}, graph.Attrs{"group": 6}},
		{"1x1 150 to 48", graph.Conv, ints{150, 64, 64}, ints{48, 150, 1, 1}, nil},
		{"9x9 12 to 1", graph.Conv, ints{12, 256, 256}, ints{1, 12, 9, 9}, graph.Attrs{"pads": ints{8, 8, 8, 8}}},
		{"9x9 72 to 6 groups", graph.Conv, ints{72, 128, 128}, ints{6, 12, 9, 9},
			graph.Attrs{"group": 6, "pads": ints{8, 8, 8, 8}}},
		{"transposed 1x21 stride 4", graph.ConvTranspose, ints{6, 256, 64}, ints{6, 1, 1, 21},
			graph.Attrs{"group": 6, "strides": ints{1, 4}, "output_padding": ints{0, 3}}},
		{"transposed 21x1 stride 4", graph.ConvTranspose, ints{6, 64, 276}, ints{6, 1, 21, 1},
			graph.Attrs{"group": 6, "strides": ints{4, 1}, "output_padding": ints{3, 0}}},
		{"3x3 64 to 64", graph.Conv, ints{64, 56, 56}, ints{64, 64, 3, 3}, graph.Attrs{"pads": ints{1, 1, 1, 1}}},
		{"3x3 512 to 512", graph.Conv, ints{512, 7, 7}, ints{512, 512, 3, 3}, graph.Attrs{"pads": ints{1, 1, 1, 1}}},
		{"3x3 depthwise stride 2", graph.Conv, ints{64, 56, 56}, ints{64, 1, 3, 3},
			graph.Attrs{"group": 64, "pads": ints{1, 1, 1, 1}, "strides": ints{2, 2}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n, err := newConvCase(gemm.Best(), c.op, c.x, c.w, nil, c.attr)
			require.NoError(b, err)
			x, y := make([]float32, n.x.PerImage()), make([]float32, n.y.PerImage())
			wave(x)
			cl := &call{in: [][]float32{x}, out: y, scratch: make([]float32, n.k.scratch)}
			for b.Loop() {
				n.k.run(cl, 0, n.k.units)
			}
			macs := len(y) * c.w[1] * c.w[2] * c.w[3] // those with padding included
			if c.op == graph.ConvTranspose {
				macs = len(x) * c.w[1] * c.w[2] * c.w[3]
			}
			b.ReportMetric(2*float64(macs)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
