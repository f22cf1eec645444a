package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"

	"github.com/stretchr/testify/require"
)

// photo is a JPEG file.
func photo(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 64)), nil))
	return b.Bytes()
}

// put writes files into a folder.
func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o666))
	}
}

func goodImage(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(data(), "test", "good", "000.png"))
	require.NoError(t, err)
	return data
}

// TestWhatIsOddAboutInputsIsSaid: they are scored all the same, and what is passed over is counted.
func TestWhatIsOddAboutInputsIsSaid(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	put(t, dir, map[string][]byte{
		"a.png": photo(t), "b.png": goodImage(t), "c.gif": nil, "d.jp2": nil, "e": goodImage(t), "f.txt": nil, ".hidden": nil,
	})
	odd := filepath.Join(dir, "a.png") + ": named .png but holds JPEG data"
	ignored := "ignored 4 files whose names do not end as an image's do: " +
		strings.Join([]string{filepath.Join(dir, "c.gif"), filepath.Join(dir, "d.jp2"), filepath.Join(dir, "e")}, ", ") + ", …"

	r := f2pad(t, "score", "--model", model(), "--out", t.TempDir(), dir)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "2 images: ")
	require.Equal(t, 1, strings.Count(r.err, "warning: "+odd+"\n"), r.err)
	require.Equal(t, 1, strings.Count(r.err, "warning: "+ignored+"\n"), r.err)

	r = f2pad(t, "score", "--json", "--model", model(), "--out", t.TempDir(), dir)
	require.Equal(t, exitOK, r.code)
	var said []any
	for _, m := range messages(t, r.out) {
		if m["message_type"] == "warning" {
			said = append(said, m["warning"])
		}
	}
	grey := filepath.Join(dir, "a.png") + " is grey; the model learned from images with colour: its scores may mean nothing; further images of another colour are not named"
	require.Equal(t, []any{odd, grey, ignored}, said)
}

func TestFitAndEvalSayWhatIsOdd(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(data())))
	train, test := filepath.Join(dir, "train", "good"), filepath.Join(dir, "test", "good")
	put(t, train, map[string][]byte{"z.tif": goodImage(t), "notes.txt": nil})
	put(t, test, map[string][]byte{"z.jpg": goodImage(t), "z.gif": nil})
	ignored := "warning: ignored 2 files whose names do not end as an image's do: " + filepath.Join(train, "notes.txt") + ", " + filepath.Join(test, "z.gif") + "\n"

	r := f2pad(t, "fit", "--data", dir, "--method", "padim", "--size", "32", "--out", filepath.Join(t.TempDir(), "m"))
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, 1, strings.Count(r.err, "warning: "+filepath.Join(train, "z.tif")+": named .tif but holds PNG data\n"), r.err)
	require.Contains(t, r.err, ignored)

	r = f2pad(t, "fit", "--images", train, "--method", "padim", "--size", "32", "--out", filepath.Join(t.TempDir(), "m"))
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "warning: ignored a file whose name does not end as an image's does: "+filepath.Join(train, "notes.txt"))

	r = f2pad(t, "eval", "--data", dir, "--model", model(), "--refine", "none")
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, 1, strings.Count(r.err, "warning: "+filepath.Join(test, "z.jpg")+": named .jpg but holds PNG data\n"), r.err)
	require.Contains(t, r.err, ignored)
}

// TestALineTooLongIsAnInputThatFailed: one bad line of a list costs that line, in this run and in the one that continues it.
func TestALineTooLongIsAnInputThatFailed(t *testing.T) {
	setup(t)
	out := t.TempDir()
	good := filepath.Join(data(), "test", "good", "000.png")
	hole := filepath.Join(data(), "test", "hole", "000.png")
	for range 2 {
		cmd := command("score", "--model", model(), "--out", out, "-")
		cmd.Stdin = strings.NewReader("\ufeff" + good + "\n" + strings.Repeat("x", 1<<20) + "\n" + hole + "\n")
		r := finish(t, cmd)
		require.Equal(t, exitPartial, r.code, r.err)
		require.Contains(t, r.err, "error: line 2 on standard input: more than 65536 bytes\n")
		require.Contains(t, r.out, "3 images: ")
	}
	all := lines(t, out)
	require.Len(t, all, 3)
	require.Equal(t, good, all[0]["image"])
	require.Equal(t, "line 2 on standard input", all[1]["image"])
	require.Equal(t, hole, all[2]["image"])
	require.Contains(t, all[2], "image_score")
}

