//go:build linux && amd64

package kernels_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fetchNVCC runs nvcc.sh on a cache, with the given pip, a shell script, in place of the real one.
func fetchNVCC(t *testing.T, cache, pip string, what ...string) (stdout, stderr string, err error) {
	t.Helper()
	bin := t.TempDir()
	for _, tool := range []string{"sh", "uname", "basename", "mkdir", "mktemp", "rm", "mv", "cat", "cp", "chmod"} {
		if path, err := exec.LookPath(tool); err == nil {
			require.NoError(t, os.Symlink(path, filepath.Join(bin, tool)))
		}
	}
	if pip != "" {
		require.NoError(t, os.WriteFile(filepath.Join(bin, "pip"), []byte("#!/bin/sh\n"+pip+"\n"), 0o777))
	}
	c := exec.Command(filepath.Join(bin, "sh"), append([]string{"nvcc.sh"}, what...)...)
	c.Env = []string{"PATH=" + bin, "XDG_CACHE_HOME=" + cache}
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

// toTarget begins a pip that fills the folder that it is to install to.
const toTarget = `while [ "$1" != --target ]; do shift; done; to=$2/nvidia/cu13; `

func TestNVCCFailsInWords(t *testing.T) {
	for _, c := range []struct{ name, pip, want string }{
		{"no pip", "", "pip is not installed"},
		{"no network", "exit 1", "index within reach"},
		{"no compiler", toTarget + `mkdir -p "$to/bin"`, "the packages hold no nvcc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := t.TempDir()
			out, errs, err := fetchNVCC(t, cache, c.pip)
			require.Error(t, err)
			require.Empty(t, out)
			require.Contains(t, errs, "nvcc: ")
			require.Contains(t, errs, c.want)
			left, err := filepath.Glob(filepath.Join(cache, "f2pad", "nvcc", "*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// Every package is pinned by its hash, and what was fetched is found again without pip.
func TestNVCCIsFetchedOnce(t *testing.T) {
	cache := t.TempDir()
	out, errs, err := fetchNVCC(t, cache, `case " $* " in *" --require-hashes "*) ;; *) exit 3 ;; esac
		for last; do :; done; cp "$last" "$XDG_CACHE_HOME/packages.txt"
		`+toTarget+`mkdir -p "$to/bin" "$to/nvvm/bin" "$to/lib"
		for f in bin/nvcc bin/ptxas bin/nvlink nvvm/bin/cicc; do echo x >"$to/$f"; chmod +x "$to/$f"; done`)
	require.NoError(t, err, errs)
	home := strings.TrimSpace(out)
	require.FileExists(t, filepath.Join(home, "bin", "nvcc"))
	require.NoFileExists(t, filepath.Join(home, "bin", "nvlink"))
	packages, err := os.ReadFile(filepath.Join(cache, "packages.txt"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(packages)), "\n")
	require.Len(t, lines, 4)
	for _, l := range lines {
		require.Regexp(t, regexp.MustCompile(`^nvidia-[a-z-]+==`+filepath.Base(home)+` --hash=sha256:[0-9a-f]{64}$`), l)
	}
	again, errs, err := fetchNVCC(t, cache, "exit 1")
	require.NoError(t, err, errs)
	require.Equal(t, out, again)
}

// The disassembler lies beside the compiler, and is fetched alone.
func TestNVDisasm(t *testing.T) {
	cache := t.TempDir()
	pip := `for last; do :; done; cp "$last" "$XDG_CACHE_HOME/packages.txt"
		` + toTarget + `mkdir -p "$to/bin"; echo x >"$to/bin/nvdisasm"; chmod +x "$to/bin/nvdisasm"`
	out, errs, err := fetchNVCC(t, cache, pip, "nvdisasm")
	require.NoError(t, err, errs)
	require.FileExists(t, filepath.Join(strings.TrimSpace(out), "bin", "nvdisasm"))
	packages, err := os.ReadFile(filepath.Join(cache, "packages.txt"))
	require.NoError(t, err)
	require.Regexp(t, `^nvidia-cuda-nvdisasm==[0-9.]+ --hash=sha256:[0-9a-f]{64}\n$`, string(packages))
	again, errs, err := fetchNVCC(t, cache, "exit 1", "nvdisasm")
	require.NoError(t, err, errs)
	require.Equal(t, out, again)
	_, errs, err = fetchNVCC(t, cache, pip, "nvlink")
	require.Error(t, err)
	require.Contains(t, errs, "not nvlink")
}
