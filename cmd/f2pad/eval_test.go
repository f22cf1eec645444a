package main

import (
	"image"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// copied is a copy of the tests' data set.
func copied(t *testing.T) string {
	t.Helper()
	setup(t)
	dir := filepath.Join(t.TempDir(), "set")
	require.NoError(t, os.CopyFS(dir, os.DirFS(data())))
	return dir
}

// summary evaluates a data set by the base map and returns the last message and the warnings.
func summary(t *testing.T, args ...string) (last map[string]any, warnings []string) {
	t.Helper()
	r := f2pad(t, append([]string{"eval", "--model", model(), "--refine", "none", "--json"}, args...)...)
	require.Equal(t, exitOK, r.code, r.out)
	for _, m := range messages(t, r.out) {
		switch m["message_type"] {
		case "warning":
			warnings = append(warnings, m["warning"].(string))
		case "summary":
			last = m
		}
	}
	return last, warnings
}

func TestEvalSummaryHasTheDecisions(t *testing.T) {
	setup(t)
	last, warnings := summary(t, "--data", data())
	require.Empty(t, warnings)
	require.Equal(t, map[string]any{"good": 1.0, "defective": 4.0, "with_mask": 4.0}, last["images"])
	require.Equal(t, []any{}, last["remarks"])
	require.Equal(t, map[string]any{"close": 0.0, "fill": false, "min_area": 0.0}, last["regions"])
	d := last["decisions"].(map[string]any)
	require.ElementsMatch(t, []string{"image_threshold", "image_threshold_given", "false_alarms", "misses", "recall", "maps"}, keys(d))
	require.Equal(t, false, d["image_threshold_given"])
	require.ElementsMatch(t, []string{"count", "of", "share", "interval"}, keys(d["misses"].(map[string]any)))
	require.ElementsMatch(t, []string{"low", "high"}, keys(d["misses"].(map[string]any)["interval"].(map[string]any)))
	require.EqualValues(t, 4, d["misses"].(map[string]any)["of"])
	require.EqualValues(t, 1, d["false_alarms"].(map[string]any)["of"])
	require.Len(t, d["recall"], 4)
	require.ElementsMatch(t, []string{"category", "count", "of", "share", "interval"}, keys(d["recall"].([]any)[0].(map[string]any)))
	require.Len(t, d["maps"], 1)
	m := d["maps"].([]any)[0].(map[string]any)
	require.ElementsMatch(t, []string{"map", "pixel_threshold", "pixel_threshold_given", "false_alarm_area", "defects_found", "false_regions"}, keys(m))
	require.ElementsMatch(t, []string{"images", "mean", "interval"}, keys(m["false_alarm_area"].(map[string]any)))
	require.Nil(t, m["false_alarm_area"].(map[string]any)["interval"], "of one image")

	for _, w := range last["worst"].([]any) {
		w := w.(map[string]any)
		require.ElementsMatch(t, []string{"image", "category", "why", "image_score", "pixel_ap"}, keys(w))
		require.FileExists(t, w["image"].(string))
		require.Contains(t, []any{"miss", "false alarm", "lowest AP"}, w["why"])
	}
	last, _ = summary(t, "--data", data(), "--worst", "0")
	require.Equal(t, []any{}, last["worst"])
}

func TestEvalTakesOtherThresholds(t *testing.T) {
	setup(t)
	page := filepath.Join(t.TempDir(), "r.html")
	last, _ := summary(t, "--data", data(), "--threshold", "-1e6", "--pixel-threshold", "1e6", "--report", page)
	d := last["decisions"].(map[string]any)
	require.EqualValues(t, -1e6, d["image_threshold"])
	require.Equal(t, true, d["image_threshold_given"])
	require.EqualValues(t, 1, d["false_alarms"].(map[string]any)["share"])
	require.EqualValues(t, 0, d["misses"].(map[string]any)["count"])
	m := d["maps"].([]any)[0].(map[string]any)
	require.EqualValues(t, 1e6, m["pixel_threshold"])
	require.Equal(t, true, m["pixel_threshold_given"])
	require.EqualValues(t, 0, m["defects_found"].(map[string]any)["count"])
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{"far beyond all scores", "(--threshold): it is not the model&#39;s", "(--pixel-threshold)", ">false alarm<", "<svg"} {
		require.Contains(t, string(html), want)
	}
	require.NotContains(t, string(html), "<script")

	last, _ = summary(t, "--data", data(), "--threshold", "1e6")
	d = last["decisions"].(map[string]any)
	require.EqualValues(t, 1, d["misses"].(map[string]any)["share"])
	worst := last["worst"].([]any)
	require.Len(t, worst, 4)
	require.Equal(t, "miss", worst[0].(map[string]any)["why"])

	for _, bad := range []string{"NaN", "inf", "x", ""} {
		for _, flag := range []string{"--threshold", "--pixel-threshold"} {
			r := f2pad(t, "eval", "--data", data(), "--model", model(), flag, bad)
			require.Equal(t, exitUsage, r.code)
			require.Contains(t, r.err, flag+`" flag: must be a number`)
		}
	}
}

func TestEvalChangesMasksAsAsked(t *testing.T) {
	setup(t)
	page := filepath.Join(t.TempDir(), "r.html")
	for area, none := range map[string]bool{"4096": false, "4097": true} { // all pixels are marked, of images of 64 by 64
		last, _ := summary(t, "--data", data(), "--pixel-threshold", "-1e6", "--min-area", area, "--close", "2", "--fill", "--report", page)
		size, err := strconv.ParseFloat(area, 64)
		require.NoError(t, err)
		require.Equal(t, map[string]any{"close": 2.0, "fill": true, "min_area": size}, last["regions"])
		for _, row := range last["rows"].([]any) {
			require.Equal(t, none, row.(map[string]any)["dice_labelfree"] == 0.0)
		}
		m := last["decisions"].(map[string]any)["maps"].([]any)[0].(map[string]any)
		require.Equal(t, none, m["false_alarm_area"].(map[string]any)["mean"] == 0.0)
	}
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "gaps closed by a disc of 2 px, holes filled: true, regions under 409")
}

