package serve

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http/httptest"
	"strings"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
)

// eager scores what puppet does, at once, and keeps what it was given.
type eager struct {
	puppet
	given []byte
	names []string
}

func (e *eager) Score(_ context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	for it := range items {
		f, _, err := it.Open()
		if err != nil {
			return err
		}
		if e.given, err = io.ReadAll(f); err != nil {
			return err
		}
		e.names = append(e.names, it.Path)
		r := pretend(it)
		it.Release()
		if err := emit(r); err != nil {
			return err
		}
	}
	return nil
}

// FuzzRequest sends anything: the answer is one that api.json describes, and JSON unless an output was asked for; what is scored is the
// body, or a part of the form; and all that the request held is given back.
func FuzzRequest(f *testing.F) {
	const most = 1 << 12
	form, media := form(f, map[string][2]string{"image": {"part.png", "7"}, "line": {"", "3"}}, "line", "image")
	whole, err := io.ReadAll(form)
	require.NoError(f, err)
	f.Add("POST", "/v1/score", "", "", "", "", []byte("7"), true)
	f.Add("POST", "/v1/models/m/score", "name=a%20b.png&output=mask,map&output=overlay", "image/png", "", "", []byte("!corrupt"), false)
	f.Add("POST", "/v1/score", "output=mask", "application/octet-stream", "image/png;q=0.9, application/json;q=0.1", "", []byte("8"), true)
	f.Add("POST", "/v1/score", "", media, "*/*", "identity", whole, true)
	f.Add("POST", "/v1/score", "", media, "", "", whole[:len(whole)/2], false)
	f.Add("POST", "/v1/score", "", "multipart/form-data", "text/*", "gzip", []byte("--\r\n"), true)
	f.Add("GET", "/healthz", "", "", "", "", []byte(nil), true)
	f.Add("PATCH", "/v1/models//score", "%zz", "image/", ",;q=", "", []byte("x"), false)
	f.Add("POST", "/v1/score", "", "", "", "", []byte(strings.Repeat("1", most+1)), false)
	f.Fuzz(func(t *testing.T, method, path, query, contentType, accept, encoding string, body []byte, sized bool) {
		st := newStage(t, Options{MaxBody: most, Bodies: most})
		e := &eager{}
		require.NoError(t, st.Start(Model{Name: "m", Engine: e, Kind: refine.F2PAD}))
		req := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
		req.Method, req.URL.Path, req.URL.RawQuery = method, path, query
		for key, value := range map[string]string{"Content-Type": contentType, "Accept": accept, "Content-Encoding": encoding} {
			if value != "" {
				req.Header.Set(key, value)
			}
		}
		if !sized {
			req.ContentLength = -1
		}
		r := st.send(req)
		<-r.done
		r.is(r.Code)
		require.NotEqual(t, 500, r.Code)
		require.Empty(t, st.faults)
		switch r.Header().Get("Content-Type") {
		case jsonType:
			require.True(t, json.Valid(r.Body.Bytes()))
		case "image/png", "image/tiff":
			require.Contains(t, query, "output")
		default:
			require.Equal(t, "/metrics", path)
		}
		if len(e.names) > 0 {
			require.Contains(t, string(body), string(e.given))
			require.NotEmpty(t, e.given)
			require.LessOrEqual(t, len(e.names[0]), mostName)
			if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(contentType)), "multipart/") {
				require.Equal(t, string(body), string(e.given))
			}
		} else if strings.HasSuffix(path, "/score") {
			require.NotEqual(t, 200, r.Code, "an answer without a score")
		}
		st.end()
	})
}
