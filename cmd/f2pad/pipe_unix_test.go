//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quick runs the program, and fails where it waits for what nobody writes.
func quick(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd := command(args...)
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	r := finish(t, cmd)
	require.NotEqual(t, -1, r.code, "it waits: %v", args)
	return r
}

// TestPipesAreNoInputs: by the name of an image, a mask, a model, a network or a package, they are refused and not waited for.
func TestPipesAreNoInputs(t *testing.T) {
	setup(t)
	dir := t.TempDir()
	pipe := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, syscall.Mkfifo(path, 0o600))
		return path
	}
	img := pipe("a.png")
	put(t, dir, map[string][]byte{"b.png": goodImage(t)})
	for _, inputs := range [][]string{{dir}, {img, filepath.Join(dir, "b.png")}, {filepath.Join(dir, "*.png")}} {
		r := quick(t, append([]string{"score", "--model", model(), "--out", t.TempDir()}, inputs...)...)
		require.Equal(t, exitPartial, r.code, r.err)
		require.Contains(t, r.err, "error: "+img+": not a regular file\n")
		require.Contains(t, r.out, "2 images: ")
	}

	set := t.TempDir()
	require.NoError(t, os.CopyFS(set, os.DirFS(data())))
	mask := filepath.Join(set, "ground_truth", "hole", "000_mask.png")
	require.NoError(t, os.Remove(mask))
	require.NoError(t, syscall.Mkfifo(mask, 0o600))
	r := quick(t, "eval", "--data", set, "--model", model(), "--refine", "none")
	require.Equal(t, exitPartial, r.code, r.err)
	require.Contains(t, r.err, mask+": not a supported image: not a regular file")

	b, onnx, pkg := pipe("m.f2pad"), pipe("net.onnx"), pipe("package.whl")
	for _, args := range [][]string{
		{"inspect", b},
		{"inspect", onnx},
		{"score", "--model", b, "--out", t.TempDir(), img},
		{"fit", "--data", data(), "--method", "padim", "--backbone", onnx, "--layers", "layer1", "--out", filepath.Join(dir, "out")},
		{"backbones", "add", "efficientnet-lite0", pkg},
	} {
		r := quick(t, args...)
		require.Equal(t, exitFailure, r.code, args)
		require.Contains(t, r.err, "not a", args)
	}
}
