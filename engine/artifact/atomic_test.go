package artifact

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWriteFileAtomicIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.txt")
	put := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	require.NoError(t, WriteFileAtomic(path, put("old")))
	require.NoError(t, WriteFileAtomic(path, put("new")))
	content := func() string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, "new", content())

	boom := errors.New("boom")
	err := WriteFileAtomic(path, func(w io.Writer) error {
		// More than any buffer holds: bytes have reached the disk, though not under the file's name.
		fmt.Fprint(w, strings.Repeat("half", 1<<18))
		require.Equal(t, "new", content())
		names := list(t, dir)
		require.Len(t, names, 2)
		require.True(t, IsTemp(names[0]), names[0])
		return boom
	})
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, path)
	require.Panics(t, func() { WriteFileAtomic(path, func(io.Writer) error { panic("boom") }) })
	require.Equal(t, "new", content())
	require.Equal(t, []string{"out.txt"}, list(t, dir))
}

func TestWriteFileAtomicRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	require.NoError(t, os.Mkdir(sub, 0o700))
	nothing := func(io.Writer) error { return nil }
	require.ErrorIs(t, WriteFileAtomic(sub, nothing), ErrNotFile)
	absent := filepath.Join(dir, "absent", "x")
	err := WriteFileAtomic(absent, nothing)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, 1, strings.Count(err.Error(), "absent"), "%v names the file once", err)
	require.Equal(t, []string{"sub"}, list(t, dir))
}

func TestWriteFileAtomicFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(target, []byte("old"), 0o600))
	if err := os.Symlink(target, link); err != nil {
		t.Skip("SKIPPED: this system has no symbolic links: ", err)
	}
	require.NoError(t, WriteFileAtomic(link, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }))
	data, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "new", string(data))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())
}

func TestIsTempKnowsItsOwn(t *testing.T) {
	for range 3 {
		f, err := CreateTemp(t.TempDir())
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.True(t, IsTemp(filepath.Base(f.Name())), f.Name())
	}
	require.True(t, IsTemp(".f2pad-0123456789abcdef.tmp"))
	for _, name := range []string{"", ".f2pad-.tmp", "f2pad-0123456789abcdef.tmp", ".f2pad-0123456789abcdef", ".f2pad-0123456789abcdeX.tmp", "synth.json"} {
		require.False(t, IsTemp(name), name)
	}
}
