package main

import (
	"fmt"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/report"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func TestGainIsThatOfTheMostRefinedMap(t *testing.T) {
	type ap = map[refine.Kind]metric.Value
	require.InDelta(t, 0.25, float64(gain(ap{refine.Base: 0.5, refine.Residual: 0.9, refine.F2PAD: 0.75})), 1e-12)
	require.InDelta(t, -0.25, float64(gain(ap{refine.Base: 0.5, refine.Residual: 0.25})), 1e-12)
	require.InDelta(t, 0.75, float64(gain(ap{refine.Residual: 0.25, refine.F2PAD: 0.75})), 1e-12)
	require.InDelta(t, 0.75, float64(gain(ap{refine.Base: 0.75})), 1e-12, "there is nothing to compare: the AP")
	require.False(t, gain(ap{refine.Base: metric.Undefined(), refine.F2PAD: metric.Undefined()}).Defined())
}

func TestGalleryShowsBestAndWorstOfEveryClass(t *testing.T) {
	model := &engine.Model{}
	model.Info.Calibration.PixelThreshold = map[refine.Kind]float64{refine.Base: 0.5, refine.F2PAD: 0.5}
	g := newGallery(model)
	mask := nd.New(400, 8)
	nd.Data(mask)[5] = 1
	add := func(class string, n int, gain float64) {
		require.NoError(t, g.add(&engine.Case{
			Item: dataset.Item{ID: fmt.Sprintf("test/%s/%03d.png", class, n), Class: class}, Score: 3, ImageThreshold: 2,
			Anomalous: true, Mask: mask,
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
	require.Equal(t, report.LargestLoss, last.Why)
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
	require.Equal(t, report.LargestLoss, sheet[5].Why)
}

func TestGalleryOfOneMapGoesByItsAP(t *testing.T) {
	g := newGallery(&engine.Model{})
	mask := nd.New(8, 8)
	nd.Data(mask)[5] = 1
	for n, ap := range []metric.Value{0.5, 0.9, 0.1} {
		require.NoError(t, g.add(&engine.Case{
			Item: dataset.Item{ID: fmt.Sprint(n), Class: "hole"}, Anomalous: true, Mask: mask,
			Open: func() (*imageio.Image, error) { return &imageio.Image{Pix: nd.New(1, 8, 8), Depth: 8}, nil },
			AP:   map[refine.Kind]metric.Value{refine.Base: ap}, Maps: map[refine.Kind]*tensor.Dense{refine.Base: mask},
		}))
	}
	got := ""
	for _, e := range g.choose() {
		got += e.ID + " " + string(e.Why) + "; "
	}
	require.Equal(t, "1 highest AP; 0 highest AP; 2 lowest AP; ", got)
	require.Equal(t, report.HighestAP, g.sheet()[0].Why)
}

func TestGalleryKeepsWhatTheThresholdDecidesWrongly(t *testing.T) {
	g := newGallery(&engine.Model{})
	mask := nd.New(8, 8)
	nd.Data(mask)[5] = 1
	add := func(class string, score float64, mask *tensor.Dense) {
		require.NoError(t, g.add(&engine.Case{
			Item: dataset.Item{ID: fmt.Sprint(class, score), Class: class}, Score: score, ImageThreshold: 50, Anomalous: score > 50, Mask: mask,
			Open: func() (*imageio.Image, error) { return &imageio.Image{Pix: nd.New(1, 8, 8), Depth: 8}, nil },
			Maps: map[refine.Kind]*tensor.Dense{refine.Base: nd.New(8, 8)},
		}))
	}
	for n := range 20 {
		add("hole", float64(40+n), mask) // 40 to 50 are misses
		add(dataset.Good, float64(45+n), nil)
	}
	add("dent", 39.5, nil) // without ground truth
	add("dent", 60, nil)
	shown, left := g.crossing()
	require.Len(t, shown, 2*perSide)
	require.Equal(t, 11+1-perSide+14-perSide, left)
	require.Equal(t, "dent39.5", shown[0].ID)
	require.Equal(t, "hole40", shown[1].ID)
	require.Equal(t, report.Miss, shown[1].Why)
	require.Empty(t, shown[0].Truth.URI())
	require.NotEmpty(t, shown[1].Truth.URI())
	require.False(t, shown[0].Normal)
	require.Equal(t, "good64", shown[perSide].ID)
	require.Equal(t, report.FalseAlarm, shown[perSide].Why)
	require.True(t, shown[perSide].Normal)
	require.Equal(t, []string{"hole"}, g.classes, "the gallery shows those with ground truth")
}
