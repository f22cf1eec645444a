package main

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/region"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// lines reads a results file.
func lines(t *testing.T, dir string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(content(t, dir, run.ResultsFile)) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		all = append(all, m)
	}
	return all
}

// files reads all files below dir. Results lose what differs from run to run: their seconds.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := filesBelow(t, dir)
	var b strings.Builder
	for _, l := range lines(t, dir) {
		delete(l, "seconds")
		require.NoError(t, json.NewEncoder(&b).Encode(l))
	}
	all[run.ResultsFile] = b.String()
	return all
}

func filesBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[filepath.ToSlash(rel)] = string(b)
		return err
	}))
	return all
}

func TestScoreWritesWhatWasAskedFor(t *testing.T) {
	setup(t)
	for _, kind := range refineNames {
		dir := filepath.Join(t.TempDir(), "out")
		test := filepath.Join(data(), "test")
		r := f2pad(t, "score", "--model", model(), "--out", dir, "--refine", kind, "--maps", "--masks", "--overlays", test)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "5 images: ")
		all := lines(t, dir)
		require.Len(t, all, 5)
		marked := 0
		for i, name := range []string{"good", "hole", "scratch", "stain", "structural"} {
			l := all[i]
			require.Equal(t, filepath.Join(test, name, "000.png"), l["image"], "in the inputs' order")
			require.ElementsMatch(t, []string{
				"image", "bytes", "modified", "sha256", "image_score", "threshold", "anomalous", "refined", "device", "pixel_threshold", "regions", "map", "mask", "overlay", "seconds",
			}, keys(l))
			require.Equal(t, "maps/"+name+"/000.tiff", l["map"])
			require.Equal(t, "masks/"+name+"/000.png", l["mask"])
			require.Equal(t, "overlays/"+name+"/000.png", l["overlay"])
			require.Equal(t, l["image_score"].(float64) > l["threshold"].(float64), l["anomalous"])
			require.Positive(t, l["seconds"])

			m, err := imageio.ReadMap(filepath.Join(dir, l["map"].(string)))
			require.NoError(t, err)
			require.EqualValues(t, []int{64, 64}, m.Shape())
			mask, err := imageio.ReadMask(filepath.Join(dir, l["mask"].(string)), imageio.Limits{})
			require.NoError(t, err)
			var found []region.Region
			remarshal(t, l["regions"], &found)
			marks := region.Above(nd.Data(mask), 0.5)
			require.Equal(t, region.Find(marks, nd.Data(m), 64, 64), found, "%s: the mask's", name)
			for p, v := range nd.Data(m) {
				above := float64(v) > l["pixel_threshold"].(float64) && l["anomalous"].(bool)
				require.Equal(t, above, nd.Data(mask)[p] == 1, "%s pixel %d", name, p)
				if above {
					marked++
				}
			}
			overlay, err := imageio.Decode(filepath.Join(dir, l["overlay"].(string)), imageio.Limits{})
			require.NoError(t, err)
			h, w := overlay.Size()
			require.Equal(t, []int{64, 64}, []int{h, w})
		}
		require.Positive(t, marked, "a hole is found")
	}
}

func TestScoresAloneMakeNoMaps(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	image := filepath.Join(data(), "test", "hole", "000.png")
	require.Equal(t, exitOK, f2pad(t, "score", "--model", model(), "--out", dir, image).code)
	l := lines(t, dir)[0]
	for _, name := range []string{"map", "mask", "overlay", "pixel_threshold", "regions"} {
		require.Nil(t, l[name], name)
		require.Contains(t, l, name)
	}
	require.Equal(t, false, l["refined"])
	require.ElementsMatch(t, []string{run.ResultsFile, run.RunFile}, slices.Collect(maps.Keys(files(t, dir))))
	require.Contains(t, content(t, dir, run.RunFile), `"refine": "none"`)

	// The refinement was asked for: it is done, and says whether there was something to refine.
	dir = t.TempDir()
	require.Equal(t, exitOK, f2pad(t, "score", "--model", model(), "--out", dir, "--refine", "f2pad", image).code)
	require.Equal(t, true, lines(t, dir)[0]["refined"])
}

