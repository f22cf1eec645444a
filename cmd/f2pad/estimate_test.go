package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine"

	"github.com/stretchr/testify/require"
)

// A dry run says what a fit will take, and does nothing of it.
func TestDryRunSaysWhatAFitTakes(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	args := []string{"fit", "--data", data(), "--method", "patchcore", "--size", "48x64", "--out", filepath.Join(dir, "new", "m"), "--dry-run"}
	r := f2pad(t, args...)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `^estimate: 8 images of 64x48 px to the network, 6 to learn from and 2 held out, a bank of 115 out of 1152 patches: some \d+ s and [0-9.]+ MB of memory\n$`, r.out)
	require.NoDirExists(t, filepath.Join(dir, "new"))
	all := messages(t, f2pad(t, append(args, "--json")...).out)
	require.Equal(t, []string{"executor", "device", "estimate"}, types(all))
	require.EqualValues(t, 115, all[2]["bank"])
	require.Positive(t, all[2]["seconds"])
	r = f2pad(t, append(args, "--backbone", filepath.Join(dir, "gone.onnx"), "--layers", "a")...)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "gone.onnx")
}

// A fit of many images goes on where an estimate finds none to look at.
func TestFitGoesOnWithoutAnEstimate(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(data(), "train", "good"))))
	for i := range longImages {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("z%03d.png", i)), []byte("no image"), 0o666))
	}
	r := f2pad(t, "fit", "--images", dir, "--method", "padim", "--size", "32", "--out", filepath.Join(t.TempDir(), "m"))
	require.Equal(t, exitPartial, r.code, r.err)
	require.Equal(t, longImages, strings.Count(r.err, "not a supported image"), "each is named once")
	require.Contains(t, r.out, "learned      from 6 normal images, 2 others held out")
}

func TestEstimatesAreRound(t *testing.T) {
	for seconds, want := range map[float64]string{0.1: "1 s", 40.4: "40 s", 100: "2 min", 3000: "50 min", 9000: "2.5 h"} {
		require.Equal(t, want, roughly(seconds))
	}
	var b strings.Builder
	require.NoError(t, estimate{engine.Estimate{Images: 1, Train: 1, Width: 8, Height: 9, Seconds: 2, Bytes: 3e9}}.Text(&b))
	require.Equal(t, "estimate: 1 image of 8x9 px to the network, 1 to learn from and 0 held out: some 2 s and 3.00 GB of memory\n", b.String())
}
