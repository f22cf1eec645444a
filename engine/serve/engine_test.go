package serve

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

// fitted is a stage on an engine with a committed model.
func fitted(t *testing.T, o Options) (*stage, *engine.Engine) {
	t.Helper()
	m, err := engine.Load(filepath.Join("..", "testdata", "r4", "padim.f2pad"))
	require.NoError(t, err)
	kind := m.Kinds()[len(m.Kinds())-1]
	e, err := engine.New(m, engine.Options{Maps: []refine.Kind{kind}})
	require.NoError(t, err)
	st := newStage(t, o)
	require.NoError(t, st.Start(Model{Name: "padim", Engine: e, SHA256: m.SHA256(), Method: m.Info.Method, Backbone: m.Info.Backbone, Kind: kind, Unlike: m.Unlike}))
	t.Cleanup(func() {
		st.end()
		require.NoError(t, e.Close())
		require.Empty(t, st.faults)
	})
	return st, e
}

// postBytes sends an image and asks for all that there is.
func (st *stage) postBytes(name string, data []byte) *reply {
	return st.send(httptest.NewRequest(http.MethodPost, "/v1/score?output=mask,map,overlay&name="+name, bytes.NewReader(data)))
}

// Every request gets what its image gets alone from the engine, whatever shares its batch.
func TestScoresAreThoseOfTheEngine(t *testing.T) {
	st, e := fitted(t, Options{})
	images, want := map[string][]byte{}, map[string]*engine.Result{}
	for _, name := range []string{"good.png", "hole.png"} {
		data, err := os.ReadFile(filepath.Join("..", "testdata", name))
		require.NoError(t, err)
		images[name] = data
		require.NoError(t, e.Score(context.Background(), slices.Values([]dataset.Item{{Path: filepath.Join("..", "testdata", name)}}), func(r *engine.Result) error {
			want[name] = r
			return r.Err
		}))
	}
	require.True(t, want["hole.png"].Anomalous)
	var replies []*reply
	var names []string
	for range 6 {
		for name, data := range images {
			names = append(names, name)
			replies = append(replies, st.postBytes(name, data))
		}
	}
	broken := st.postBytes("broken.png", images["hole.png"][:200])
	text := st.postBytes("text.png", []byte("no image at all"))
	first := map[string]Answer{}
	for i, r := range replies {
		a, w := r.answer(), want[names[i]]
		require.Equal(t, names[i], a.Image)
		require.Equal(t, w.Score, a.ImageScore)
		require.Equal(t, w.Anomalous, a.Anomalous)
		require.Empty(t, a.Warnings)
		before, seen := first[names[i]]
		if !seen {
			first[names[i]] = a
			continue
		}
		before.Batch, before.QueueSeconds, before.Seconds = a.Batch, a.QueueSeconds, a.Seconds
		require.Equal(t, before, a, "the same bytes, whatever shares the batch")
	}
	require.NotEmpty(t, first["hole.png"].Regions)
	code, why := broken.refused(http.StatusUnprocessableEntity)
	require.Equal(t, "corrupt", code)
	require.Contains(t, why, "broken.png: corrupt image: ")
	_, why = text.refused(http.StatusUnsupportedMediaType)
	require.Contains(t, why, "text.png: not a supported image")
}

// Files that were found to be hard on decoders: each has an answer, and the next image one that is right.
func TestHostileImages(t *testing.T) {
	st, _ := fitted(t, Options{Queue: 1000, Bodies: 1 << 33})
	files, err := filepath.Glob(filepath.Join("..", "imageio", "testdata", "*"))
	require.NoError(t, err)
	require.Greater(t, len(files), 20)
	replies := map[string]*reply{}
	for _, path := range files {
		info, err := os.Stat(path)
		require.NoError(t, err)
		if info.IsDir() {
			continue
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, part := range []int{len(data), len(data) / 2, min(30, len(data))} {
			replies[fmt.Sprint(filepath.Base(path), part)] = st.postBytes(filepath.Base(path), data[:part])
		}
	}
	statuses := map[int]int{}
	for name, r := range replies {
		<-r.done
		require.Contains(t, []int{200, 413, 415, 422}, r.Code, name)
		r.is(r.Code)
		statuses[r.Code]++
	}
	require.Greater(t, statuses[200], 10)
	require.Greater(t, statuses[422], 10)
	data, err := os.ReadFile(filepath.Join("..", "testdata", "hole.png"))
	require.NoError(t, err)
	require.True(t, st.postBytes("hole.png", data).answer().Anomalous)
}
