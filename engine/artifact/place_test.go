package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlace(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "a", "b", "to")
	require.NoError(t, os.WriteFile(from, []byte("content"), 0o600))
	for range 2 {
		linked, err := Place(from, to)
		require.NoError(t, err)
		require.True(t, linked)
	}
	other := filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(other, []byte("another one"), 0o600))
	linked, err := Place(other, to) // what is there is replaced, and not written to
	require.NoError(t, err)
	require.False(t, linked)
	for path, want := range map[string]string{to: "another one", from: "content"} {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(data))
	}
	absent := filepath.Join(dir, "absent")
	_, err = Place(absent, to)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, absent+": ")
	_, err = Place(from, filepath.Join(from, "to"))
	require.ErrorContains(t, err, from+": ")
}
