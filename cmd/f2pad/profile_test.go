package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine"

	"github.com/stretchr/testify/require"
)

// --profile says in the end what each stage took; what is a part of another is marked.
func TestProfile(t *testing.T) {
	setup(t)
	path := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(path, goodImage(t), 0o666))
	r := f2pad(t, "score", "--profile", "--maps", "--model", model(), "--out", t.TempDir(), path)
	require.Equal(t, exitOK, r.code, r.err)
	require.Contains(t, r.out, "where the time went, in ms for each of 1 image")
	for _, s := range []string{"decode", "frame", "features", "scores", "base maps", "regions, fills", "back to size", "write", "the whole run"} {
		require.Regexp(t, `(?m)^ +`+s+` +\d+\.\d\d$`, r.out)
	}
	r = f2pad(t, "score", "--json", "--profile", "--maps", "--model", model(), "--out", t.TempDir(), path)
	require.Equal(t, exitOK, r.code, r.err)
	all := messages(t, r.out)
	at := slices.IndexFunc(all, func(m map[string]any) bool { return m["message_type"] == "profile" })
	require.GreaterOrEqual(t, at, 0)
	require.Equal(t, 1.0, all[at]["images"])
	require.Positive(t, all[at]["seconds"])
	require.NotEmpty(t, all[at]["stages"])
	r = f2pad(t, "score", "--maps", "--model", model(), "--out", t.TempDir(), path)
	require.NotContains(t, r.out, "where the time went", "nobody asked")
}

// On one core the table also has the processor's time, and what of it is neither the network's nor the method's.
func TestProfileOfTheProcessor(t *testing.T) {
	stages := []engine.StageTime{
		{Stage: "decode", Seconds: 0.6, CPU: 0.2},
		{Stage: "features", Seconds: 1, CPU: 0.9}, {Stage: "scores", Seconds: 0.1, CPU: 0.1},
		{Stage: "optimisation", Seconds: 3, CPU: 2}, {Stage: "its gradients", Part: true, Seconds: 2, CPU: 1.8},
		{Stage: "looks", Seconds: 0.8, CPU: 0.7}, {Stage: "their network", Part: true, Seconds: 0.5, CPU: 0.4},
	}
	table := profileOf(2, 7, 4.1, stages)
	require.InDelta(t, 4.1-0.9-0.1-1.8-0.4, table.Outside, 1e-12)
	var text strings.Builder
	require.NoError(t, table.Text(&text))
	require.Contains(t, text.String(), "on the right, of that the processor's")
	for _, line := range []string{
		"  decode +300.00 +100.00", "    their network +250.00 +200.00", "  the rest +100.00", "  the whole run +3500.00 +2050.00", "  without network +450.00",
	} {
		require.Regexp(t, `(?m)^`+line+`$`, text.String())
	}
	for i := range stages {
		stages[i].CPU = 0
	}
	text.Reset()
	table = profileOf(2, 7, 4.1, stages)
	require.Zero(t, table.CPU)
	require.NoError(t, table.Text(&text))
	require.NotContains(t, text.String(), "the rest")
}

// --verbose says how --memory is shared out, and a ceiling changes no result.
func TestMemoryCeiling(t *testing.T) {
	setup(t)
	path := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(path, goodImage(t), 0o666))
	var maps [][]byte
	for _, mib := range []string{"0", "150"} {
		out := t.TempDir()
		r := f2pad(t, "score", "--verbose", "--memory", mib, "--maps", "--model", model(), "--out", out, filepath.Dir(path))
		require.Equal(t, exitOK, r.code, r.err)
		require.Regexp(t, `(?m)^memory: \d+ MiB at most: .* batches of \d+ images`, r.err+r.out)
		if mib != "0" {
			require.Contains(t, r.err+r.out, "memory: 150 MiB at most")
		}
		data, err := os.ReadFile(filepath.Join(out, "maps", "a.tiff"))
		require.NoError(t, err)
		maps = append(maps, data)
	}
	require.Equal(t, maps[0], maps[1])
	r := f2pad(t, "score", "--maps", "--model", model(), "--out", t.TempDir(), path)
	require.NotContains(t, r.err+r.out, "memory:")
	r = f2pad(t, "score", "--memory", "-5", "--model", model(), "--out", t.TempDir(), path)
	require.Equal(t, exitUsage, r.code)
}

// Machines of other sizes give the same bytes, unless a ceiling is asked for: only then may windows be smaller.
func TestDefaultCeilingShrinksNoWindow(t *testing.T) {
	was := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(was) })
	for _, mib := range []int{0, 4096} {
		p := &program{out: io.Discard, err: io.Discard, device: cpuDevice, executorName: "go", memory: mib}
		p.ui = p.newUI()
		o, err := p.computing()
		require.NoError(t, err)
		require.Equal(t, mib > 0, o.Shrink)
		require.Positive(t, o.Memory)
		if mib > 0 {
			require.EqualValues(t, mib<<20, o.Memory)
		}
	}
}
