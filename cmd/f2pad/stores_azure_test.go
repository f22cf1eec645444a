//go:build unix

package main

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// perPage is how many objects a fake store lists in one answer.
const perPage = 2

// objects are those of a fake store's one bucket, photos, by their keys.
type objects map[string][]byte

// testObjects are the test images under keys with a space in them, and an archive and a table of them.
func testObjects(t *testing.T) objects {
	t.Helper()
	test, all := filepath.Join(data(), "test"), objects{}
	for name := range filesBelow(t, test) {
		all["line 1/"+filepath.ToSlash(name)] = []byte(content(t, test, name))
	}
	tar := packed(t, "a.tar", 1)
	all["shards/a.tar"] = []byte(content(t, filepath.Dir(tar), filepath.Base(tar)))
	table := tabled(t, 1)
	all["shards/a.parquet"] = []byte(content(t, filepath.Dir(table), filepath.Base(table)))
	return all
}

// page is the keys with a prefix behind marker, and the marker of the next page, "" if there is none.
func (o objects) page(prefix, marker string) (keys []string, next string) {
	for key := range o {
		if strings.HasPrefix(key, prefix) && key > marker {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > perPage {
		keys = keys[:perPage]
		next = keys[perPage-1]
	}
	return keys, next
}

func digestOf(content []byte) string {
	sum := md5.Sum(content)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// written is when all of them were.
var written = time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)

// requireScoresOf fails unless what a store holds is scored as files are, and gone on with by what it lists. The URLs are of the store's bucket and
// of one that it has not.
func requireScoresOf(t *testing.T, bucket, none, parameters string) {
	t.Helper()
	plain := t.TempDir()
	require.Equal(t, exitOK, score(t, plain, filepath.Join(data(), "test")).code)
	want := scoresOf(t, plain)
	require.Len(t, want, 5)
	out := t.TempDir()
	r := score(t, out, "--masks", bucket+"/line 1/"+parameters)
	require.Equal(t, exitOK, r.code, r.err)
	require.Equal(t, want, scoresOf(t, out))
	r = score(t, out, "--masks", bucket+"/line 1"+parameters)
	require.Contains(t, r.out, "5 of them finished by an earlier run")
	l := lines(t, out)[0]
	require.True(t, strings.HasPrefix(l["image"].(string), bucket+"/line 1/"), l["image"])
	require.NotEmpty(t, l["tag"])
	require.FileExists(t, filepath.Join(out, "masks", "good", "000.png"))
	for _, name := range []string{"a.tar", "a.parquet"} {
		out := t.TempDir()
		r := score(t, out, bucket+"/shards/"+name+parameters)
		require.Equal(t, exitOK, r.code, r.err)
		require.ElementsMatch(t, want, scoresOf(t, out), name)
	}
	for _, url := range []string{bucket + "/none/", none + "/line 1/"} {
		r = score(t, t.TempDir(), url+parameters)
		require.Equal(t, exitFailure, r.code, url)
		require.Contains(t, r.err, strings.TrimSuffix(url, "/"))
		require.NotContains(t, r.out+r.err, "very-secret")
	}
}

// azure answers as Azure's Blob service does, as far as it is asked to: lists, properties and ranges of blobs. One named young.png has no time
// of its making, which Azure's have and those of others that speak its protocol may not.
func azure(t *testing.T, all objects, ranges *atomic.Int32) *httptest.Server {
	type properties struct {
		Modified string `xml:"Last-Modified"`
		Length   int    `xml:"Content-Length"`
		MD5      string `xml:"Content-MD5"`
		Type     string `xml:"BlobType"`
	}
	type listed struct {
		Name       string
		Properties properties
	}
	type list struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Blobs      []listed `xml:"Blobs>Blob"`
		NextMarker string
	}
	fails := func(w http.ResponseWriter, why string) {
		w.Header().Set("x-ms-error-code", why)
		w.WriteHeader(http.StatusNotFound)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey factory:") {
			t.Errorf("%s %s without its key", r.Method, r.URL)
		}
		key, photos := strings.CutPrefix(r.URL.Path, "/factory/photos")
		key, named := strings.CutPrefix(key, "/")
		content, there := all[key]
		q := r.URL.Query()
		switch {
		case !photos:
			fails(w, "ContainerNotFound")
		case !named && q.Get("comp") == "list":
			var l list
			var keys []string
			keys, l.NextMarker = all.page(q.Get("prefix"), q.Get("marker"))
			for _, key := range keys {
				l.Blobs = append(l.Blobs, listed{key, properties{written.Format(http.TimeFormat), len(all[key]), digestOf(all[key]), "BlockBlob"}})
			}
			w.Header().Set("Content-Type", "application/xml")
			if err := xml.NewEncoder(w).Encode(l); err != nil {
				t.Error(err)
			}
		case !there:
			fails(w, "BlobNotFound")
		default:
			w.Header().Set("Content-MD5", digestOf(content))
			if key != "young.png" {
				w.Header().Set("x-ms-creation-time", written.Format(http.TimeFormat))
			}
			w.Header().Set("ETag", `"`+digestOf(content)+`"`)
			if asked := r.Header.Get("x-ms-range"); asked != "" {
				ranges.Add(1)
				r.Header.Set("Range", asked)
			}
			http.ServeContent(w, r, "", written, strings.NewReader(string(content)))
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// TestBlobsOfAzureAreScoredAsFilesAre, from a fake service on this machine.
func TestBlobsOfAzureAreScoredAsFilesAre(t *testing.T) {
	setup(t)
	var ranges atomic.Int32
	all := testObjects(t)
	all["young.png"] = all["line 1/good/000.png"]
	server := azure(t, all, &ranges)
	for _, name := range os.Environ() {
		if name, _, _ = strings.Cut(name, "="); strings.HasPrefix(name, "AZURE_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AZURE_STORAGE_ACCOUNT", "factory")
	t.Setenv("AZURE_STORAGE_KEY", base64.StdEncoding.EncodeToString([]byte("very-secret")))
	parameters := fmt.Sprintf("?protocol=http&localemu=true&domain=%s", strings.TrimPrefix(server.URL, "http://"))
	requireScoresOf(t, "azblob://photos", "azblob://none", parameters)
	require.Positive(t, ranges.Load(), "tables are read in blocks")
	r := score(t, t.TempDir(), "azblob://photos/young.png"+parameters)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "azblob://photos/young.png: the store's answer is none that can be read: ")
	r = score(t, t.TempDir(), "azblob://photos/you*.png"+parameters)
	require.Equal(t, exitOK, r.code, r.err)
}
