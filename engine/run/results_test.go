package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"f2pad.example/engine/run/lock"

	"github.com/stretchr/testify/require"
)

// outcomes are the lines of a folder, and the errors between them, in words.
func outcomes(t *testing.T, r *Results) (lines []Outcome, broken []string) {
	t.Helper()
	for o, err := range r.All() {
		if err != nil {
			broken = append(broken, err.Error())
			continue
		}
		lines = append(lines, o)
	}
	return lines, broken
}

func TestResultsAreWhatTheRunTold(t *testing.T) {
	args := mixed(t)
	dir := t.TempDir()
	var scored []Line
	failed := map[string]string{}
	sum, err := Run(t.Context(), pretender{}, everything(dir, func(e Event) error {
		switch e := e.(type) {
		case Scored:
			scored = append(scored, e.Line)
		case Failed:
			failed[nameOf(e.Path).Image] = e.Err.Error()
		}
		return nil
	}), looked(t, dir, args...))
	require.NoError(t, err)
	r, err := OpenResults(dir, false)
	require.NoError(t, err)
	require.True(t, r.Finished)
	require.Equal(t, sum.Images, r.Lines)
	require.Equal(t, sum.Info, r.Info)
	for range 2 { // from the beginning each time
		lines, broken := outcomes(t, r)
		require.Empty(t, broken)
		require.Len(t, lines, sum.Images)
		var got []Line
		for _, o := range lines {
			if o.Error == "" {
				got = append(got, o.Line)
			} else {
				require.Equal(t, failed[o.Image], o.Error)
			}
		}
		require.Equal(t, scored, got)
	}
	_, err = Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, args...))
	require.ErrorIs(t, err, lock.ErrHeld, "no run goes on while they are read")
	_, err = OpenResults(dir, false)
	require.ErrorIs(t, err, lock.ErrHeld)
	require.NoError(t, r.Close())
	again, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, args...))
	require.NoError(t, err)
	require.Equal(t, sum.Images-sum.Failed, again.Kept)
}

func TestResultsOfARunThatIsNotFinished(t *testing.T) {
	dir := t.TempDir()
	items := inMemory(6)
	boom := errors.New("boom")
	_, err := Run(t.Context(), pretender{}, everything(dir, func(e Event) error {
		if e, ok := e.(Scored); ok && e.Path() == items[3].Path {
			return boom
		}
		return nil
	}), feedOf(items))
	require.ErrorIs(t, err, boom)
	part := filepath.Join(dir, PartFile)
	data, err := os.ReadFile(part)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(part, append(data, `{"image":"half a li`...), 0o600))
	_, err = OpenResults(dir, false)
	require.ErrorIs(t, err, ErrUnfinished)
	require.EqualError(t, err, dir+": the run is not finished")
	r, err := OpenResults(dir, true)
	require.NoError(t, err)
	defer r.Close()
	require.False(t, r.Finished)
	require.Equal(t, 4, r.Lines)
	lines, broken := outcomes(t, r)
	require.Len(t, lines, 4)
	require.Empty(t, broken, "the end that a killed run leaves is none")
}

func TestResultsThatAreBroken(t *testing.T) {
	dir := t.TempDir()
	_, err := Run(t.Context(), pretender{}, everything(dir, nil), feedOf(inMemory(5)))
	require.NoError(t, err)
	path := filepath.Join(dir, ResultsFile)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(data), "\n")
	lines[1] = "{}\n"
	lines[2] = strings.Replace(lines[2], `"map":"maps/`, `"map":"../maps/`, 1)
	lines[4] = strings.TrimSuffix(lines[4], "\n")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
	r, err := OpenResults(dir, true)
	require.NoError(t, err)
	defer r.Close()
	good, broken := outcomes(t, r)
	require.Equal(t, []string{path + ": line 2: broken line", path + ": line 3: broken line", path + ": line 5: broken line"}, broken)
	require.Len(t, good, 2)
	require.Equal(t, "shard.tar/003.png", good[1].Image, "the rest is read")
	for range r.All() { // may be left at once
		break
	}
}

func TestResultsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, none := range []string{dir, file, filepath.Join(dir, "absent")} {
		_, err := OpenResults(none, true)
		require.EqualError(t, err, none+": holds no results of score (there is no run.json)")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, RunFile), []byte(`{"version":"v9","later":1}`), 0o600))
	_, err := OpenResults(dir, true)
	require.EqualError(t, err, dir+": no line has been written yet")
	require.NoFileExists(t, filepath.Join(dir, LockFile))
	require.NoError(t, os.WriteFile(filepath.Join(dir, RunFile), []byte(`{`), 0o600))
	_, err = OpenResults(dir, false)
	require.ErrorContains(t, err, filepath.Join(dir, RunFile)+": ")
}

// TestResultsOfEarlierVersions: what they did not write is not there.
func TestResultsOfEarlierVersions(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, RunFile), []byte(`{"version":"v0","model_sha256":"abc","refine":"f2pad","masks":true}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ResultsFile),
		[]byte(`{"image":"a.png","image_score":2,"threshold":1,"anomalous":true,"mask":"masks/a.png","seconds":0.1}`+"\n"), 0o600))
	r, err := OpenResults(dir, false)
	require.NoError(t, err)
	defer r.Close()
	lines, broken := outcomes(t, r)
	require.Empty(t, broken)
	require.Len(t, lines, 1)
	require.Nil(t, lines[0].Regions)
	require.Equal(t, "masks/a.png", *lines[0].Mask)
	require.Equal(t, "abc", r.Info.Model)
}
