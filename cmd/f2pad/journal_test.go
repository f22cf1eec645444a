package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wanted is a run that asks for masks.
var wanted = runInfo{Version: "v1", Model: "abc", Refine: "f2pad", Masks: true}

// inputs of the test's runs; b.png cannot be scored.
var inputs = []string{"a.png", "b.png", "c\xff.png", "d.png"}

// work does what is left of a run of inputs, up to but not including input number end, and returns what it kept.
func work(t *testing.T, dir string, inputs []string, end int) []finished {
	t.Helper()
	j, err := openJournal(dir, wanted, false)
	require.NoError(t, err)
	defer j.close()
	var kept []finished
	for _, name := range inputs[:end] {
		l, ok, err := j.keep(name)
		require.NoError(t, err)
		if ok {
			kept = append(kept, l)
			continue
		}
		if name == "b.png" {
			require.NoError(t, j.add(unscored{name, "broken"}))
			continue
		}
		mask := "masks/" + name[:1] + ".png"
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "masks"), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, mask), nil, 0o666))
		require.NoError(t, j.add(scored{Image: name, Anomalous: name == "d.png", Mask: &mask}))
	}
	if end == len(inputs) {
		require.NoError(t, j.finish())
	}
	return kept
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

func uninterrupted(t *testing.T) string {
	dir := t.TempDir()
	require.Empty(t, work(t, dir, inputs, 4))
	require.NoFileExists(t, filepath.Join(dir, partFile))
	return content(t, dir, resultsFile)
}

func TestRunEndedAnywhereGoesOnToTheSameResults(t *testing.T) {
	want := uninterrupted(t)
	require.Equal(t, 4, strings.Count(want, "\n"))
	for end := range 4 {
		for _, cut := range []int{0, 1, 9} { // bytes that the dying process did not write any more
			dir := t.TempDir()
			work(t, dir, inputs, end)
			require.NoFileExists(t, filepath.Join(dir, resultsFile))
			whole := 0
			if end > 0 {
				part := content(t, dir, partFile)
				part = part[:len(part)-cut]
				require.NoError(t, os.WriteFile(filepath.Join(dir, partFile), []byte(part), 0o666))
				whole = strings.Count(part, "\n")
			}
			require.Len(t, work(t, dir, inputs, 4), whole)
			require.Equal(t, want, content(t, dir, resultsFile), "ended before %d, %d bytes short", end, cut)
		}
	}
}

func TestKeptLinesTellWhatTheyFound(t *testing.T) {
	dir := t.TempDir()
	work(t, dir, inputs, 4)
	kept := work(t, dir, inputs, 4)
	require.Len(t, kept, 4)
	require.Equal(t, finished{Image: "a.png", Mask: "masks/a.png"}, kept[0])
	require.Equal(t, finished{Image: "b.png", Error: "broken"}, kept[1])
	require.Equal(t, finished{Image: "d.png", Mask: "masks/d.png", Anomalous: true}, kept[3])
}

func TestCompleteRunIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	work(t, dir, inputs, 4)
	before, err := os.Stat(filepath.Join(dir, resultsFile))
	require.NoError(t, err)
	work(t, dir, inputs, 4)
	after, err := os.Stat(filepath.Join(dir, resultsFile))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, before.ModTime(), after.ModTime())
}

func TestMoreInputsExtendACompleteRun(t *testing.T) {
	dir := t.TempDir()
	work(t, dir, inputs[:3], 3)
	require.Len(t, work(t, dir, inputs, 4), 3)
	require.Equal(t, uninterrupted(t), content(t, dir, resultsFile))
}

func TestLineWithoutItsOutputIsDoneAgain(t *testing.T) {
	for _, ended := range []int{3, 4} {
		dir := t.TempDir()
		work(t, dir, inputs, ended)
		require.NoError(t, os.Remove(filepath.Join(dir, "masks/c.png")))
		require.Len(t, work(t, dir, inputs, 4), 2)
		require.FileExists(t, filepath.Join(dir, "masks/c.png"))
		require.Equal(t, uninterrupted(t), content(t, dir, resultsFile))
	}
}

func TestGarbageAfterACrashIsCutOff(t *testing.T) {
	dir := t.TempDir()
	work(t, dir, inputs, 2)
	part := content(t, dir, partFile)
	for _, garbage := range []string{"\x00\x00\x00\n", "{}\n", "{\"image\":\"c", "null\n{\"image\":\"d.png\"}\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, partFile), []byte(part+garbage), 0o666))
		require.Len(t, work(t, dir, inputs, 3), 2, garbage)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, partFile), []byte(uninterrupted(t)+"{\"im"), 0o666))
	work(t, dir, inputs, 4)
	require.Equal(t, uninterrupted(t), content(t, dir, resultsFile))
}

func TestResultsOfSomethingElseAreRefused(t *testing.T) {
	for _, end := range []int{3, 4} { // interrupted, complete
		dir := t.TempDir()
		work(t, dir, inputs, end)

		other := wanted
		other.Refine = "residual"
		_, err := openJournal(dir, other, false)
		require.ErrorContains(t, err, "(refine was f2pad, is residual): choose another --out")

		j, err := openJournal(dir, wanted, false)
		require.NoError(t, err)
		_, ok, err := j.keep("a.png")
		require.NoError(t, err)
		require.True(t, ok)
		_, _, err = j.keep("x.png")
		require.ErrorContains(t, err, "(number 2 was b.png, is x.png): choose another --out")
		require.NoError(t, j.close())

		j, err = openJournal(dir, wanted, false)
		require.NoError(t, err)
		require.ErrorContains(t, j.finish(), "more inputs (number 1 is a.png): choose another --out")
		require.NoError(t, j.close())

		require.NoError(t, os.Remove(filepath.Join(dir, runFile)))
		_, err = openJournal(dir, wanted, false)
		require.ErrorContains(t, err, "unknown run")
	}
}

func TestForceThrowsOldResultsAway(t *testing.T) {
	for _, end := range []int{3, 4} {
		dir := t.TempDir()
		work(t, dir, inputs, end)
		other := wanted
		other.Refine = "residual"
		j, err := openJournal(dir, other, true)
		require.NoError(t, err)
		_, ok, err := j.keep("x.png")
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, j.add(scored{Image: "x.png"}))
		require.NoError(t, j.finish())
		require.Equal(t, 1, strings.Count(content(t, dir, resultsFile), "\n"))
		require.Contains(t, content(t, dir, runFile), `"refine": "residual"`)
	}
}

func TestNoInputsGiveEmptyResults(t *testing.T) {
	dir := t.TempDir()
	work(t, dir, nil, 0)
	require.Empty(t, content(t, dir, resultsFile))
}
