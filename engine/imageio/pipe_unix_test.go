//go:build unix

package imageio

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPipesAreNotWaitedFor: a pipe without a writer, by an image's, a mask's or a map's name.
func TestPipesAreNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe.png")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := Decode(path, Limits{})
		require.EqualError(t, err, path+": not a supported image: not a regular file")
		_, err = ReadMask(path, Limits{})
		require.EqualError(t, err, path+": not a supported image: not a regular file")
		_, err = ReadMap(path)
		require.ErrorContains(t, err, path)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it waits for a writer")
	}
}
