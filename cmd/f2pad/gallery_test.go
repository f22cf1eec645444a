package main

import (
	"fmt"
	"testing"

	"f2pad/engine"
	"f2pad/engine/dataset"
	"f2pad/engine/imageio"
	"f2pad/engine/metric"
	"f2pad/engine/nd"
	"f2pad/engine/refine"
	"f2pad/engine/report"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestGainIsThatOfTheMostRefinedMap(t *testing.T) {
	type ap = map[refine.Kind]metric.Value
	require.InDelta(t, 0.25, float64(gain(ap{refine.Base: 0.5, refine.Residual: 0.9, refine.F2PAD: 0.75})), 1e-12)
	require.InDelta(t, -0.25, float64(gain(ap{refine.Base: 0.5, refine.Residual: 0.25})), 1e-12)
	require.InDelta(t, 0.75, float64(gain(ap{refine.Residual: 0.25, refine.F2PAD: 0.75})), 1e-12)
	require.False(t, gain(ap{refine.Base: metric.Undefined(), refine.F2PAD: metric.Undefined()}).Defined())
}

func TestGalleryShowsBestAndWorstOfEveryClass(t *testing.T) {
	model := &engine.Model{}
	model.Info.Calibration.ImageThreshold = 2
	g := newGallery(model)
	mask := nd.New(400, 8)
	nd.Data(mask)[5] = 1
	add := func(class string, n int, gain float64) {
		require.NoError(t, g.add(&engine.Case{
			Item: dataset.Item{ID: fmt.Sprintf("test/%s/%03d.png", class, n), Class: class}, Score: 3, Mask: mask,
			Open:       func() (*imageio.Image, error) { return &imageio.Image{Pix: nd.New(1, 400, 8), Depth: 8}, nil },
			AP:         map[refine.Kind]metric.Value{refine.Base: 0.5, refine.F2PAD: metric.Value(0.5 + gain)},
			Maps:       map[refine.Kind]*tensor.Dense{refine.F2PAD: mask, refine.Base: mask},
			Thresholds: map[refine.Kind]float64{refine.Base: 0.5, refine.F2PAD: 0.5},
		}))
	}
	for n := range 20 {
		add("hole", n, float64(n-10)/100)
		add("stain", n, float64(10-n)/100)
	}
	require.NoError(t, g.add(&engine.Case{Item: dataset.Item{ID: "test/good/000.png", Class: dataset.Good}}))

	chosen := g.choose()
	require.Len(t, chosen, 2*3*perReason)
	first, last := chosen[0], chosen[len(chosen)-1]
	require.Equal(t, "test/hole/019.png", first.ID, "the largest gain")
	require.Equal(t, report.LargestGain, first.Why)
	require.Equal(t, "test/stain/019.png", last.ID, "the worst loss")
	require.Equal(t, report.WorstLoss, last.Why)
	require.Equal(t, 2.0, first.Threshold)
	require.Equal(t, "stain", last.Category)
	require.Equal(t, []string{"base", "f2pad"}, []string{first.Maps[0].Name, first.Maps[1].Name}, "in the reports' order")
	require.Equal(t, pictureSide, first.Truth.Height, "small")
	require.NotEqual(t, first.Image.URI(), first.Truth.URI(), "the truth is outlined")

	sheet := g.sheet()
	require.Len(t, sheet, 3*onSheet)
	require.Equal(t, "test/stain/000.png", sheet[0].ID, "the largest gain of both classes")
	require.Equal(t, report.Median, sheet[2].Why)
	require.Equal(t, "test/hole/000.png", sheet[5].ID)
	require.Equal(t, report.WorstLoss, sheet[5].Why)
}
