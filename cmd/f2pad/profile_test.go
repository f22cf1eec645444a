package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

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