func TestScoreJSONIsTheContract(t *testing.T) {
	setup(t)
	dir, nothing := t.TempDir(), filepath.Join(t.TempDir(), "nothing.png")
	require.NoError(t, os.WriteFile(nothing, nil, 0o666))
	r := f2pad(t, "score", "--json", "--model", model(), "--out", dir, "--masks", filepath.Join(data(), "test"), nothing)
	require.Equal(t, exitPartial, r.code)
	require.Empty(t, r.err)
	all := messages(t, r.out)
	require.Equal(t, []string{"executor", "device", "item", "item", "item", "item", "item", "error", "summary"}, types(all))
	var items []map[string]any
	for _, m := range all {
		switch m["message_type"] {
		case "item":
			delete(m, "message_type")
			items = append(items, m)
		case "progress":
			require.ElementsMatch(t, []string{
				"message_type", "phase", "done", "total", "seconds_elapsed", "seconds_remaining", "rate"}, keys(m))
			require.EqualValues(t, 6, m["total"])
		case "error":
			require.ElementsMatch(t, []string{"message_type", "image", "error"}, keys(m))
			require.Equal(t, nothing, m["image"])
		}
	}
	require.Equal(t, lines(t, dir)[:5], items, "items are the results' lines")
	last := all[len(all)-1]
	require.ElementsMatch(t, []string{
		"message_type", "images", "anomalous", "failed", "kept", "results", "seconds", "devices",
		"version", "model_sha256", "refine", "maps", "masks", "overlays", "labels", "threshold", "pixel_threshold", "regions", "roi", "executor", "device", "shard",
	}, keys(last))
	require.EqualValues(t, 6, last["images"])
	require.EqualValues(t, 1, last["failed"])
	require.Equal(t, "f2pad", last["refine"])
	require.NotEmpty(t, last["executor"].(map[string]any)["precision"])
}

// hostile writes files that are no images, or none that can be scored, and returns what must be said of each.
func hostile(t *testing.T, dir string) map[string]string {
	t.Helper()
	good, err := os.ReadFile(filepath.Join(data(), "test", "hole", "000.png"))
	require.NoError(t, err)
	said := map[string]string{}
	for _, f := range []struct {
		name, want string
		data       []byte
	}{
		{"a-empty.png", "empty", nil},
		{"b-truncated.png", "corrupt", good[:len(good)/2]},
		{"d-tiny.png", "too small", pngHeader(1, 1)},
		{"e-huge.png", "too large", pngHeader(20000, 20000)},
		{"g-text.png", "text", []byte("this is not an image\n")},
	} {
		path := filepath.Join(dir, f.name)
		require.NoError(t, os.WriteFile(path, f.data, 0o666))
		said[path] = f.want
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f-good.png"), good, 0o666))
	return said
}

// pngHeader is a PNG file of which nothing but the header is true.
func pngHeader(w, h uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		body := append([]byte(kind), data...)
		b = append(b, body...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
	}
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	chunk("IHDR", append(size, 8, 0, 0, 0, 0))
	chunk("IDAT", []byte{0x78, 0x9c, 0x63, 0x60, 0, 0, 0, 2, 0, 1})
	chunk("IEND", nil)
	return b
}

func TestBadInputsAreNamedAndTheRestIsScored(t *testing.T) {
	setup(t)
	dir, out := t.TempDir(), t.TempDir()
	said := hostile(t, dir)
	args := []string{"score", "--model", model(), "--out", out, "--masks", dir, filepath.Join(data(), "test", "hole", "000.png")}
	for run := range 2 { // the second tries what failed again and says the same
		r := f2pad(t, args...)
		require.Equal(t, exitPartial, r.code, r.err)
		for path, want := range said {
			require.Regexp(t, `(?m)^error: `+path+`: .*`+want, r.err, "run %d", run)
		}
		require.Equal(t, len(said), strings.Count(r.err, "error: "), r.err)
	}
	all := lines(t, out)
	require.Len(t, all, len(said)+2)
	require.Equal(t, filepath.Join(dir, "a-empty.png"), all[0]["image"], "what fails keeps its place")
	for _, l := range all {
		want, bad := said[l["image"].(string)]
		if !bad {
			require.Contains(t, l, "image_score")
			continue
		}
		require.ElementsMatch(t, []string{"image", "error"}, keys(l))
		require.Regexp(t, want, l["error"])
	}
	require.FileExists(t, filepath.Join(out, all[len(all)-1]["mask"].(string)))
}

func TestResultsDoNotDependOnTheBatchOrWhereTheListComesFrom(t *testing.T) {
	setup(t)
	test := filepath.Join(data(), "test")
	score := []string{"score", "--model", model(), "--maps", "--masks", "--overlays"}
	glob, list := t.TempDir(), t.TempDir()
	require.Equal(t, exitOK, f2pad(t, append(score, "--out", glob, "--batch", "3", filepath.Join(test, "*", "*.png"))...).code)
	cmd := command(append(score, "--out", list, "--batch", "1", "-")...)
	var names strings.Builder
	for _, l := range lines(t, glob) {
		names.WriteString(l["image"].(string) + "\n")
	}
	cmd.Stdin = strings.NewReader(names.String())
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	require.Equal(t, exitOK, finish(t, cmd).code)
	require.Equal(t, files(t, glob), files(t, list))
}

func TestOtherOptionsOrInputsNeedAnotherFolder(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	hole, good := filepath.Join(data(), "test", "hole"), filepath.Join(data(), "test", "good")
	score := func(args ...string) outcome {
		return f2pad(t, append([]string{"score", "--model", model(), "--out", dir}, args...)...)
	}
	require.Equal(t, exitOK, score(hole).code)
	before := files(t, dir)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"masks was false, is true", []string{"--masks", hole}},
		{"results of other inputs", []string{good}},
	} {
		r := score(c.args...)
		require.Equal(t, exitFailure, r.code)
		require.Contains(t, r.err, c.want)
		require.Contains(t, r.err, "--force")
		require.Equal(t, before, files(t, dir))
	}
	r := score("--force", "--masks", good)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, lines(t, dir)[0]["image"], "good")

	require.Equal(t, exitOK, score("--force", good).code)
	r = score(good, hole)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "2 images", "more inputs after the same ones go on")
	require.Contains(t, r.out, "1 of them finished by an earlier run")
}

