package main

import (
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/metric"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

func TestImageRateIsWhatTheHeldOutImagesSupport(t *testing.T) {
	rate := func(held int) string {
		return imageRate(engine.Calibration{ImageFPR: 0.05, Source: engine.Source{Images: held}})
	}
	// 1 - 0.05^(1/19): none of 19 images lies above.
	require.Equal(t, "5 % of normal images lie above; with 95 % confidence at most 15 %", rate(19))
	require.Contains(t, rate(18), "only 18 held-out images, up to 5.3 % of normal images lie above (5 % asked for); with 95 % confidence at most 15 %")
	// 4 of 99 lie above.
	require.Equal(t, "5 % of normal images lie above; with 95 % confidence at most 9 %", rate(99))
}

func TestInspectSaysWhatPixelThresholdsPromise(t *testing.T) {
	c := engine.Calibration{Source: engine.Source{Images: 18}, PixelFPR: 0.001, Painted: 24, Paints: []string{"hole", "stain"}, Promises: map[refine.Kind]engine.Promise{
		refine.Base:     {Rule: engine.BySimulation, Above: 0.00025, Marked: 2, Dice: 0.531},
		refine.Residual: {Rule: engine.ByRate, Above: 0.001, Marked: -1, Dice: 0.28},
		refine.F2PAD:    {Rule: engine.ByRate, Above: 0.001, Marked: -1, Dice: metric.Undefined()},
	}}
	require.Equal(t, "marks simulated defects best (mean Dice 0.53); 0.025 % of the pixels of held-out normal images lie above; "+
		"in 2 of these 18 images a pixel does: with 95 % confidence in at most 31 % of normal images", pixelPromise(c, refine.Base))
	const above = "0.1 % of the pixels of held-out normal images lie above, the most allowed"
	require.Equal(t, above+": a lower one would mark simulated defects better (mean Dice 0.28)", pixelPromise(c, refine.Residual))
	require.Equal(t, above, pixelPromise(c, refine.F2PAD))
	require.Equal(t, "18 held-out images and 24 simulated defects on them (hole, stain): one normal image in 19 goes beyond all of them",
		support(c))
	c.Painted, c.Source.Images = 0, 2
	require.Contains(t, support(c), "2 held-out images, too small to simulate defects on: one normal image in 3 ")

	first := engine.Calibration{PixelFPR: 0.001, Source: engine.Source{Images: 9}}
	require.Equal(t, "0.1 % of normal pixels lie above", pixelPromise(first, refine.Base))
	require.Equal(t, "9 held-out images: one normal image in 10 goes beyond all of them", support(first))
}
