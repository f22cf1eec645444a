//go:build unix

package openfile

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// within fails the test if f takes longer than a pipe without a writer would be waited for.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it waits")
	}
}

func TestRegularOpensNothingElse(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.Symlink("pipe", filepath.Join(dir, "link-to-pipe")))
	for _, name := range []string{"pipe", "folder", "socket", "link-to-pipe", "/dev/zero"} {
		path := name
		if !filepath.IsAbs(name) {
			path = filepath.Join(dir, name)
			within(t, func() {
				_, _, err := In(root, name)
				require.ErrorIs(t, err, ErrNotRegular, name)
			})
		}
		within(t, func() {
			_, _, err := Regular(path)
			require.ErrorIs(t, err, ErrNotRegular, name)
			var pe *fs.PathError
			require.ErrorAs(t, err, &pe)
			require.Equal(t, path, pe.Path)
		})
	}
}

// TestAPipeInAFilesPlaceIsNotWaitedFor: the look at the name and the opening are two steps.
func TestAPipeInAFilesPlaceIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	within(t, func() {
		_, _, err := regular(pipe, func(string) (fs.FileInfo, error) { return os.Stat(file) }, open)
		require.ErrorIs(t, err, ErrNotRegular)
	})
}
