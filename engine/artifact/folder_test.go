package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWritableFolderMakesFoldersAndLeavesNothingInThem(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, WritableFolder(filepath.Join(dir, "a", "b")))
	require.Empty(t, list(t, filepath.Join(dir, "a", "b")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.ErrorContains(t, WritableFolder(filepath.Join(dir, "file", "c")), filepath.Join(dir, "file")+": ")
}

func TestWordedNamesWhatItIsAbout(t *testing.T) {
	boom := errors.New("boom")
	require.EqualError(t, Worded(&fs.PathError{Op: "open", Path: "a", Err: boom}), "a: boom")
	require.EqualError(t, Worded(&os.LinkError{Op: "rename", Old: "a", New: "b", Err: boom}), "b: boom")
	require.Equal(t, boom, Worded(boom))
	require.NoError(t, Worded(nil))
}
