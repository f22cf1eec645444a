package dataset

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestItemsOpenWhereTheirBytesAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, at, at))
	for _, it := range []Item{{Path: path}, {Path: "name", Source: Bytes([]byte("content"), at)}} {
		for range 2 {
			f, info, err := it.Open()
			require.NoError(t, err)
			require.EqualValues(t, 7, info.Size())
			require.True(t, at.Equal(info.ModTime()))
			require.True(t, info.Mode().IsRegular())
			data, err := io.ReadAll(f)
			require.NoError(t, err)
			require.Equal(t, "content", string(data))
			_, ok := f.(io.ReaderAt)
			require.True(t, ok)
			require.NoError(t, f.Close())
		}
		info, err := it.Stat()
		require.NoError(t, err)
		require.EqualValues(t, 7, info.Size())
	}
	f, _, err := Item{Path: filepath.Dir(path)}.Open()
	require.Error(t, err)
	require.Nil(t, f)
	_, err = Item{Path: path + "x"}.Stat()
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, Item{Path: "a"}, Item{Path: "a"})
}
