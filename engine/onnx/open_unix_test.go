//go:build unix

package onnx

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOpenWaitsForNoPipe: neither as the model nor as its external data, also where a link leads to one.
func TestOpenWaitsForNoPipe(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.onnx")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Symlink("pipe.onnx", filepath.Join(dir, "link")))
	for path, want := range map[string]string{
		pipe:                                   "onnx: open " + pipe + ": not a regular file",
		withExternal(t, dir, "link", "0", "4"): "open link: not a regular file",
	} {
		failed := make(chan error, 1)
		go func() {
			_, err := Open(path)
			failed <- err
		}()
		select {
		case err := <-failed:
			require.ErrorContains(t, err, want)
		case <-time.After(2 * time.Minute):
			t.Fatal("it waits")
		}
	}
}
