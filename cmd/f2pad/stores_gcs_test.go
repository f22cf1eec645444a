//go:build gcs && unix

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// google answers as Google Cloud Storage does, as far as it is asked to: lists and properties as JSON, contents and ranges of them.
func google(t *testing.T, all objects, ranges *atomic.Int32) *httptest.Server {
	type object struct {
		Name    string `json:"name"`
		Bucket  string `json:"bucket"`
		Size    int    `json:"size,string"`
		MD5     string `json:"md5Hash"`
		Updated string `json:"updated"`
	}
	of := func(key string) object {
		return object{key, "photos", len(all[key]), digestOf(all[key]), written.Format(time.RFC3339)}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := func(v any) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		}
		q := r.URL.Query()
		if key, ok := strings.CutPrefix(r.URL.Path, "/storage/v1/b/photos/o"); ok {
			key = strings.TrimPrefix(key, "/")
			switch _, there := all[key]; {
			case key == "":
				keys, next := all.page(q.Get("prefix"), q.Get("pageToken"))
				list := map[string]any{"kind": "storage#objects", "nextPageToken": next}
				var items []object
				for _, key := range keys {
					items = append(items, of(key))
				}
				list["items"] = items
				answer(list)
			case there:
				answer(of(key))
			default:
				http.NotFound(w, r)
			}
			return
		}
		key, _ := strings.CutPrefix(r.URL.Path, "/photos/")
		content, there := all[key]
		if !there {
			http.NotFound(w, r)
			return
		}
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		w.Header().Set("X-Goog-Generation", "1")
		http.ServeContent(w, r, "", written, strings.NewReader(string(content)))
	}))
	t.Cleanup(server.Close)
	return server
}

// TestObjectsOfGoogleAreScoredAsFilesAre, from a fake store on this machine.
func TestObjectsOfGoogleAreScoredAsFilesAre(t *testing.T) {
	setup(t)
	var ranges atomic.Int32
	server := google(t, testObjects(t), &ranges)
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(server.URL, "http://"))
	requireScoresOf(t, "gs://photos", "gs://none", "")
	require.Positive(t, ranges.Load(), "tables are read in blocks")
}
