package run

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/dataset"

	"github.com/stretchr/testify/require"
)

// pack writes an archive whose members say their names.
func pack(t *testing.T, path string, names ...string) {
	t.Helper()
	var b bytes.Buffer
	if strings.HasSuffix(path, ".zip") {
		w := zip.NewWriter(&b)
		for _, name := range names {
			f, err := w.Create(name)
			require.NoError(t, err)
			fmt.Fprint(f, "content of ", name)
		}
		require.NoError(t, w.Close())
	} else {
		w := tar.NewWriter(&b)
		for _, name := range names {
			content := "content of " + name
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o600}))
			_, err := w.Write([]byte(content))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
	}
	data := b.Bytes()
	if strings.HasSuffix(path, "gz") {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err := w.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		data = z.Bytes()
	}
	require.NoError(t, os.WriteFile(path, data, 0o600))
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.Chtimes(path, at, at))
}

// looked is a run's inputs as a program finds them.
func looked(t *testing.T, dir string, args ...string) Inputs {
	t.Helper()
	s, err := Look(dataset.Search{Out: dir}, args, nil)
	require.NoError(t, err)
	return Inputs{Items: dataset.Inputs(args, nil, nil), Survey: s}
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%03d.png", i))
	}
	return names
}

var archiveNames = []string{"in.tar", "in.tar.gz", "in.zip"}

// TestRunsOfArchivesGoOn: wherever they end, they are gone on with to the same bytes, and what stands is not scored again.
func TestRunsOfArchivesGoOn(t *testing.T) {
	t.Chdir(t.TempDir())
	boom := errors.New("boom")
	for _, name := range archiveNames {
		pack(t, name, numbered(12)...)
		fresh := t.TempDir()
		_, err := Run(t.Context(), pretender{}, everything(fresh, nil), looked(t, fresh, name))
		require.NoError(t, err)
		for _, end := range []int{1, 5, 11, 12} {
			dir, lines := t.TempDir(), 0
			_, err := Run(t.Context(), pretender{}, everything(dir, func(e Event) error {
				if _, ok := e.(Scored); ok {
					if lines++; lines == end {
						return boom
					}
				}
				return nil
			}), looked(t, dir, name))
			require.ErrorIs(t, err, boom)
			sum, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, name))
			require.NoError(t, err)
			require.Equal(t, end, sum.Kept, name)
			require.Equal(t, filesBelow(t, fresh), filesBelow(t, dir), name)
		}
	}
}

func TestMembersThatAreGoneAndArchivesThatAreLeftOut(t *testing.T) {
	t.Chdir(t.TempDir())
	pack(t, "beside.tar", "x.png", "y.png")
	pack(t, "third.tar", "z.png")
	for _, name := range archiveNames {
		pack(t, name, numbered(5)...)
		dir := t.TempDir()
		var said told
		o := everything(dir, said.tell)
		_, err := Run(t.Context(), pretender{}, o, looked(t, dir, name, "beside.tar", "third.tar"))
		require.NoError(t, err)
		_, err = Run(t.Context(), pretender{}, o, looked(t, dir, "beside.tar", "third.tar"))
		require.ErrorIs(t, err, ErrOther, "%s is still there", name)

		pack(t, name, "000.png", "001.png", "new.png", "004.png")
		said = nil
		sum, err := Run(t.Context(), pretender{}, o, looked(t, dir, name, "beside.tar", "third.tar"))
		require.NoError(t, err)
		require.Equal(t, 6, sum.Kept)
		require.Equal(t, []string{name + "/new.png"}, said.of("scored"))
		require.Contains(t, said.of("warning")[0], "2 images of an earlier run: gone, and dropped from the results ("+name+"/002.png, "+name+"/003.png)")

		whole, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(name, int64(len(whole)-20)))
		said = nil
		sum, err = Run(t.Context(), pretender{}, o, looked(t, dir, name, "beside.tar", "third.tar"))
		require.NoError(t, err)
		require.Equal(t, []string{name}, said.of("failed"))
		require.Equal(t, 1, sum.Failed)
		pack(t, name, "000.png", "001.png", "new.png", "004.png")
		sum, err = Run(t.Context(), pretender{}, o, looked(t, dir, name, "beside.tar", "third.tar"))
		require.NoError(t, err)
		require.Equal(t, 7, sum.Kept, "what a fault hid is not thrown away")

		require.NoError(t, os.Remove(name))
		sum, err = Run(t.Context(), pretender{}, o, looked(t, dir, "beside.tar", "third.tar"))
		require.NoError(t, err)
		require.Equal(t, 3, sum.Kept)
		require.NoFileExists(t, filepath.Join(dir, "maps", name, "000.tiff"))
	}
}

// TestAnArchiveThatIsShorterNow: its members that are gone are dropped, though those before them have stayed where they were.
func TestAnArchiveThatIsShorterNow(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range archiveNames {
		pack(t, name, numbered(5)...)
		dir, fresh := t.TempDir(), t.TempDir()
		_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, name))
		require.NoError(t, err)
		pack(t, name, numbered(3)...)
		sum, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, name))
		require.NoError(t, err)
		require.Equal(t, 3, sum.Kept)
		_, err = Run(t.Context(), pretender{}, everything(fresh, nil), looked(t, fresh, name))
		require.NoError(t, err)
		require.Equal(t, timeless(filesBelow(t, fresh)), timeless(filesBelow(t, dir)))
	}
}

// TestAnArchiveThatChangedIsReadAgain: a member of another content is scored again though its name and size are the same.
func TestAnArchiveThatChangedIsReadAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range archiveNames {
		pack(t, name, "a.png", "b.png", "c.png")
		dir := t.TempDir()
		_, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, name))
		require.NoError(t, err)
		pack(t, name, "a.png", "c.png", "b.png")
		later := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
		require.NoError(t, os.Chtimes(name, later, later))
		sum, err := Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, name))
		require.NoError(t, err)
		require.Equal(t, 3, sum.Kept)
		require.Equal(t, 3, strings.Count(content(t, dir, ResultsFile), `"modified":"2021-01-01T00:00:00Z"`))
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		if name == "in.tar" {
			pack(t, name, "a.png", "c.png", "b.png")
			data = bytes.Replace(data, []byte("content of b"), []byte("content of x"), 1)
			require.NoError(t, os.WriteFile(name, data, 0o600))
			sum, err = Run(t.Context(), pretender{}, everything(dir, nil), looked(t, dir, name))
			require.NoError(t, err)
			require.Equal(t, 2, sum.Kept)
		}
	}
}
