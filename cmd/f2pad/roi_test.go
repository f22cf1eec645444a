package main

import (
	"image"
	"image/color"
	"os"
	"path/filepath"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// leftHalf writes a region of interest for images of 64 x 64.
func leftHalf(t *testing.T) string {
	t.Helper()
	im := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range im.Pix {
		if i%64 < 32 {
			im.Pix[i] = 255
		}
	}
	path := filepath.Join(t.TempDir(), "left.png")
	require.NoError(t, imageio.WritePNG(path, im))
	return path
}

func decoded(t *testing.T, path string) *imageio.Image {
	t.Helper()
	im, err := imageio.Decode(path, imageio.Limits{})
	require.NoError(t, err)
	return im
}

// Outside of a region of interest nothing is marked, and pictures are dim; which region it was is recorded.
func TestARegionOfInterestFromFitToPictures(t *testing.T) {
	setup(t)
	region, dir := leftHalf(t), t.TempDir()
	m := filepath.Join(dir, "m")
	r := f2pad(t, "fit", "--data", data(), "--method", "padim", "--size", "32", "--roi", region, "--out", m)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^inspected    50 % of an image: a region of interest made for 64x64 pixels$`, r.out)
	require.NotContains(t, f2pad(t, "inspect", model()).out, "inspected")

	hole := filepath.Join(data(), "test", "hole", "000.png")
	square := filepath.Join(dir, "square.json")
	require.NoError(t, os.WriteFile(square, []byte(`{"polygons": [[[8, 8], [56, 8], [56, 24], [8, 24]]]}`), 0o666))
	for _, c := range []struct {
		args []string
		in   func(x, y int) bool
	}{
		{[]string{"--model", m}, func(x, y int) bool { return x < 32 }},
		{[]string{"--model", model(), "--roi", region}, func(x, y int) bool { return x < 32 }},
		{[]string{"--model", m, "--roi", square}, func(x, y int) bool { return x >= 8 && x < 32 && y >= 8 && y < 24 }},
	} {
		out := t.TempDir()
		args := append([]string{"score", "--out", out, "--masks", "--overlays", "--refine", "none", "--threshold", "-1", "--pixel-threshold", "-1", hole}, c.args...)
		r := f2pad(t, args...)
		require.Equal(t, exitOK, r.code, r.err)
		line := lines(t, out)[0]
		mask := nd.Data(decoded(t, filepath.Join(out, line["mask"].(string))).Pix)
		over, was := nd.Data(decoded(t, filepath.Join(out, line["overlay"].(string))).RGB()), nd.Data(decoded(t, hole).RGB())
		for i := range 64 * 64 {
			in := c.in(i%64, i/64)
			require.Equal(t, in, mask[i] == 1, "%v: %d", c.args, i)
			if !in {
				require.InDelta(t, 0.35*was[i], over[i], 0.01)
			}
		}
		require.Len(t, line["regions"], 1)
	}

	// A run goes on with the same region only.
	out := t.TempDir()
	args := []string{"score", "--model", model(), "--out", out, hole}
	require.Equal(t, exitOK, f2pad(t, append(args, "--roi", region)...).code)
	require.Regexp(t, `"roi": "[0-9a-f]{64}"`, content(t, out, run.RunFile))
	require.Equal(t, exitOK, f2pad(t, append(args, "--roi", region)...).code)
	for _, other := range [][]string{{}, {"--roi", square}} {
		r = f2pad(t, append(args, other...)...)
		require.Equal(t, exitFailure, r.code)
		require.Contains(t, r.err, "holds results of another run (roi was ")
	}

	all := messages(t, f2pad(t, "eval", "--data", data(), "--model", model(), "--refine", "none", "--roi", region, "--json", "--report", filepath.Join(dir, "r.html")).out)
	last := all[len(all)-1]
	require.Regexp(t, "^[0-9a-f]{64}$", last["roi"])
	require.Contains(t, content(t, dir, "r.html"), "Only what lies in the region of interest "+region+" counts")
	all = messages(t, f2pad(t, "eval", "--data", data(), "--model", m, "--refine", "none", "--limit", "2", "--json", "--report", filepath.Join(dir, "s.html")).out)
	require.Nil(t, all[len(all)-1]["roi"])
	require.Contains(t, content(t, dir, "s.html"), "Only what lies in the model&#39;s region of interest counts, 50 % of an image.")
}

// A region that is none is refused before anything is written.
func TestRegionsOfInterestThatAreNoneAreRefused(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	black, text, thin := filepath.Join(dir, "black.png"), filepath.Join(dir, "r.json"), filepath.Join(dir, "thin.png")
	require.NoError(t, imageio.WritePNG(black, image.NewGray(image.Rect(0, 0, 64, 64))))
	require.NoError(t, os.WriteFile(text, []byte(`{"polygons": [[[1,1],[2,2]]]}`), 0o666))
	im := image.NewGray(image.Rect(0, 0, 64, 32))
	im.SetGray(1, 1, color.Gray{Y: 255})
	require.NoError(t, imageio.WritePNG(thin, im))
	hole := filepath.Join(data(), "test", "hole", "000.png")
	out := filepath.Join(dir, "out")
	for path, want := range map[string]string{
		black:                             "an empty region of interest",
		text:                              "polygon 1 has 2 points",
		filepath.Join(dir, "nowhere.png"): "no such file",
		dir + "/../" + filepath.Base(dir): "not a regular file",
	} {
		for _, args := range [][]string{
			{"fit", "--data", data(), "--method", "padim", "--out", out},
			{"score", "--model", model(), "--out", out, hole},
			{"eval", "--model", model(), "--data", data(), "--report", out},
		} {
			r := f2pad(t, append(args, "--roi", path)...)
			require.Equal(t, exitFailure, r.code, args)
			require.Contains(t, r.err, "--roi "+path+": ", args)
			require.Contains(t, r.err, want, args)
			require.NoFileExists(t, out)
			require.NoDirExists(t, out)
		}
	}
	r := f2pad(t, "score", "--model", model(), "--out", out, "--roi", thin, hole)
	require.Equal(t, exitPartial, r.code)
	require.Contains(t, r.err, "error: "+hole+": "+thin+": a region of interest of another aspect: 64x32 pixels for an image of 64x64")
}