func TestAnImageBesideItsTwinKeepsItsOwnOutputs(t *testing.T) {
	setup(t)
	dir, out := t.TempDir(), t.TempDir()
	for _, name := range []string{"x.png", filepath.Join("a", "y.png"), filepath.Join("b", "y.png")} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		b, err := os.ReadFile(filepath.Join(data(), "test", "good", "000.png"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
	}
	r := f2pad(t, "score", "--model", model(), "--out", out, "--maps", "--refine", "none",
		filepath.Join(dir, "a", "y.png"), filepath.Join(dir, "b", "y.png"), filepath.Join(dir, "x.png"), filepath.Join(dir, "x.png"))
	require.Equal(t, exitOK, r.code, r.err)
	seen := map[string]bool{}
	for _, l := range lines(t, out) {
		seen[l["map"].(string)] = true
		require.FileExists(t, filepath.Join(out, l["map"].(string)))
		require.True(t, filepath.IsLocal(l["map"].(string)))
	}
	require.Len(t, seen, 4)
}

func TestScoreDecidesByTheThresholdsGiven(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	good := filepath.Join(data(), "test", "good")
	score := func(args ...string) outcome {
		return f2pad(t, append([]string{"score", "--model", model(), "--out", dir, "--masks", "--maps", "--refine", "none", good}, args...)...)
	}
	marked := func() (n int, l map[string]any) {
		l = lines(t, dir)[0]
		mask, err := imageio.ReadMask(filepath.Join(dir, l["mask"].(string)), imageio.Limits{})
		require.NoError(t, err)
		for _, v := range nd.Data(mask) {
			n += int(v)
		}
		return n, l
	}
	require.Equal(t, exitOK, score().code)
	n, l := marked()
	require.Zero(t, n)
	require.Equal(t, []any{}, l["regions"], "a normal image has none")

	r := score("--threshold", "-1")
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "(threshold was <nil>, is -1)", "another threshold is another run")
	require.Equal(t, exitOK, score("--force", "--threshold", "-1", "--pixel-threshold", "-1", "--min-area", "3").code)
	n, l = marked()
	require.Equal(t, 64*64, n)
	require.Equal(t, true, l["anomalous"])
	require.EqualValues(t, -1, l["threshold"])
	require.EqualValues(t, -1, l["pixel_threshold"])
	require.Len(t, l["regions"], 1)
	for _, want := range []string{`"threshold": -1`, `"pixel_threshold": -1`, `"min_area": 3`, `"close": 0`, `"fill": false`} {
		require.Contains(t, content(t, dir, run.RunFile), want)
	}
	for _, args := range [][]string{
		{"--threshold", "-1", "--pixel-threshold", "-1"},
		{"--threshold", "-1", "--pixel-threshold", "-2", "--min-area", "3"},
		{"--threshold", "-1", "--pixel-threshold", "-1", "--min-area", "3", "--fill"},
	} {
		require.Equal(t, exitFailure, score(args...).code, args)
	}
	again := score("--threshold", "-1", "--pixel-threshold", "-1", "--min-area", "3")
	require.Equal(t, exitOK, again.code, again.err)
	require.Contains(t, again.out, "1 of them finished by an earlier run")

	require.Equal(t, exitOK, score("--force", "--threshold", "-1", "--pixel-threshold", "-1", "--min-area", "4097").code)
	n, l = marked()
	require.Zero(t, n)
	require.Equal(t, []any{}, l["regions"], "what is dropped from the mask is no region")
}

func TestImagesUnlikeTheModelsAreToldOfOnce(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join(data(), "test", "good", "000.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.png"), b, 0o666))
	im, err := imageio.Decode(filepath.Join(dir, "a.png"), imageio.Limits{})
	require.NoError(t, err)
	for _, name := range []string{"b.png", "c.png"} {
		require.NoError(t, imageio.WritePNG(filepath.Join(dir, name), imageio.Thumbnail(im.RGBA(), 50)))
	}
	r := f2pad(t, "score", "--model", model(), "--out", t.TempDir(), dir)
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, 1, strings.Count(r.err, "warning: "), r.err)
	require.Contains(t, r.err, "warning: "+filepath.Join(dir, "b.png")+" is 50x50 px; the model learned from images of 64x64 px: its scores may mean nothing")
}
