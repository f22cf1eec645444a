package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// module writes a module with a program that imports its package low.
func module(t *testing.T, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"go.mod":     "module example.com/m\n\ngo 1.26\n",
		"main.go":    "package main\n\nimport \"example.com/m/low\"\n\nfunc main() { low.Do() }\n",
		"low/low.go": "package low\n\nfunc Do() {}\n",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
	}
	return dir
}

func TestWhatBuildsPasses(t *testing.T) {
	dir := module(t, map[string]string{
		"low/clock.go": "package low\n\nimport _ \"unsafe\"\n\n//go:linkname now runtime.nanotime\nfunc now() int64\n\nvar _ = now\n",
		"asm/asm.go":   "package asm\n\nfunc Fast()\n",
		"asm/asm.s":    "",
	})
	n, err := check(dir, "linux/arm64", "./...")
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 3)
}

// Only the platform that a mistake is for fails, wherever below the named packages it lies.
func TestMistakesAreForOnePlatform(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"type", "low/do_windows.go", "package low\n\nvar x int = \"\"\n", "do_windows.go:3:"},
		{"body of what is imported", "low/do_windows.go", "package low\n\nfunc more() { missing() }\n", "undefined: missing"},
		{"unused import", "low/do_windows.go", "package low\n\nimport \"os\"\n", `"os" imported and not used`},
		{"no file is left", "low/low.go", "//go:build !windows\n\npackage low\n\nfunc Do() {}\n", "build constraints exclude all Go files"},
		{"syntax", "low/do_windows.go", "package low\n\nfunc {\n", "do_windows.go:3:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := module(t, map[string]string{c.file: c.text})
			_, err := check(dir, "windows/amd64", ".")
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "windows/amd64: ")
			_, err = check(dir, "darwin/arm64", ".")
			require.NoError(t, err)
		})
	}
}

func TestFunctionsNeedABody(t *testing.T) {
	dir := module(t, map[string]string{
		"low/do_arm64.go": "package low\n\nfunc fast()\n\nvar _ = fast\n",
		"low/do_amd64.go": "package low\n\nfunc fast()\n\nvar _ = fast\n",
		"low/do_amd64.s":  "",
	})
	_, err := check(dir, "linux/arm64", "./...")
	require.ErrorContains(t, err, "do_arm64.go:3:1: fast has no body")
	_, err = check(dir, "linux/amd64", "./...")
	require.NoError(t, err)
}

func TestWhatIsNotThereIsAnError(t *testing.T) {
	_, err := check(".", "linux", "./...")
	require.ErrorContains(t, err, `"linux" is no platform`)
	_, err = check(".", "linux/pdp11", ".")
	require.ErrorContains(t, err, "pdp11")
	_, err = check(module(t, nil), "linux/amd64", "./nothing")
	require.ErrorContains(t, err, "nothing")
}
