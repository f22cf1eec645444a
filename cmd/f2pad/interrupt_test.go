//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"f2pad.example/engine/bench"
	"f2pad.example/engine/run"

	"github.com/stretchr/testify/require"
)

func startScoring(t *testing.T, dir string) *running {
	r := &running{t: t, Cmd: command(
		"score", "--json", "--model", model(), "--out", dir, "--batch", "1", "--maps", "--masks", "--overlays", "-")}
	r.start()
	return r
}

// uninterruptedScores gives the inputs and what scoring them without interruption writes.
func uninterruptedScores(t *testing.T) (names []string, want map[string]string) {
	setup(t)
	names, err := filepath.Glob(filepath.Join(data(), "test", "*", "*.png"))
	require.NoError(t, err)
	require.Len(t, names, 5)
	dir := t.TempDir()
	args := append([]string{"score", "--model", model(), "--out", dir, "--maps", "--masks", "--overlays"}, names...)
	require.Equal(t, exitOK, f2pad(t, args...).code)
	return names, files(t, dir)
}

// requireWhole fails if anything in a run's folder is half-written.
func requireWhole(t *testing.T, dir string, done int) {
	t.Helper()
	require.NoFileExists(t, filepath.Join(dir, run.ResultsFile))
	part := content(t, dir, run.PartFile)
	require.Equal(t, done, strings.Count(part, "\n"))
	require.True(t, strings.HasSuffix(part, "\n"))
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NotContains(t, d.Name(), ".tmp")
		return err
	}))
}

func TestInterruptedRunGoesOnToTheSameFiles(t *testing.T) {
	names, want := uninterruptedScores(t)
	dir := t.TempDir()
	r := startScoring(t, dir)
	r.feed(names[:2]...)
	require.NoError(t, r.Process.Signal(os.Interrupt))
	last, code := r.end()
	require.Equal(t, exitCancelled, code)
	require.Contains(t, last, `"message_type":"exit_error","error":"2 images are done`)
	requireWhole(t, dir, 2)

	r = startScoring(t, dir) // once more, ended by another signal
	fmt.Fprintln(r.list, names[0])
	fmt.Fprintln(r.list, names[1])
	r.feed(names[2])
	require.NoError(t, r.Process.Signal(syscall.SIGTERM))
	_, code = r.end()
	require.Equal(t, exitCancelled, code)
	requireWhole(t, dir, 3)

	r = startScoring(t, dir)
	for _, name := range names {
		fmt.Fprintln(r.list, name)
	}
	require.NoError(t, r.list.Close())
	last, code = r.end()
	require.Equal(t, exitOK, code)
	require.Contains(t, last, `"kept":3`)
	require.Equal(t, want, files(t, dir))
}

func TestKilledRunGoesOnToTheSameFiles(t *testing.T) {
	names, want := uninterruptedScores(t)
	dir := t.TempDir()
	r := startScoring(t, dir)
	r.feed(names[:3]...)
	require.NoError(t, r.Process.Kill())
	r.end()
	requireWhole(t, dir, 3)
	// What a machine that loses its power may leave: a line cut short, an output that was never written.
	part := filepath.Join(dir, run.PartFile)
	require.NoError(t, os.Truncate(part, int64(len(content(t, dir, run.PartFile))-5)))
	var second struct{ Mask string }
	require.NoError(t, json.Unmarshal([]byte(strings.Split(content(t, dir, run.PartFile), "\n")[1]), &second))
	require.NoError(t, os.Remove(filepath.Join(dir, second.Mask)))

	args := append([]string{"score", "--model", model(), "--out", dir, "--maps", "--masks", "--overlays"}, names...)
	again := f2pad(t, args...)
	require.Equal(t, exitOK, again.code, again.err)
	require.Contains(t, again.out, "1 of them finished by an earlier run")
	require.Equal(t, want, files(t, dir))
}

func TestSecondInterruptEndsAtOnce(t *testing.T) {
	setup(t)
	big, dir := t.TempDir(), t.TempDir()
	require.Equal(t, exitOK, f2pad(t, "synth", "--out", big, "--train", "1", "--test", "2", "--size", "1024").code)
	r := startScoring(t, dir)
	r.feed(filepath.Join(pictures(t, "a.png"), "a.png")) // it listens to signals
	fmt.Fprintln(r.list, filepath.Join(big, "test", "hole", "000.png"))
	time.Sleep(200 * time.Millisecond) // it is at work, most likely; the test holds if it is not
	require.NoError(t, r.Process.Signal(os.Interrupt))
	r.await("interrupt again")
	r.Process.Signal(os.Interrupt) // it may have ended
	_, code := r.end()
	require.Equal(t, exitCancelled, code)
	require.NoFileExists(t, filepath.Join(dir, run.ResultsFile))
}

func TestSecondProgramIsRefusedAtOnce(t *testing.T) {
	in, out := pictures(t, "a.png"), t.TempDir()
	r := startScoring(t, out)
	r.feed(filepath.Join(in, "a.png"))
	second := score(t, out, in)
	require.Equal(t, exitFailure, second.code)
	require.Contains(t, second.err, fmt.Sprintf("in use by process %d", r.Process.Pid))
	require.NoError(t, r.Process.Kill())
	r.end()
	again := score(t, out, "--maps", "--masks", "--overlays", in)
	require.Equal(t, exitOK, again.code, again.err)
	require.NoFileExists(t, filepath.Join(out, run.LockFile))
}

func TestScoreAnswersAsLinesArrive(t *testing.T) {
	in := pictures(t, "a.png", "b.png")
	cmd := command("score", "--json", "--model", model(), "--out", t.TempDir(), "--batch", "64", "-")
	r := &running{t: t, Cmd: cmd}
	r.start()
	r.feed(filepath.Join(in, "a.png"), filepath.Join(in, "b.png")) // waits for the answer after each
	require.NoError(t, r.list.Close())
	last, code := r.end()
	require.Equal(t, exitOK, code, last)
}

func TestInterruptedVerbsSaySoInWords(t *testing.T) {
	dir := t.TempDir()
	cmd := command("synth", "--out", dir, "--train", "100000", "--size", "256")
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	require.Eventually(t, func() bool { // it listens to signals before it writes
		images, err := filepath.Glob(filepath.Join(dir, "train", "good", "*.png"))
		return err == nil && len(images) > 0
	}, patience, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	require.True(t, cmd.ProcessState.Exited())
	require.Equal(t, exitCancelled, cmd.ProcessState.ExitCode())
	require.Contains(t, said.String(), "f2pad: interrupted\n")
	require.NotContains(t, said.String(), "context canceled")
}

// The rows that were measured before an interrupt are shown and written.
func TestBenchKeepsItsRowsWhenInterrupted(t *testing.T) {
	setup(t)
	out := filepath.Join(t.TempDir(), "b.json")
	r := &running{t: t, Cmd: command("bench", "--json", "--device", "cpu", "--model", model(), "--data", filepath.Join(data(), "test"),
		"--count", "2", "--refine", "none", "--scenario", "offline", "--batch", "1,2,3,4,5,6,7,8", "--seconds", "1", "--out", out)}
	r.start()
	r.await(`"message_type":"bench_row"`)
	require.NoError(t, r.Process.Signal(os.Interrupt))
	last, code := r.end()
	require.Equal(t, exitCancelled, code, last)
	require.Contains(t, last, "measured, the rest is not")
	report, err := bench.Read(out)
	require.NoError(t, err)
	require.False(t, report.Complete)
	require.NotEmpty(t, report.Rows)
	require.Less(t, len(report.Rows), 8)
	require.Empty(t, report.Cold)
}
