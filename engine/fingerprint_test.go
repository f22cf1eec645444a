package engine

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"f2pad.example/engine/dataset"
	"f2pad.example/engine/imageio"

	"github.com/stretchr/testify/require"
)

func TestFingerprintIsOfTheContent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o666))
	at := time.Date(2020, 1, 2, 3, 4, 5, 600, time.UTC)
	require.NoError(t, os.Chtimes(path, at, at))
	p, err := TakeFingerprint(path)
	require.NoError(t, err)
	require.EqualValues(t, 3, p.Bytes)
	require.True(t, at.Equal(p.Modified) || at.Truncate(time.Second).Equal(p.Modified.Truncate(time.Second)))
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", p.SHA256)
	require.NoError(t, p.unchanged(dataset.Item{Path: path}))
	require.NoError(t, os.WriteFile(path, []byte("abcd"), 0o666))
	require.ErrorIs(t, p.unchanged(dataset.Item{Path: path}), ErrChanged)
	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, p.unchanged(dataset.Item{Path: path}), os.ErrNotExist)
	_, err = TakeFingerprint(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, 1, strings.Count(err.Error(), path))
	_, err = TakeFingerprint(dir)
	require.EqualError(t, err, dir+": not a regular file")
}

// An image whose file changes between its fingerprint and its decoding has failed: nobody could say which content was scored.
func TestReadSaysWhichContentItDecoded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(path, []byte("no image"), 0o666))
	e := &Engine{model: &Model{}, opts: Options{Fingerprints: true}}
	r := &Result{Item: dataset.Item{Path: path}}
	_, err := e.read(r, func(imageio.Need) error { return nil })
	require.ErrorContains(t, err, "a.png: ")
	want, err := TakeFingerprint(path)
	require.NoError(t, err)
	require.Equal(t, want, r.File)

	e = &Engine{model: &Model{}}
	r = &Result{Item: dataset.Item{Path: path}}
	_, err = e.read(r, func(imageio.Need) error { return nil })
	require.Error(t, err)
	require.Zero(t, r.File, "nobody asked")
}

// tagged is an object as its store lists it: of the same size and time, whatever its content.
type tagged struct{ tag dataset.Tag }

func (o *tagged) Open() (fs.File, error) {
	return &taggedFile{bytes.NewReader(make([]byte, 3)), o.tag}, nil
}

type taggedFile struct {
	*bytes.Reader
	tag dataset.Tag
}

func (f *taggedFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *taggedFile) Close() error               { return nil }
func (f *taggedFile) Name() string               { return "" }
func (f *taggedFile) Mode() fs.FileMode          { return 0o444 }
func (f *taggedFile) ModTime() time.Time         { return time.Time{} }
func (f *taggedFile) IsDir() bool                { return false }
func (f *taggedFile) Sys() any                   { return f.tag }

func TestAnObjectThatWasReplacedHasChanged(t *testing.T) {
	o := &tagged{tag: "one"}
	it := dataset.Item{Path: "s3://b/a.png", Source: o}
	p, err := FingerprintOf(it)
	require.NoError(t, err)
	require.Equal(t, dataset.Tag("one"), p.Tag)
	require.NoError(t, p.unchanged(it))
	o.tag = "two"
	require.ErrorIs(t, p.unchanged(it), ErrChanged)
}
