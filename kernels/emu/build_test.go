package emu

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// An object is made anew where something that it depends on is another, and only there.
func TestObjectsDependOnWhatTheyInclude(t *testing.T) {
	text := map[string][]byte{
		"a.cu": []byte("a"), "b.cu": []byte("b"), "a.cuh": []byte("h"), "emu/src/emu.cc": []byte("e"), // ours
		"given.cc": []byte("g"), "given.h": []byte("i"), "given.cu": []byte("k"),
	}
	own := map[string]bool{"a.cu": true, "b.cu": true, "a.cuh": true, "emu/src/emu.cc": true}
	keys := func(version string, watch bool, changed string) map[string]string {
		now := maps.Clone(text)
		if changed != "" {
			now[changed] = []byte("changed")
		}
		k := map[string]string{}
		for _, u := range unitsOf([]byte(version), now, own, watch) {
			k[u.path] = u.key
		}
		return k
	}
	ours, given := []string{"a.cu", "b.cu", "emu/src/emu.cc"}, []string{"given.cc", "given.cu"}
	base := keys("1", false, "")
	require.Len(t, base, len(ours)+len(given))
	for _, c := range []struct {
		version string
		watch   bool
		changed string
		anew    []string
	}{
		{"1", false, "", nil},
		{"1", false, "a.cu", []string{"a.cu"}},
		{"1", false, "a.cuh", append(given, ours...)},
		{"1", false, "given.cc", []string{"given.cc"}},
		{"1", false, "given.h", given},
		{"1", true, "", append(given, ours...)},
		{"2", false, "", append(given, ours...)},
	} {
		var anew []string
		for path, k := range keys(c.version, c.watch, c.changed) {
			if k != base[path] {
				anew = append(anew, path)
			}
		}
		require.ElementsMatch(t, c.anew, anew, "%+v", c)
	}
}

// Of those that want the same object at the same time, one makes it.
func TestOneCompiles(t *testing.T) {
	dir := t.TempDir()
	log, out, compiler := filepath.Join(dir, "log"), filepath.Join(dir, "a.o"), filepath.Join(dir, "compiler")
	script := "#!/bin/sh\necho run >>" + log + "\nsleep 0.1\nfor last; do :; done\necho made >\"$last\"\n"
	require.NoError(t, os.WriteFile(compiler, []byte(script), 0o777))
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		work := filepath.Join(dir, string('a'+rune(i)))
		require.NoError(t, os.Mkdir(work, 0o777))
		wg.Go(func() { errs[i] = compile(work, out, compiler) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	runs, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(runs), "run"))
	require.FileExists(t, out)
	require.NoFileExists(t, out+".lock")
}
