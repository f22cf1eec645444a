package openfile

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRegularOpensFilesAndLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "link")))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	for _, name := range []string{"file", "link"} {
		for _, open := range []func() (*os.File, os.FileInfo, error){
			func() (*os.File, os.FileInfo, error) { return Regular(filepath.Join(dir, name)) },
			func() (*os.File, os.FileInfo, error) { return In(root, name) },
		} {
			f, info, err := open()
			require.NoError(t, err)
			require.EqualValues(t, 7, info.Size())
			data, err := io.ReadAll(f)
			require.NoError(t, err)
			require.Equal(t, "content", string(data))
			require.NoError(t, f.Close())
		}
	}
	_, _, err = Regular(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestReadAllIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	data, err := ReadAll(path, 7)
	require.NoError(t, err)
	require.Equal(t, "content", string(data))
	_, err = ReadAll(path, 6)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, path)
}
