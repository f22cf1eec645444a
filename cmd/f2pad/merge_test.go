package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

// TestMergedShardsAreTheRunOfAll, of archives and of a list, one of the shards killed on its way.
func TestMergedShardsAreTheRunOfAll(t *testing.T) {
	first, second := packed(t, "a.tar", 2), packed(t, "b.tar.gz", 2)
	everything := []string{"--batch", "2", "--maps", "--masks", "--overlays"}
	args := append(everything, first, filepath.Join(data(), "test"), second, filepath.Join(data(), "test", "hole", "000.png"))
	whole, merged := t.TempDir(), filepath.Join(t.TempDir(), "merged")
	require.Equal(t, exitOK, score(t, whole, args...).code)
	var parts []string
	for i := 1; i <= 3; i++ {
		dir := t.TempDir()
		shard := append([]string{"--shard", fmt.Sprintf("%d/3", i)}, args...)
		if i == 2 {
			r := &running{t: t, Cmd: command(append([]string{"score", "--json", "--model", model(), "--out", dir}, shard...)...)}
			r.start()
			r.await(`"message_type":"item"`)
			require.NoError(t, r.Process.Kill())
			r.end()
			bad := f2pad(t, "merge", "--out", merged, parts[0], dir)
			require.Equal(t, exitFailure, bad.code)
			require.Contains(t, bad.err, "shard 2/3 is not finished: run its command again")
		}
		r := score(t, dir, shard...)
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, content(t, dir, run.RunFile), fmt.Sprintf(`"shard": "%d/3"`, i))
		parts = append(parts, dir)
	}
	bad := f2pad(t, "merge", "--out", merged, parts[0], parts[2])
	require.Equal(t, exitFailure, bad.code)
	require.Contains(t, bad.err, "missing: shard 2/3")
	require.NoDirExists(t, merged)
	bad = f2pad(t, "merge", "--out", merged, parts[0], parts[0], parts[1])
	require.Contains(t, bad.err, "shard 1/3 is given twice")

	r := f2pad(t, "merge", "--out", merged, parts[2], parts[0], parts[1])
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "26 images: ")
	require.Contains(t, r.out, "outputs: 78 linked, 0 copied\n")
	requireSameFiles(t, whole, merged, "merged")
	r = score(t, merged, args...)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "26 of them finished by an earlier run")
	bad = f2pad(t, "merge", "--out", filepath.Dir(parts[0]), whole)
	require.Contains(t, bad.err, "holds the results of a run without --shard")

	json := f2pad(t, "merge", "--json", "--out", merged, parts[0], parts[1], parts[2])
	all := messages(t, json.out)
	last := all[len(all)-1]
	require.ElementsMatch(t, []string{
		"message_type", "images", "anomalous", "failed", "linked", "copied", "results", "seconds", "version", "model_sha256", "refine", "maps", "masks",
		"overlays", "labels", "threshold", "pixel_threshold", "regions", "roi", "executor", "device", "shard",
	}, keys(last))
	require.EqualValues(t, 26, last["images"])
	require.Nil(t, last["shard"])
}

func TestShardsOfAList(t *testing.T) {
	in, whole, merged := pictures(t, "a.png", "b.png", "c.png"), t.TempDir(), t.TempDir()
	list := strings.Repeat(filepath.Join(in, "a.png")+"\n"+filepath.Join(in, "gone.png")+"\n"+filepath.Join(in, "b.png")+"\n", 2)
	var parts []string
	for i, dir := range []string{whole, t.TempDir(), t.TempDir()} {
		args := []string{"score", "--model", model(), "--out", dir, "--masks"}
		if i > 0 {
			args = append(args, "--shard", fmt.Sprintf("%d/2", i))
			parts = append(parts, dir)
		}
		cmd := command(append(args, "-")...)
		cmd.Stdin = strings.NewReader(list)
		require.Equal(t, exitPartial, finish(t, cmd).code)
	}
	r := f2pad(t, append([]string{"merge", "--out", merged}, parts...)...)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "6 images: ")
	require.Contains(t, r.out, " 2 failed\n")
	requireSameFiles(t, whole, merged, "merged")
}

func TestShardsThatAreNoneAreRefused(t *testing.T) {
	for _, bad := range []string{"0/2", "3/2", "1", "x"} {
		r := score(t, t.TempDir(), "--shard", bad, data())
		require.Equal(t, exitUsage, r.code)
		require.Contains(t, r.err, "must be I/N, with I from 1 to N")
	}
	require.Equal(t, exitUsage, f2pad(t, "merge", "--out", t.TempDir()).code)
}