// times16 writes an image of 8 bits anew with 16, every sample factor times as large.
func times16(t *testing.T, from, to string, factor int) {
	t.Helper()
	im, err := imageio.Decode(from, imageio.Limits{})
	require.NoError(t, err)
	h, w := im.Size()
	pix, deep := nd.Data(im.RGB()), image.NewRGBA64(image.Rect(0, 0, w, h))
	sample := func(at int) uint16 { return uint16(int(pix[at]*255+0.5) * factor) }
	for p := range h * w {
		deep.SetRGBA64(p%w, p/w, color.RGBA64{R: sample(p), G: sample(h*w + p), B: sample(2*h*w + p), A: 65535})
	}
	require.NoError(t, imageio.WritePNG(to, deep))
}

// TestImagesOfACameraOf12BitsAreShownInFull: the white level is found, recorded and told of, and so is what is brighter.
func TestImagesOfACameraOf12BitsAreShownInFull(t *testing.T) {
	setup(t)
	train, photos := t.TempDir(), t.TempDir()
	good, err := filepath.Glob(filepath.Join(data(), "train", "good", "*.png"))
	require.NoError(t, err)
	for _, path := range good {
		times16(t, path, filepath.Join(train, filepath.Base(path)), 16)
	}
	hole := filepath.Join(data(), "test", "hole", "000.png")
	times16(t, hole, filepath.Join(photos, "a.png"), 16)
	for _, name := range []string{"b.png", "c.png"} {
		times16(t, hole, filepath.Join(photos, name), 100)
	}
	m, out := filepath.Join(t.TempDir(), "m"), t.TempDir()
	r := f2pad(t, "fit", "--images", train, "--method", "padim", "--size", "32", "--out", m)
	require.Equal(t, exitOK, r.code, r.err)
	require.Regexp(t, `(?m)^white level  4095 of 16-bit images; the brightest that was learned from has \d+$`, r.out)
	require.NotContains(t, r.err, "warning")
	require.Equal(t, exitOK, f2pad(t, "fit", "--images", data()+"/train/good", "--method", "padim", "--size", "32", "--out", m+"8").code)
	require.NotContains(t, f2pad(t, "inspect", m+"8").out, "white level")

	r = f2pad(t, "score", "--model", m, "--out", out, "--overlays", "--refine", "none", "--pixel-threshold", "1e9", photos)
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, 1, strings.Count(r.err, "warning: "), r.err)
	require.Regexp(t, `b.png has values up to \d+; what is above the white level, 4095, is taken as that: fit with a higher --white-level`, r.err)
	over, err := imageio.Decode(filepath.Join(out, lines(t, out)[0]["overlay"].(string)), imageio.Limits{})
	require.NoError(t, err)
	was, err := imageio.Decode(hole, imageio.Limits{})
	require.NoError(t, err)
	same := 0
	for i, v := range nd.Data(was.RGB()) {
		if math.Abs(float64(v-nd.Data(over.RGB())[i])) < 0.01 {
			same++
		}
	}
	require.Equal(t, len(nd.Data(over.RGB())), same, "where nothing is marked, the overlay is the image")
}

// TestImageMemoryIsAsAsked: --image-memory is what an image may take while it is decoded.
func TestImageMemoryIsAsAsked(t *testing.T) {
	setup(t)
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, 512, 256)))) // 16 bytes per pixel: 2 MiB
	path := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o666))
	r := f2pad(t, "score", "--image-memory", "1", "--model", model(), "--out", t.TempDir(), path)
	require.Equal(t, exitPartial, r.code, r.err)
	require.Contains(t, r.err, "error: "+path+": image too large: 512 x 256 pixels take 2 MiB of memory while they are decoded, at most 1 are allowed\n")
	r = f2pad(t, "score", "--image-memory", "2", "--model", model(), "--out", t.TempDir(), path)
	require.Equal(t, exitOK, r.code, r.err)
}

// TestEveryInputOfTheTableHasItsTest: docs/inputs.md names tests that exist, in every row.
func TestEveryInputOfTheTableHasItsTest(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "inputs.md"))
	require.NoError(t, err)
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(code, -1) {
			there[string(m[1])] = true
		}
		return err
	}))
	named, rows := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`"), 0
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| input |") {
			continue
		}
		rows++
		cells := strings.Split(line, " | ")
		require.Len(t, cells, 3, line)
		tests := named.FindAllStringSubmatch(cells[2], -1)
		require.NotEmpty(t, tests, line)
		require.Len(t, tests, strings.Count(cells[2], "`")/2, line)
		for _, m := range tests {
			require.True(t, there[m[1]], "there is no %s: %s", m[1], line)
		}
	}
	require.Greater(t, rows, 40)
}
