package gpu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCubins(t *testing.T) {
	c := cubins{dir: filepath.Join(t.TempDir(), "a", "b")}
	path := c.path([]byte("ptx"), 12040, 9, 0)
	require.Nil(t, c.load(path))
	image := []byte("\x7fELF\n\x00 compiled")
	require.NoError(t, c.store(path, image))
	require.Equal(t, image, c.load(path))

	for _, other := range []string{c.path([]byte("ptx "), 12040, 9, 0), c.path([]byte("ptx"), 12050, 9, 0),
		c.path([]byte("ptx"), 12040, 8, 0), c.path([]byte("ptx"), 12040, 9, 1)} {
		require.NotEqual(t, path, other)
		require.Nil(t, c.load(other))
	}

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range whole { // whatever byte is wrong, or missing
		changed := append([]byte(nil), whole...)
		changed[i] ^= 1
		for _, bad := range [][]byte{changed, whole[:i]} {
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			require.Nil(t, c.load(path), i)
		}
	}
	require.NoError(t, c.store(path, image), "a bad file is replaced")
	require.Equal(t, image, c.load(path))

	require.NoError(t, cubins{}.store("x", image))
	require.Nil(t, cubins{}.load(path))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "file"), nil, 0o600))
	require.Error(t, cubins{dir: filepath.Join(c.dir, "file")}.store(path, image))
}
