package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/backbone/backbonetest"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
	"f2pad.example/engine/synth"

	"github.com/stretchr/testify/require"
)

// counting notes the share of the cells that the optimisation of an image looks at, and its time.
type counting struct {
	*sight.Scorer
	share float64
	took  time.Duration
}

func (c *counting) Optimise(ctx context.Context, problems []loop.Problem, o *loop.Options) ([][]loop.Iteration, error) {
	n := 0
	for _, on := range problems[0].Cells {
		if on {
			n++
		}
	}
	c.share = float64(n) / float64(len(problems[0].Cells))
	begin := time.Now()
	defer func() { c.took += time.Since(begin) }()
	return c.Scorer.Optimise(ctx, problems, o)
}

// BenchmarkWindows refines a batch of four images of which a square of 2 % is suspicious, with a network as deep and wide as ResNet-18's
// layers 1 to 3: the time of the optimisation with windows as a share of that on whole images, run in turn, and
// the same of the refinement, which asks whole images further questions. cells-% are those that the data term counts.
func BenchmarkWindows(b *testing.B) {
	dir := b.TempDir()
	net := backbonetest.Write(b, "net.onnx", backbonetest.ResidualOf(b, 64, 64, 1, backbonetest.ResNet18))
	for _, px := range []int{256, 512} {
		data := filepath.Join(dir, fmt.Sprint(px))
		require.NoError(b, synth.Write(b.Context(), data, synth.Options{Texture: "weave", Train: 6, Test: 1, Size: px, Seed: 3}, nil))
		set, err := dataset.MVTec(data)
		require.NoError(b, err)
		for _, name := range Methods() {
			b.Run(fmt.Sprint(name, "/", px), func(b *testing.B) {
				m, err := Fit(b.Context(), set.Train, FitOptions{
					Method: name, Size: Size{Px: px}, Backbone: net, Layers: backbonetest.Layers, Paintings: 2,
				}, nil)
				require.NoError(b, err)
				optimiseAll(m)
				e, err := New(m, Options{})
				require.NoError(b, err)
				defer e.Close()
				f := e.decode(set.Test[0], ample).frame
				cells := px / 4
				z := nd.New(cells, cells)
				side := 1 // cells; the region is dilated by two more on each side
				for ; (4*side+18)*(4*side+18) < px*px*2/100; side++ {
				}
				for i := range side {
					for j := range side {
						nd.Data(z)[(cells/2+i)*cells+cells/2+j] = 2
					}
				}
				const batch = 4
				v := nd.New(px, px)
				method.BaseMap(nd.Data(z), cells, cells, px, px, m.method.Map(), nd.Data(v))
				in := slices.Repeat([]refine.Input{{Y: f.Y, Z: z, V: v, Seed: 1, Memory: m.memory}}, batch)
				x := nd.Wrap(slices.Repeat(nd.Data(f.Y), batch), batch, 3, px, px)
				norms := slices.Repeat([]backbone.Affine{m.backbone.Normalize(f.Y)}, batch)
				cal := m.Info.Calibration
				share := 0.0
				windows := sight.Spec{Backbone: m.backbone, Method: m.method, MaxPixels: defaultMaxPixels}
				uncut := sight.Spec{Backbone: m.backbone, Method: m.method, MaxPixels: 1 << 30, Context: backbone.Whole}
				refineOn := func(d sight.Detector, s sight.Spec) (optimised, all time.Duration) {
					sc := &counting{Scorer: &sight.Scorer{
						Detector: d, Spec: s, Scale: cal.scores(), Rank: cal.maps(), Norms: norms, Frames: slices.Repeat([]*sight.Frame{f}, batch),
					}}
					defer sc.Finish()
					_, err := sc.Start(b.Context(), x, nil)
					require.NoError(b, err)
					begin := time.Now()
					_, err = e.at[0].refiner.Run(b.Context(), sc, in, []refine.Kind{refine.F2PAD})
					require.NoError(b, err)
					share = sc.share
					return sc.took, time.Since(begin)
				}
				var of [2]sight.Detector
				specs := [2]sight.Spec{windows, uncut}
				for i, s := range specs {
					of[i], err = e.opts.Places[0].Detector(s)
					require.NoError(b, err)
					defer of[i].Close()
					refineOn(of[i], s)
				}
				var took [4]time.Duration
				for b.Loop() {
					for i, d := range of {
						optimised, all := refineOn(d, specs[i])
						took[i] += optimised
						took[2+i] += all
					}
				}
				b.ReportMetric(100*share, "cells-%")
				b.ReportMetric(took[0].Seconds()*1e3/float64(b.N), "windows-ms")
				b.ReportMetric(took[1].Seconds()*1e3/float64(b.N), "whole-ms")
				b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "of-whole")
				b.ReportMetric(took[2].Seconds()/took[3].Seconds(), "refinement-of-whole")
			})
		}
	}
}