func TestEvalGoesOnWithoutGroundTruth(t *testing.T) {
	dir := copied(t)
	require.NoError(t, os.Rename(filepath.Join(dir, "test", "good"), filepath.Join(dir, "test", "OK")))
	require.NoError(t, os.Remove(filepath.Join(dir, "ground_truth", "hole", "000_mask.png")))
	mask := filepath.Join(dir, "ground_truth", "stain", "000_mask.png")
	im, err := imageio.Decode(mask, imageio.Limits{})
	require.NoError(t, err)
	h, w := im.Size()
	dark := image.NewGray(image.Rect(0, 0, w, h))
	for i, v := range nd.Data(im.Pix) {
		dark.Pix[i] = uint8(v)
	}
	require.NoError(t, imageio.WritePNG(mask, dark))
	last, warnings := summary(t, "--data", dir)
	require.Equal(t, map[string]any{"good": 1.0, "defective": 4.0, "with_mask": 3.0}, last["images"])
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], "1 of 4 defective images have no ground truth, first "+filepath.Join(dir, "test", "hole", "000.png"))
	require.Contains(t, warnings[1], "1 mask is nowhere brighter than half, but not 0 everywhere, first "+mask)
	require.Len(t, last["remarks"], 2)
	rows := last["rows"].([]any)
	hole := rows[slices.IndexFunc(rows, func(r any) bool { return r.(map[string]any)["category"] == "hole" })].(map[string]any)
	require.NotNil(t, hole["image_auroc"])
	require.Nil(t, hole["pixel_ap"])
	require.Equal(t, [2]any{1.0, 0.0}, [2]any{hole["defective"], hole["with_mask"]})

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "ground_truth")))
	page, sheet := filepath.Join(t.TempDir(), "r.html"), filepath.Join(t.TempDir(), "s.png")
	last, _ = summary(t, "--data", dir, "--report", page, "--sheet", sheet)
	require.NotNil(t, last["rows"].([]any)[0].(map[string]any)["image_auroc"])
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "There are no images to show: they are chosen by their average precision, and no defective image has ground truth.")
	require.FileExists(t, sheet)

	for _, class := range []string{"hole", "scratch", "stain", "structural"} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "test", class)))
	}
	last, warnings = summary(t, "--data", dir, "--report", page)
	require.Equal(t, []string{"all test images are good: what needs defective ones is not measured"}, warnings)
	require.Len(t, last["rows"], 1)
	require.Nil(t, last["rows"].([]any)[0].(map[string]any)["image_auroc"])
	html, err = os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "and all test images are good.")

	r := f2pad(t, "eval", "--model", model(), "--refine", "none", "--data", dir)
	require.Equal(t, exitOK, r.code)
	require.Regexp(t, `(?m)^all +base +1 +- +- +- `, r.out)
	require.Contains(t, r.err, "warning: all test images are good")
}

// TestEvalNeedsNoTrainingImages: a folder with nothing but test images gives the table that the whole data set gives; fit refuses it.
func TestEvalNeedsNoTrainingImages(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(data())))
	eval := func() map[string]any {
		r := f2pad(t, "eval", "--json", "--data", dir, "--model", model(), "--refine", "none", "--limit", "2")
		require.Equal(t, exitOK, r.code, r.out)
		all := messages(t, r.out)
		return map[string]any{"decisions": all[len(all)-1]["decisions"], "images": all[len(all)-1]["images"]}
	}
	want := eval()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "train")))
	require.Equal(t, want, eval())
	r := f2pad(t, "fit", "--data", dir, "--method", "padim", "--out", filepath.Join(t.TempDir(), "m"))
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, dir+": no images in train/good\n")

	require.NoError(t, os.Rename(filepath.Join(dir, "test", "hole"), filepath.Join(dir, "test", "all")))
	r = f2pad(t, "eval", "--data", dir, "--model", model())
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, `a defect type cannot be called "all"`)
}

func TestEvalEscapesNames(t *testing.T) {
	dir := copied(t)
	const evil = `a<img src=x onerror=alert(1)>`
	for _, sub := range []string{"test", "ground_truth"} {
		require.NoError(t, os.Rename(filepath.Join(dir, sub, "hole"), filepath.Join(dir, sub, evil)))
	}
	page := filepath.Join(t.TempDir(), "r.html")
	summary(t, "--data", dir, "--report", page)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.NotContains(t, string(html), "<img src=x")
	require.Contains(t, string(html), "a&lt;img src=x onerror=alert(1)&gt;")
}
