package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// packed writes the test images as a WebDataset shard and returns its path; images it takes so often.
func packed(t *testing.T, name string, times int) string {
	t.Helper()
	setup(t)
	images := map[string][]byte{}
	for _, f := range slices.Collect(maps.Keys(filesBelow(t, filepath.Join(data(), "test")))) {
		b, err := os.ReadFile(filepath.Join(data(), "test", f))
		require.NoError(t, err)
		for i := range times {
			images[fmt.Sprintf("%d/%s", i, f)] = b
		}
	}
	path := filepath.Join(t.TempDir(), name)
	var b bytes.Buffer
	var out io.Writer = &b
	var z *gzip.Writer
	if strings.HasSuffix(name, "gz") {
		z = gzip.NewWriter(&b)
		out = z
	}
	var add func(name string, data []byte)
	var end func() error
	if strings.HasSuffix(name, ".zip") {
		w := zip.NewWriter(out)
		add = func(name string, data []byte) {
			f, err := w.Create(name)
			require.NoError(t, err)
			_, err = f.Write(data)
			require.NoError(t, err)
		}
		end = w.Close
	} else {
		w := tar.NewWriter(out)
		add = func(name string, data []byte) {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o600}))
			_, err := w.Write(data)
			require.NoError(t, err)
		}
		end = w.Close
	}
	for _, name := range slices.Sorted(maps.Keys(images)) {
		add(name, images[name])
		add(strings.TrimSuffix(name, ".png")+".json", []byte("{}"))
	}
	require.NoError(t, end())
	if z != nil {
		require.NoError(t, z.Close())
	}
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, at, at))
	return path
}

// TestArchivesAreScoredAsTheirFilesAre: the same bytes give the same scores and maps, wherever they lie.
func TestArchivesAreScoredAsTheirFilesAre(t *testing.T) {
	setup(t)
	everything := []string{"--maps", "--masks", "--overlays"}
	plain := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(plain, "0"), os.DirFS(filepath.Join(data(), "test"))))
	out := t.TempDir()
	require.Equal(t, exitOK, score(t, out, append(everything, plain)...).code)
	want := files(t, out)
	anonymous := func(results, root string) string {
		var b strings.Builder
		for line := range strings.Lines(results) {
			var l map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &l))
			l["image"] = strings.TrimPrefix(l["image"].(string), root)
			delete(l, "modified")
			require.NoError(t, json.NewEncoder(&b).Encode(l))
		}
		return b.String()
	}
	want[run.ResultsFile] = anonymous(want[run.ResultsFile], plain)
	for _, name := range []string{"a.tar", "a.tgz", "a.tar.gz", "a.zip"} {
		path, out := packed(t, name, 1), t.TempDir()
		args := append([]string{"--batch", "3"}, append(everything, path)...)
		r := score(t, out, args...)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.err, "warning: ignored 5 files whose names do not end as an image's do: "+path+"/0/good/000.json, ")
		got := files(t, out)
		got[run.ResultsFile] = anonymous(got[run.ResultsFile], path)
		require.Equal(t, want, got, name)

		r = score(t, out, args...)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "5 of them finished by an earlier run")
		list := command("score", "--model", model(), "--out", t.TempDir(), "-")
		list.Stdin = strings.NewReader(path + "\n")
		r = finish(t, list)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, "5 images: ")
	}
}

// requireSameFiles fails unless two folders of results hold the same, but for what a killed program may leave.
func requireSameFiles(t *testing.T, want, have string, msg string) {
	t.Helper()
	a, b := files(t, want), files(t, have)
	maps.DeleteFunc(b, func(name, _ string) bool { return artifact.IsTemp(filepath.Base(name)) })
	require.Equal(t, slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)), msg)
	require.Equal(t, a[run.ResultsFile], b[run.ResultsFile], msg)
	for name, data := range a {
		require.True(t, data == b[name], "%s: %s differs", msg, name)
	}
}

// TestAKilledRunOfAnArchiveGoesOn to the same bytes.
func TestAKilledRunOfAnArchiveGoesOn(t *testing.T) {
	for _, name := range []string{"a.tar", "a.tar.gz", "a.zip"} {
		path, fresh, dir := packed(t, name, 4), t.TempDir(), t.TempDir()
		args := []string{"--batch", "2", "--maps", "--masks", "--overlays", path}
		require.Equal(t, exitOK, score(t, fresh, args...).code)
		r := &running{t: t, Cmd: command(append([]string{"score", "--json", "--model", model(), "--out", dir}, args...)...)}
		r.start()
		for range 5 {
			r.await(`"message_type":"item"`)
		}
		require.NoError(t, r.Process.Kill())
		r.end()
		done := strings.Count(content(t, dir, run.PartFile), "\n")
		require.GreaterOrEqual(t, done, 5)
		again := score(t, dir, args...)
		require.Equal(t, exitOK, again.code, again.err)
		require.Contains(t, again.out, fmt.Sprintf("%d of them finished by an earlier run", done))
		requireSameFiles(t, fresh, dir, name)
	}
}

// TestABrokenArchiveIsOneInputThatFailed, and what is before the fault is scored.
func TestABrokenArchiveIsOneInputThatFailed(t *testing.T) {
	for _, name := range []string{"a.tar", "a.tgz"} {
		path, out := packed(t, name, 1), t.TempDir()
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, info.Size()*2/3))
		for range 2 {
			r := score(t, out, "--masks", path)
			require.Equal(t, exitPartial, r.code, r.err)
			require.Equal(t, 1, strings.Count(r.err, "error: "), r.err)
			require.Contains(t, r.err, "error: "+path+": truncated archive")
		}
		all := lines(t, out)
		require.Greater(t, len(all), 2)
		for _, l := range all[:len(all)-1] {
			require.Contains(t, l, "image_score")
		}
		require.ElementsMatch(t, []string{"image", "error"}, keys(all[len(all)-1]))
		require.Equal(t, path, all[len(all)-1]["image"])
	}
	none := filepath.Join(t.TempDir(), "none.tar")
	require.NoError(t, os.WriteFile(none, []byte("no archive"), 0o600))
	r := score(t, t.TempDir(), none)
	require.Equal(t, exitPartial, r.code)
	require.Contains(t, r.err, "error: "+none+": truncated archive")
}

func TestOnlyScoreReadsArchives(t *testing.T) {
	path := packed(t, "a.tar", 1)
	for _, args := range [][]string{
		{"fit", "--images", path, "--method", "padim", "--out", filepath.Join(t.TempDir(), "m")},
		{"fit", "--data", path, "--method", "padim", "--out", filepath.Join(t.TempDir(), "m")},
		{"eval", "--data", path, "--model", model()},
		{"calibrate", model(), "--images", path, "--out", filepath.Join(t.TempDir(), "m")},
	} {
		r := f2pad(t, args...)
		require.Equal(t, exitFailure, r.code, args)
		require.Contains(t, r.err, path+": is an archive, which only score reads: unpack it, and name the folder", args)
	}
}

// TestACompressedArchiveTakesNoMoreThanItMay: its members are forgotten as they are scored, or known.
func TestACompressedArchiveTakesNoMoreThanItMay(t *testing.T) {
	path, out := packed(t, "a.tar.gz", 30), t.TempDir()
	for i, want := range []string{"0 of them finished", "150 of them finished"} {
		r := score(t, out, "--image-memory", "1", path)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.out, want)
		total := 0.0
		for _, l := range lines(t, out) {
			total += l["bytes"].(float64)
		}
		require.Greater(t, total, float64(1<<20), "run %d: or the test shows nothing", i)
	}
}
