//go:build unix

package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/run"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
)

// hugging is a row as Hugging Face's data sets have it.
type hugging struct {
	Image struct {
		Bytes []byte `parquet:"bytes"`
		Path  string `parquet:"path"`
	} `parquet:"image"`
}

// tabled writes the test images as a Parquet file, each so often, and returns its path.
func tabled(t *testing.T, times int) string {
	t.Helper()
	setup(t)
	var rows []hugging
	images, err := filepath.Glob(filepath.Join(data(), "test", "*", "*.png"))
	require.NoError(t, err)
	for range times {
		for _, path := range images {
			var row hugging
			row.Image.Bytes, err = os.ReadFile(path)
			require.NoError(t, err)
			row.Image.Path = filepath.Base(path)
			rows = append(rows, row)
		}
	}
	path := filepath.Join(t.TempDir(), "a.parquet")
	require.NoError(t, parquet.WriteFile(path, rows))
	return path
}

// scoresOf are the scores in results, in their order.
func scoresOf(t *testing.T, dir string) (all []float64) {
	t.Helper()
	for _, l := range lines(t, dir) {
		all = append(all, l["image_score"].(float64))
	}
	return all
}

// TestRowsAndObjectsAreScoredAsFilesAre, a killed run of them goes on, and what is wrong with a store is said.
func TestRowsAndObjectsAreScoredAsFilesAre(t *testing.T) {
	setup(t)
	test := filepath.Join(data(), "test")
	plain := t.TempDir()
	require.Equal(t, exitOK, score(t, plain, test).code)
	want := scoresOf(t, plain)
	require.Len(t, want, 5)

	table, out := tabled(t, 1), t.TempDir()
	r := score(t, out, "--masks", table)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, table+": images are in column image\n")
	require.ElementsMatch(t, want, scoresOf(t, out))
	again := score(t, out, "--masks", "--json", table)
	require.Contains(t, again.out, `{"message_type":"parquet","path":"`+table+`","column":"image","holds":"images"}`)
	require.Contains(t, again.out, `"kept":5`)
	r = score(t, t.TempDir(), "--parquet-column", "label", table)
	require.Equal(t, exitPartial, r.code)
	require.Contains(t, r.err, "error: "+table+": no column label; its columns are image.bytes, image.path")

	store := s3mem.New()
	require.NoError(t, store.CreateBucket("photos"))
	for name := range filesBelow(t, test) {
		content, err := os.ReadFile(filepath.Join(test, name))
		require.NoError(t, err)
		_, err = store.PutObject("photos", "line 1/"+filepath.ToSlash(name), nil, strings.NewReader(string(content)), int64(len(content)), nil)
		require.NoError(t, err)
	}
	server := httptest.NewServer(gofakes3.New(store).Server())
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	parameters := "?endpoint=" + server.URL + "&use_path_style=true"
	out = t.TempDir()
	r = score(t, out, "--masks", "s3://photos/line 1/"+parameters)
	require.Equal(t, exitOK, r.code, r.err)
	require.NotContains(t, r.err, "SDK")
	require.Equal(t, want, scoresOf(t, out))
	l := lines(t, out)[0]
	require.True(t, strings.HasPrefix(l["image"].(string), "s3://photos/line 1/"))
	require.NotEmpty(t, l["tag"])
	require.FileExists(t, filepath.Join(out, "masks", "good", "000.png"))
	r = score(t, out, "--masks", "s3://photos/line 1"+parameters)
	require.Contains(t, r.out, "5 of them finished by an earlier run")
	for _, url := range []string{"s3://photos/none/", "s3://none/line 1/", "gs://photos/", "azblob://photos/"} {
		r = score(t, t.TempDir(), url+parameters+"&secret=very-secret")
		require.Equal(t, exitFailure, r.code, url)
		require.Contains(t, r.err, strings.TrimSuffix(url, "/"))
		require.NotContains(t, r.out+r.err, "very-secret", url)
	}
}

// TestAKilledRunOfRowsAndObjectsGoesOn to the same bytes.
func TestAKilledRunOfRowsAndObjectsGoesOn(t *testing.T) {
	table := tabled(t, 4)
	folder := t.TempDir()
	for i := range 4 {
		require.NoError(t, os.CopyFS(filepath.Join(folder, string(rune('a'+i))), os.DirFS(filepath.Join(data(), "test"))))
	}
	for _, input := range []string{table, "file://" + filepath.ToSlash(folder)} {
		fresh, dir := t.TempDir(), t.TempDir()
		args := []string{"--batch", "2", "--maps", "--masks", "--overlays", input}
		require.Equal(t, exitOK, score(t, fresh, args...).code)
		r := &running{t: t, Cmd: command(append([]string{"score", "--json", "--model", model(), "--out", dir}, args...)...)}
		r.start()
		for range 5 {
			r.await(`"message_type":"item"`)
		}
		require.NoError(t, r.Process.Kill())
		r.end()
		again := score(t, dir, args...)
		require.Equal(t, exitOK, again.code, again.err)
		require.NotContains(t, again.out, " 0 of them finished by an earlier run")
		requireSameFiles(t, fresh, dir, input)
	}
}

// TestWatchingAFolder from the first image to the end, killed in between.
func TestWatchingAFolder(t *testing.T) {
	setup(t)
	in, out := t.TempDir(), t.TempDir()
	images, err := filepath.Glob(filepath.Join(data(), "test", "*", "*.png"))
	require.NoError(t, err)
	put := func(i int) {
		content, err := os.ReadFile(images[i])
		require.NoError(t, err)
		tmp := filepath.Join(in, ".tmp")
		require.NoError(t, os.WriteFile(tmp, content, 0o600))
		require.NoError(t, os.Rename(tmp, filepath.Join(in, filepath.Base(filepath.Dir(images[i]))+filepath.Base(images[i]))))
	}
	start := func() *running {
		r := &running{t: t, Cmd: command("score", "--json", "--model", model(), "--out", out, "--masks", "--watch", in)}
		r.start()
		return r
	}
	r := start()
	put(0)
	r.await(`"message_type":"watching","images":1`)
	require.FileExists(t, filepath.Join(out, run.ResultsFile))
	put(1)
	r.await(`"message_type":"item"`)
	require.NoError(t, r.Process.Kill())
	r.end()

	r = start()
	put(2)
	r.await(`"message_type":"watching","images":3`)
	require.NoError(t, os.WriteFile(filepath.Join(in, "broken.png"), []byte("no image"), 0o600))
	r.await(`"message_type":"error"`)
	r.await(`"message_type":"watching","images":4`)
	require.NoError(t, r.Process.Signal(os.Interrupt))
	last, code := r.end()
	require.Equal(t, exitPartial, code)
	require.Contains(t, last, `"message_type":"summary","images":4,`)
	var l map[string]any
	require.NoError(t, json.Unmarshal([]byte(last), &l))
	require.EqualValues(t, 1, l["failed"])
	require.Empty(t, r.err.String())

	require.NoError(t, os.Remove(filepath.Join(in, "broken.png")))
	r = start()
	r.await(`"message_type":"watching","images":3`)
	require.NoError(t, r.Process.Signal(os.Interrupt))
	_, code = r.end()
	require.Equal(t, exitOK, code)
	fresh := t.TempDir()
	require.Equal(t, exitOK, score(t, fresh, "--masks", in).code)
	requireSameFiles(t, fresh, out, "as a run writes")

	for _, args := range [][]string{{"--watch", "-"}, {"--watch", "--shard", "1/2", in}, {"--rescan", "5", in}} {
		require.Equal(t, exitUsage, score(t, t.TempDir(), args...).code, args)
	}
}
