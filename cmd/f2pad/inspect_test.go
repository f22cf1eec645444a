package main

import (
	"testing"

	"f2pad/engine"

	"github.com/stretchr/testify/require"
)

func TestImageRateIsWhatTheHeldOutImagesSupport(t *testing.T) {
	rate := func(held int) string {
		return imageRate(engine.ModelInfo{HeldOut: held, Calibration: engine.Calibration{ImageFPR: 0.05}})
	}
	require.Equal(t, "5 % of normal images lie above", rate(19))
	require.Contains(t, rate(18), "only 18 held-out images, up to 5.3 % of normal images")
}
