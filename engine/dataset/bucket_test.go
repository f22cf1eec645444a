package dataset

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"
)

// memoryStore is a store with one bucket, mem://photos.
func memoryStore(t *testing.T, objects map[string][]byte) (*Buckets, *blob.Bucket) {
	t.Helper()
	b := memblob.OpenBucket(nil)
	for key, data := range objects {
		require.NoError(t, b.WriteAll(t.Context(), key, data, nil))
	}
	buckets := &Buckets{Open: func(_ context.Context, url string) (*blob.Bucket, error) {
		if url != "mem://photos" {
			return nil, errors.New("no such store")
		}
		return b, nil
	}}
	t.Cleanup(func() { buckets.Close() })
	return buckets, b
}

func contentsOf(names ...string) map[string][]byte {
	all := map[string][]byte{}
	for _, name := range names {
		all[name] = []byte("content of " + name)
	}
	return all
}

func TestObjectsAreInputs(t *testing.T) {
	objects := contentsOf("a.png", "line/b.png", "line/c.JPG", "line/.hidden.png", "line/.h/x.png", "line/notes.txt", "line/d/e.png", "line/d/", "linear.png", "raw")
	objects["line/more.tar"] = tarOf(t, membersOf("x.png", "y.png")...)
	buckets, _ := memoryStore(t, objects)
	var ignored []string
	s := Search{Buckets: buckets, Ignored: func(path string) { ignored = append(ignored, path) }}
	below := []string{
		"b.png of mem://photos/line/b.png: content of line/b.png", "c.JPG of mem://photos/line/c.JPG: content of line/c.JPG",
		"d/e.png of mem://photos/line/d/e.png: content of line/d/e.png",
	}
	require.Equal(t, below, taken(t, s, "mem://photos/line/"))
	require.Equal(t, []string{"mem://photos/line/more.tar", "mem://photos/line/notes.txt"}, ignored)
	require.Equal(t, below, taken(t, s, "mem://photos/line"))
	require.Len(t, taken(t, s, "mem://photos"), 5)
	require.Equal(t, []string{"photos/a.png of mem://photos/a.png: content of a.png", "photos/raw of mem://photos/raw: content of raw"},
		taken(t, s, "mem://photos/a.png", "mem://photos/raw"), "what is named may be called anything")
	require.Equal(t, []string{"photos/linear.png of mem://photos/linear.png: content of linear.png"}, taken(t, s, "mem://photos/l*.png"))
	require.Equal(t, []string{"x.png of mem://photos/line/more.tar/x.png: content of x.png", "y.png of mem://photos/line/more.tar/y.png: content of y.png"},
		taken(t, s, "mem://photos/line/more.tar"))
	require.Equal(t, []string{
		"photos/line/more.tar/x.png of mem://photos/line/more.tar/x.png: content of x.png",
		"photos/line/more.tar/y.png of mem://photos/line/more.tar/y.png: content of y.png",
	}, taken(t, s, "mem://photos/line/*.t[a]r"))
	for arg, want := range map[string]string{
		"mem://photos/gone":   "mem://photos/gone: there is no such object, and no image below it",
		"mem://photos/d/":     "mem://photos/d: there is no such object, and no image below it",
		"mem://photos/*.tiff": "mem://photos/*.tiff: matches nothing",
		"mem://photos/[.png":  "mem://photos/[.png: syntax error in pattern",
		"mem://other/a.png":   "mem://other/a.png: no such store",
		"mem:///a.png":        "mem:///a.png: names no bucket",
	} {
		all := 0
		for _, err := range s.Inputs([]string{arg}, nil) {
			require.EqualError(t, err, want)
			require.ErrorIs(t, err, ErrNamed)
			all++
		}
		require.Equal(t, 1, all)
	}
	require.Equal(t, []string{"error: mem://photos/a.png: is a URL, which is not read here"}, taken(t, Search{}, "mem://photos/a.png?secret=x"))
	s.Empty = true
	require.Empty(t, taken(t, s, "mem://photos/*.tiff", "mem://photos/gone"))
	require.Equal(t, []string{"error: gs://b/a.png: gs:// is none of the stores that this program was built with: file, mem, s3"},
		taken(t, Search{Buckets: &Buckets{}}, "gs://b/a.png"))
	var list []string
	for it, err := range s.Inputs([]string{"-"}, strings.NewReader("mem://photos/a.png\nmem://photos/line\nmem://photos/x.png\n")) {
		list = append(list, fmt.Sprint(it.Path, " ", err))
		it.Release()
	}
	require.Equal(t, []string{
		"mem://photos/a.png <nil>", "mem://photos/line mem://photos/line: no such object: file does not exist",
		"mem://photos/x.png mem://photos/x.png: no such object: file does not exist",
	}, list)
}

