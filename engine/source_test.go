package engine

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"

	"github.com/stretchr/testify/require"
)

// member is a member of a zip archive, which cannot be read at any place.
type member struct {
	archive *zip.Reader
	name    string
}

func (m *member) Open() (fs.File, error) { return m.archive.Open(m.name) }

// TestWhereTheBytesAreMakesNoDifference: a file, its content in memory and a member of an archive give the same.
func TestWhereTheBytesAreMakesNoDifference(t *testing.T) {
	m, err := Load(filepath.Join("testdata", latest, "padim.f2pad"))
	require.NoError(t, err)
	at := time.Date(2020, 1, 2, 3, 4, 6, 0, time.UTC)
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	content := map[string][]byte{}
	for _, it := range testImages {
		data, err := os.ReadFile(it.Path)
		require.NoError(t, err)
		content[it.ID] = data
		f, err := w.CreateHeader(&zip.FileHeader{Name: it.ID, Method: zip.Deflate, Modified: at})
		require.NoError(t, err)
		_, err = f.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	r, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	require.NoError(t, err)

	o := Options{Maps: m.Kinds(), Fingerprints: true}
	want := scored(t, m, o, testImages)
	for name, source := range map[string]func(dataset.Item) dataset.Source{
		"memory":  func(it dataset.Item) dataset.Source { return dataset.Bytes(content[it.ID], at) },
		"archive": func(it dataset.Item) dataset.Source { return &member{r, it.ID} },
	} {
		var items []dataset.Item
		for _, it := range testImages {
			items = append(items, dataset.Item{Path: name + "/" + filepath.Base(it.Path), ID: it.ID, Source: source(it)})
		}
		got := scored(t, m, o, items)
		requireSame(t, want, got)
		for id, r := range got {
			require.Equal(t, want[id].File.SHA256, r.File.SHA256, name)
			require.Equal(t, want[id].File.Bytes, r.File.Bytes, name)
			require.True(t, at.Equal(r.File.Modified), "%s: %v", name, r.File.Modified)
			require.Equal(t, name+"/"+id+".png", r.Item.Path)
			require.Empty(t, r.Image.Notes, name)
		}
		sum, err := hashItem(items[0])
		require.NoError(t, err)
		require.Equal(t, want[items[0].ID].File.SHA256, fmt.Sprintf("%x", sum))
	}
}

// changing is a source that is another one each time it is opened.
type changing struct{ n int }

func (c *changing) Open() (fs.File, error) {
	c.n++
	return dataset.Bytes(bytes.Repeat([]byte("x"), c.n), time.Time{}).Open()
}

func TestSourcesThatFailAreNamed(t *testing.T) {
	m, err := Load(filepath.Join("testdata", latest, "padim.f2pad"))
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, zip.NewWriter(&archive).Close())
	r, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	require.NoError(t, err)
	items := []dataset.Item{
		{Path: "a.zip/gone.png", ID: "gone", Source: &member{r, "gone.png"}},
		{Path: "text.png", ID: "text", Source: dataset.Bytes([]byte("no image"), time.Time{})},
		{Path: "restless.png", ID: "restless", Source: &changing{}},
	}
	for _, prints := range []bool{false, true} {
		e, err := New(m, Options{Fingerprints: prints})
		require.NoError(t, err)
		defer e.Close()
		var said []string
		require.NoError(t, e.Score(t.Context(), slices.Values(items), func(r *Result) error {
			require.Error(t, r.Err)
			said = append(said, r.Err.Error())
			return nil
		}))
		require.Equal(t, "a.zip/gone.png: file does not exist", said[0])
		require.Contains(t, said[1], "text.png: "+imageio.ErrFormat.Error())
	}
	_, err = FingerprintOf(items[0])
	require.ErrorIs(t, err, fs.ErrNotExist)
	p, err := FingerprintOf(items[2])
	require.NoError(t, err)
	require.ErrorIs(t, p.unchanged(items[2]), ErrChanged)
}
