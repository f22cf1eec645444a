//go:build unix && cgo

package ort

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// install runs install.sh on an empty cache, with the given npm, a shell script, in place of the real one.
func install(t *testing.T, cache, npm string, env ...string) (stdout, stderr string, err error) {
	t.Helper()
	bin := t.TempDir()
	for _, tool := range []string{"sh", "uname", "tr", "mkdir", "mktemp", "rm", "mv", "tar", "gzip", "sha512sum", "shasum", "perl"} {
		if path, err := exec.LookPath(tool); err == nil {
			require.NoError(t, os.Symlink(path, filepath.Join(bin, tool)))
		}
	}
	if npm != "" {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "npm"), []byte("#!/bin/sh\n"+npm+"\n"), 0o777))
	}
	c := exec.Command(filepath.Join(bin, "sh"), "install.sh")
	c.Env = append([]string{"PATH=" + bin, "XDG_CACHE_HOME=" + cache, "GOOS=linux", "GOARCH=amd64"}, env...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

// left are the files in a folder and below.
func left(t *testing.T, dir string) (files []string) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}

func TestInstallFailsInWords(t *testing.T) {
	for _, c := range []struct{ name, npm, env, want string }{
		{"no npm", "", "GOARCH=arm64", "npm is not installed"},
		{"no network", "exit 1", "GOARCH=arm64", "registry within reach"},
		{"npm leaves nothing", "exit 0", "GOARCH=arm64", "npm left no onnxruntime-node-" + Version + ".tgz"},
		{"another package", "echo other >onnxruntime-node-" + Version + ".tgz", "GOARCH=arm64", "wrong checksum"},
		{"no library for the system", "exit 0", "GOOS=plan9", "no library for plan9/amd64"},
		{"no library for the processor", "exit 0", "GOARCH=riscv64", "no library for linux/riscv64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := t.TempDir()
			out, errs, err := install(t, cache, c.npm, c.env)
			require.Error(t, err)
			require.Empty(t, out)
			require.Contains(t, errs, "ort: ")
			require.Contains(t, errs, c.want)
			require.Empty(t, left(t, cache))
		})
	}
}

// What is there stays, under the name by which the package looks for it.
func TestInstallLeavesALibraryAlone(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("SKIPPED: there is no shell")
	}
	cache := t.TempDir()
	path := filepath.Join(cache, "f2pad", "ort", Version, runtime.GOOS+"-"+runtime.GOARCH, libraryName())
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o666))
	out, errs, err := install(t, cache, "exit 1", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	require.NoError(t, err, errs)
	require.Equal(t, path+"\n", out)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "mine", string(content))
}
