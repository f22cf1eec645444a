package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/export"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// scoredOnce is a run with masks and maps of the test images and a broken one; a copy, to be changed.
func scoredOnce(t *testing.T) string {
	t.Helper()
	setup(t)
	in, dir := t.TempDir(), filepath.Join(t.TempDir(), "results")
	require.NoError(t, os.CopyFS(filepath.Join(in, "weave", "test"), os.DirFS(filepath.Join(data(), "test"))))
	require.NoError(t, os.WriteFile(filepath.Join(in, "weave", "test", "hole", "bad.png"), []byte("no image"), 0o666))
	require.Equal(t, exitPartial, score(t, dir, "--maps", "--masks", in).code)
	return dir
}

func TestExportInEveryFormat(t *testing.T) {
	dir := scoredOnce(t)
	for _, f := range export.Formats() {
		out := filepath.Join(t.TempDir(), "new", "out")
		r := f2pad(t, "export", "--format", f.Name, "--out", out, dir, "--json")
		want, leftOut := exitOK, 0
		if f.Name == "mvtec-ad2" { // which has its images elsewhere
			want, leftOut = exitPartial, 5
		}
		require.Equal(t, want, r.code, r.out)
		require.Empty(t, r.err)
		all := messages(t, r.out)
		require.Len(t, types(all), 1+leftOut)
		last := all[len(all)-1]
		require.ElementsMatch(t, []string{
			"message_type", "format", "path", "images", "exported", "failed", "left_out", "regions", "finished", "seconds",
		}, keys(last))
		require.Equal(t, "summary", last["message_type"])
		require.Equal(t, []any{f.Name, out, 6.0, 5.0 - float64(leftOut), 1.0, float64(leftOut), true},
			[]any{last["format"], last["path"], last["images"], last["exported"], last["failed"], last["left_out"], last["finished"]})
		info, err := os.Stat(out)
		require.NoError(t, err)
		require.Equal(t, f.Folder, info.IsDir())
	}
	r := f2pad(t, "export", "--format", "mvtec", "--out", filepath.Join(dir, "ad"), dir)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "6 images: 5 exported with 0 regions, 1 failed in score, 0 left out\nmvtec: "+filepath.Join(dir, "ad")+"\n")
	require.Contains(t, r.err, "export: 6/6")
	require.FileExists(t, filepath.Join(dir, "ad", "weave", "test", "hole", "000.tiff"))
}

func TestExportGoesOnWithoutAMask(t *testing.T) {
	dir := scoredOnce(t)
	masks, err := filepath.Glob(filepath.Join(dir, "masks", "*", "*", "*", "*.png"))
	require.NoError(t, err)
	require.Len(t, masks, 5)
	require.NoError(t, os.Remove(masks[1]))
	out := filepath.Join(t.TempDir(), "coco.json")
	r := f2pad(t, "export", "--format", "coco", "--out", out, dir)
	require.Equal(t, exitPartial, r.code)
	require.Contains(t, r.err, "error: "+masks[1]+": no such file or directory\n")
	require.Contains(t, r.out, "4 exported")
	require.Contains(t, r.out, "1 failed in score, 1 left out")
	var file struct {
		Images []struct{ ID int }
	}
	require.NoError(t, json.Unmarshal([]byte(content(t, filepath.Dir(out), "coco.json")), &file))
	require.Len(t, file.Images, 4)
}

func TestExportRefusesWhatIsNoRunOrNotFinished(t *testing.T) {
	dir := scoredOnce(t)
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		dir, want string
	}{
		{data(), data() + ": holds no results of score (there is no run.json)"},
		{model(), model() + ": holds no results of score"},
		{filepath.Join(dir, "absent"), filepath.Join(dir, "absent") + ": holds no results of score"},
	} {
		r := f2pad(t, "export", "--format", "csv", "--out", out, c.dir)
		require.Equal(t, exitFailure, r.code)
		require.Contains(t, r.err, c.want)
	}
	r := f2pad(t, "export", "--format", "csv", "--out", filepath.Join(dir, run.ResultsFile), dir)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "is the run's own: choose another --out")

	lines := strings.SplitAfter(content(t, dir, run.ResultsFile), "\n")
	require.NoError(t, os.Remove(filepath.Join(dir, run.ResultsFile)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, run.PartFile), []byte(lines[0]+lines[1]), 0o666))
	r = f2pad(t, "export", "--format", "csv", "--out", out, dir)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, dir+": the run is not finished: run its command again, or export what there is with --unfinished")
	require.NoFileExists(t, out)
	r = f2pad(t, "export", "--format", "csv", "--out", out, "--unfinished", dir)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "warning: "+dir+": the run is not finished: 2 lines so far")
	require.Equal(t, 3, strings.Count(content(t, filepath.Dir(out), "out"), "\n"))
}

func TestExportOfAShardSaysSo(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	require.Equal(t, exitOK, score(t, dir, "--shard", "2/2", filepath.Join(data(), "test")).code)
	r := f2pad(t, "export", "--format", "parquet", "--out", filepath.Join(t.TempDir(), "out"), dir)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.err, "holds the results of shard 2/2 only; 'f2pad merge' makes one run of all")
	r = f2pad(t, "export", "--format", "cvat", "--out", filepath.Join(t.TempDir(), "out"), dir)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, dir+": the run wrote no masks, which cvat is made of: score with --masks")
}

func TestExportsUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--format xml --out o d":                     `"--format" flag: must be csv, parquet, coco, cvat, labelstudio, mvtec or mvtec-ad2`,
		"--format csv d":                             `required flag(s) "out" not set`,
		"--format csv --out o":                       `accepts 1 arg(s)`,
		"--format csv --out o --polygons d":          `--polygons needs --rows regions`,
		"--format csv --rows pixels --out o d":       `"--rows" flag: must be images or regions`,
		"--format mvtec --label x --out o d":         `--label is not for --format mvtec`,
		"--format coco --out o --simplify 2 d":       `--simplify is for --polygons`,
		"--format coco --out o --rows regions d":     `--rows is not for --format coco`,
		"--format coco --out o --simplify much d":    `"--simplify" flag`,
		"--format mvtec-ad2 --out o --object a/b d":  `--object must be the name of a folder`,
		"--format labelstudio --out o --object ab d": `--object is not for --format labelstudio`,
	} {
		r := f2pad(t, append([]string{"export"}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, r.code, args)
		require.Contains(t, r.err, want, args)
	}
	r := f2pad(t, "export", "--help")
	require.Equal(t, exitOK, r.code)
	require.Contains(t, r.out, "Examples:\n  f2pad export")
	for _, f := range export.Formats() {
		require.Contains(t, r.out, f.About)
	}
}