// TestArchivesInStoresAreReadAsFilesAre: of every kind.
func TestArchivesInStoresAreReadAsFilesAre(t *testing.T) {
	rows, _ := huggingRows(40)
	members := membersOf("a.png", "b/c.png", "notes.txt", "d.png")
	hostile := append(members, packedMember{"../x.png", "x", 0}, packedMember{"l.png", "", tar.TypeSymlink})
	archives := map[string][]byte{
		"a.tar": tarOf(t, hostile...), "a.tgz": gzipOf(t, tarOf(t, members...)), "a.zip": zipOf(t, hostile...), "a.parquet": tableOf(t, rows),
		"cut.tar": tarOf(t, members...)[:1800], "cut.zip": zipOf(t, members...)[:100], "cut.parquet": tableOf(t, rows)[:300],
	}
	buckets, _ := memoryStore(t, archives)
	t.Chdir(t.TempDir())
	for name, data := range archives {
		write(t, name, data)
		want, got := taken(t, Search{}, name), taken(t, Search{Buckets: buckets}, "mem://photos/"+name)
		for i := range got {
			got[i] = strings.ReplaceAll(got[i], "mem://photos/"+name, name)
		}
		require.Equal(t, want, got, name)
		require.Positive(t, len(want), name)
	}
	crc := zipOf(t, members...)
	crc[bytes.Index(crc, []byte("content of a"))] ^= 1
	buckets, _ = memoryStore(t, map[string][]byte{"a.zip": crc})
	all := taken(t, Search{Buckets: buckets}, "mem://photos/a.zip")
	require.Len(t, all, 3)
	require.Equal(t, "error: mem://photos/a.zip/a.png: corrupt archive: a wrong checksum", all[0])
}

// TestAnObjectIsReadOnce: however often it is opened, and not at all to say how it is.
func TestAnObjectIsReadOnce(t *testing.T) {
	s3 := newFakeS3(t, contentsOf("in/a.png", "in/b.png"))
	for it, err := range s3.search().Inputs([]string{s3.url("in/")}, nil) {
		require.NoError(t, err)
		info, err := it.Stat()
		require.NoError(t, err)
		require.EqualValues(t, 19, info.Size())
		require.False(t, info.ModTime().IsZero())
		require.NotEmpty(t, TagOf(info))
		require.Zero(t, s3.gets)
		for range 2 {
			f, opened, err := it.Open()
			require.NoError(t, err)
			require.Equal(t, info.ModTime(), opened.ModTime())
			require.Equal(t, TagOf(info), TagOf(opened))
			data, err := io.ReadAll(f)
			require.NoError(t, err)
			require.Equal(t, "content of "+strings.TrimPrefix(it.Path, "s3://photos/"), string(data))
			_, ok := f.(io.ReaderAt)
			require.True(t, ok)
			require.NoError(t, f.Close())
		}
		require.Equal(t, 1, s3.gets)
		it.Release()
		_, _, err = it.Open()
		require.ErrorIs(t, err, errReleased)
		s3.gets = 0
	}
}

