package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine"

	"github.com/stretchr/testify/require"
)

// normals are images that the tests' model has not seen.
func normals(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "more")
	r := f2pad(t, "synth", "--out", dir, "--train", "6", "--test", "5", "--size", "64", "--seed", "9")
	require.Equal(t, exitOK, r.code, r.err)
	return filepath.Join(dir, "train", "good")
}

func TestCalibrateSetsThresholdsFromNewImages(t *testing.T) {
	setup(t)
	images, out := normals(t), filepath.Join(t.TempDir(), "m")
	require.NoError(t, os.WriteFile(filepath.Join(images, "bad.png"), []byte("no image"), 0o666))
	before, err := engine.Load(model())
	require.NoError(t, err)
	r := f2pad(t, "calibrate", model(), "--images", images, "--image-fpr", "0.3", "--pixel-fpr", "0.05", "--out", out, "--json")
	require.Equal(t, exitPartial, r.code, r.out)
	all := messages(t, r.out)
	require.Equal(t, []string{"executor", "device", "error", "model"}, types(all))
	phases := map[any]bool{}
	for _, m := range all {
		if m["message_type"] == "progress" {
			phases[m["phase"]] = true
		}
	}
	require.Equal(t, map[any]bool{"images": true, "calibration": true}, phases)
	last := all[len(all)-1]
	require.Equal(t, out, last["path"])
	require.EqualValues(t, 6, last["confidence"].(map[string]any)["images"])
	require.InDelta(t, 0.582, last["confidence"].(map[string]any)["image_rate_at_most"], 1e-3, "1 of 6 above")
	require.Len(t, last["confidence"].(map[string]any)["marked_images_at_most"], 3)
	m, err := engine.Load(out)
	require.NoError(t, err)
	c := m.Info.Calibration
	require.Equal(t, engine.FromNew, c.Source.From)
	require.Equal(t, 6, c.Source.Images)
	require.Equal(t, []float64{0.3, 0.05}, []float64{c.ImageFPR, c.PixelFPR})
	require.NotEqual(t, before.Info.Calibration.ImageThreshold, c.ImageThreshold)
	require.Regexp(t, `(?m)^calibrated +on 6 new normal images \(sha256 `, f2pad(t, "inspect", out).out)
	require.Regexp(t, `(?m)^made by .* method on cpu$`, f2pad(t, "inspect", out).out)
	require.Regexp(t, `(?m)^calibrated +on the images held out\nmade by .* method and calibration on cpu$`, f2pad(t, "inspect", model()).out)

	// Without --out the model itself is replaced; without rates they are the model's. Six images are too few for 5 %.
	require.NoError(t, os.Remove(filepath.Join(images, "bad.png")))
	copied := filepath.Join(t.TempDir(), "copied")
	raw, err := os.ReadFile(model())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(copied, raw, 0o666))
	r = f2pad(t, "calibrate", copied, "--images", images)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "warning: too few images for --image-fpr 0.05: the image threshold is the largest of only 6 held-out images")
	require.NotContains(t, r.err, "the model learned from")
	m, err = engine.Load(copied)
	require.NoError(t, err)
	require.Equal(t, 0.05, m.Info.Calibration.ImageFPR)
	require.Equal(t, 6, m.Info.Calibration.Source.Images)
}

func TestCalibrateTellsOfImagesUnlikeTheModels(t *testing.T) {
	setup(t)
	dir := filepath.Join(t.TempDir(), "small")
	r := f2pad(t, "synth", "--out", dir, "--train", "3", "--test", "5", "--size", "48", "--seed", "9")
	require.Equal(t, exitOK, r.code, r.err)
	r = f2pad(t, "calibrate", model(), "--images", filepath.Join(dir, "train", "good"), "--out", filepath.Join(dir, "m"))
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, 1, strings.Count(r.err, " is 48x48 px; the model learned from images of 64x64 px"), r.err)
}

func TestCalibrateRefusesOtherImages(t *testing.T) {
	setup(t)
	out := filepath.Join(t.TempDir(), "m")
	one := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(data(), "test", "good", "000.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(one, "a.png"), raw, 0o666))
	for images, want := range map[string]string{
		data():                                  "a data set in MVTec AD's layout",
		filepath.Join(data(), "test", "hole"):   "holds defects or masks",
		filepath.Join(data(), "train", "good"):  "images that the model was fitted on",
		one:                                     "too few normal images: 1 usable, want at least 2",
		filepath.Join(t.TempDir(), "not there"): "not there",
	} {
		r := f2pad(t, "calibrate", model(), "--images", images, "--out", out)
		require.Equal(t, exitFailure, r.code, images)
		require.Contains(t, r.err, want)
		require.NoFileExists(t, out)
	}
}

func TestFitTakesRates(t *testing.T) {
	setup(t)
	out := filepath.Join(t.TempDir(), "m")
	r := f2pad(t, "fit", "--data", data(), "--method", "padim", "--size", "48", "--image-fpr", "0.4", "--pixel-fpr", "0.2", "--out", out, "--json")
	require.Equal(t, exitOK, r.code, r.out)
	all := messages(t, r.out)
	c := all[len(all)-1]["info"].(map[string]any)["calibration"].(map[string]any)
	require.Equal(t, 0.4, c["image_fpr"])
	require.Equal(t, 0.2, c["pixel_fpr"])
	for kind, p := range c["pixel_promise"].(map[string]any) {
		above := p.(map[string]any)["above"].(float64)
		require.LessOrEqual(t, above, 0.2, kind)
	}
}