func TestObjectsThatAreReplacedOrGone(t *testing.T) {
	buckets, b := memoryStore(t, contentsOf("a.png", "b.png", "c.png", "d.png"))
	next := map[string]string{"mem://photos/a.png": "longer than it was", "mem://photos/b.png": "", "mem://photos/c.png": strings.Repeat("x", 101)}
	for it, err := range (Search{Buckets: buckets, MaxBytes: 100}).Inputs([]string{"mem://photos"}, nil) {
		require.NoError(t, err)
		key := strings.TrimPrefix(it.Path, "mem://photos/")
		before, err := it.Stat()
		require.NoError(t, err)
		content, replaced := next[it.Path]
		if content == "" && replaced {
			require.NoError(t, b.Delete(t.Context(), key))
		} else if replaced {
			require.NoError(t, b.WriteAll(t.Context(), key, []byte(content), nil))
		}
		f, info, err := it.Open()
		switch key {
		case "a.png":
			require.NoError(t, err)
			require.EqualValues(t, len(content), info.Size())
			require.Empty(t, TagOf(info), "it is that of another content")
			data, err := io.ReadAll(f)
			require.NoError(t, err)
			require.Equal(t, content, string(data))
			after, err := it.Stat()
			require.NoError(t, err)
			require.Equal(t, info, after)
		case "b.png":
			require.ErrorIs(t, err, os.ErrNotExist)
		case "c.png":
			require.ErrorContains(t, err, "101 bytes, at most 100 are allowed")
		default:
			require.NoError(t, err)
			require.Equal(t, before, info)
		}
		it.Release()
	}
	require.NoError(t, b.WriteAll(t.Context(), "a.tar", tarOf(t, membersOf("a.png")...), nil))
	n := 0
	for it, err := range (Search{Buckets: buckets, Ready: func(path string, _ os.FileInfo) bool {
		if path == "mem://photos/a.tar" {
			require.NoError(t, b.WriteAll(t.Context(), "a.tar", tarOf(t, membersOf("a.png", "b.png")...), nil))
		}
		return true
	}}).Inputs([]string{"mem://photos/a.tar"}, nil) {
		require.EqualError(t, err, "mem://photos/a.tar: corrupt archive: the archive changed while it was read", it.Path)
		n++
	}
	require.Equal(t, 1, n)
}

// TestObjectsInWorkAreBounded: those that are not released wait, and too large ones have failed before they are read.
func TestObjectsInWorkAreBounded(t *testing.T) {
	objects := map[string][]byte{"z.png": make([]byte, 101)}
	for i := range 9 {
		objects[fmt.Sprintf("%d.png", i)] = make([]byte, 30)
	}
	buckets, _ := memoryStore(t, objects)
	done := make(chan struct{})
	var held []Item
	for it, err := range (Search{Buckets: buckets, MaxBytes: 100, Done: done}).Inputs([]string{"mem://photos"}, nil) {
		require.NoError(t, err)
		if held = append(held, it); len(held) == 3 {
			close(done)
		}
	}
	require.Len(t, held, 3)
	all := taken(t, Search{Buckets: buckets, MaxBytes: 100}, "mem://photos")
	require.Len(t, all, 10)
	require.Contains(t, all[9], "error: mem://photos/z.png: image too large: 101 bytes, at most 100 are allowed")
	n := 0
	for range (Search{Buckets: buckets, MaxBytes: 100, Unlisted: func(string) {}}).Inputs([]string{"mem://photos"}, nil) {
		n++ // where inputs are only listed, none is held
	}
	require.Equal(t, 10, n)
}

func TestFilesByURL(t *testing.T) {
	dir := filepath.ToSlash(t.TempDir())
	require.NoError(t, os.MkdirAll(dir+"/in side/sub", 0o700))
	write(t, dir+"/in side/a.png", []byte("a"))
	write(t, dir+"/in side/sub/b.png", []byte("b"))
	s := Search{Buckets: &Buckets{}}
	url := "file://" + dir + "/in side"
	require.Equal(t, []string{"a.png of " + url + "/a.png: a", "sub/b.png of " + url + "/sub/b.png: b"}, taken(t, s, url))
	require.Equal(t, []string{strings.TrimPrefix(dir, "/") + "/in side/a.png of " + url + "/a.png: a"}, taken(t, s, url+"/a.png"))
	require.Len(t, taken(t, s, url+"/*.png"), 1)
	require.Contains(t, taken(t, s, "file://"+dir+"/gone/")[0], "error: file://"+dir+"/gone: ")
	require.NoError(t, s.Buckets.Close())
	ok, err := s.Buckets.Exists(t.Context(), url+"/a.png")
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = s.Buckets.Exists(t.Context(), url+"/b.png")
	require.NoError(t, err)
	require.False(t, ok)
}

// fakeS3 is an S3 server with one bucket, photos.
type fakeS3 struct {
	*httptest.Server
	gets     int  // of objects
	refuse   int  // status of the answer to all requests; 0: as it should be
	cut      int  // bytes after which an object's answer ends; 0: none
	timeless bool // its lists do not say when objects were written
	buckets  Buckets
}

func newFakeS3(t *testing.T, objects map[string][]byte) *fakeS3 {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required", // or the SDK tells where there is none
	} {
		t.Setenv(name, value)
	}
	store := s3mem.New()
	require.NoError(t, store.CreateBucket("photos"))
	for key, data := range objects {
		_, err := store.PutObject("photos", key, nil, bytes.NewReader(data), int64(len(data)), nil)
		require.NoError(t, err)
	}
	s := &fakeS3{}
	real := gofakes3.New(store).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		object := strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
		if r.Method == http.MethodGet && object {
			s.gets++
		}
		switch {
		case s.refuse != 0:
			w.WriteHeader(s.refuse)
			fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
		case s.cut > 0 && r.Method == http.MethodGet && object:
			rec := httptest.NewRecorder()
			real.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
			w.Write(rec.Body.Bytes()[:s.cut])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case s.timeless && !object:
			rec := httptest.NewRecorder()
			real.ServeHTTP(rec, r)
			w.Write(lastModified.ReplaceAll(rec.Body.Bytes(), nil))
		default:
			real.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { s.buckets.Close(); s.Close() })
	return s
}

var lastModified = regexp.MustCompile(`<LastModified>[^<]*</LastModified>`)

func (s *fakeS3) search() Search { return Search{Buckets: &s.buckets} }

func (s *fakeS3) url(key string) string {
	return "s3://photos/" + key + "?endpoint=" + s.URL + "&use_path_style=true"
}

func TestObjectsOfS3AreInputs(t *testing.T) {
	objects := contentsOf("in/a b.png", "in/ü.png", "out/c.png")
	objects["in/set.zip"] = zipOf(t, membersOf("m.png")...)
	for i := range 1500 { // more than one answer lists
		objects[fmt.Sprintf("many/%04d.png", i)] = []byte("x")
	}
	s3 := newFakeS3(t, objects)
	require.Equal(t, []string{"a b.png of s3://photos/in/a b.png: content of in/a b.png", "ü.png of s3://photos/in/ü.png: content of in/ü.png"},
		taken(t, s3.search(), s3.url("in")))
	require.Equal(t, []string{"photos/out/c.png of s3://photos/out/c.png: content of out/c.png"}, taken(t, s3.search(), s3.url("out/c.png")))
	require.Equal(t, []string{"m.png of s3://photos/in/set.zip/m.png: content of m.png"}, taken(t, s3.search(), s3.url("in/set.zip")))
	many := taken(t, s3.search(), s3.url("many/"))
	require.Len(t, many, 1500)
	require.Equal(t, "1499.png of s3://photos/many/1499.png: x", many[1499])
	ok, err := s3.buckets.Exists(t.Context(), "s3://photos/out/c.png") // as the bucket was opened
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = s3.buckets.Exists(t.Context(), "s3://photos/out/d.png")
	require.NoError(t, err)
	require.False(t, ok)
}

// TestWhatIsWrongWithAStoreIsSaid, without anything secret.
func TestWhatIsWrongWithAStoreIsSaid(t *testing.T) {
	s3 := newFakeS3(t, contentsOf("a.png"))
	said := func(arg string) string {
		all := taken(t, s3.search(), arg)
		require.Len(t, all, 1)
		require.NotContains(t, all[0], "very-secret")
		require.NotContains(t, all[0], "use_path_style")
		return all[0]
	}
	other := strings.Replace(s3.url("a/"), "photos", "none", 1)
	require.Contains(t, said(other), "error: s3://none/a: no such object")
	require.Contains(t, said(strings.Replace(s3.url(""), "photos", "none", 1)), "error: s3://none: no such bucket")
	s3.cut = 5
	require.Equal(t, "error: the object ended before its size", said(s3.url("a.png")))
	s3.cut, s3.timeless = 0, true
	require.Contains(t, said(s3.url("")), "error: s3://photos: the store's answer is none that can be read: ")
	s3.timeless, s3.refuse = false, http.StatusForbidden
	require.Contains(t, said(s3.url("a.png")), "error: s3://photos/a.png: access denied: ")
	require.Contains(t, said(s3.url("")), "error: s3://photos: access denied: ")
	s3.refuse = http.StatusServiceUnavailable
	require.Contains(t, said(s3.url("")), "error: s3://photos: ")
	require.Contains(t, said(s3.url("a.png")+"&nonsense=very-secret"), "error: s3://photos/a.png: ")
	url := s3.url("a.png")
	s3.Close()
	require.Contains(t, said(url), "connection refused")
	require.Equal(t, "get https://x/y refused", secret.ReplaceAllString("get https://x/y?sig=abc%2B&se=1: refused", "$1"))
}
