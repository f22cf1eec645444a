package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/refine"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// puppet is an engine that tells which batch it was given and waits to be told how that goes. An image's content is its score.
type puppet struct {
	began chan string // names of a batch, joined by spaces
	goes  chan error  // what comes of it; errPanic, errSwap: see below

	places int
}

var (
	errPanic  = errors.New("panic")
	errSwap   = errors.New("the first two results are swapped")
	errSilent = errors.New("no result is given")
)

func newPuppet() *puppet { return &puppet{began: make(chan string), goes: make(chan error)} }

func (*puppet) Executor() exec.Info { return exec.Info{Executor: "puppet"} }
func (*puppet) Device() device.Info { return device.CPU }
func (p *puppet) Places() int       { return max(1, p.places) }

func (p *puppet) Score(_ context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	var results []*engine.Result
	var names []string
	for it := range items {
		names = append(names, it.Path)
		results = append(results, pretend(it))
		it.Release()
	}
	p.began <- strings.Join(names, " ")
	switch err := <-p.goes; err {
	case nil:
	case errPanic:
		panic("the puppet's strings are cut")
	case errSwap:
		results[0], results[1] = results[1], results[0]
	case errSilent:
		return nil
	default:
		return err
	}
	for _, r := range results {
		if err := emit(r); err != nil {
			return err
		}
	}
	return nil
}

// pretend scores an image whose content is its score, above 5 anomalous, or, after "!", why it cannot be scored.
func pretend(it dataset.Item) *engine.Result {
	r := &engine.Result{Item: it}
	f, _, err := it.Open()
	if err != nil {
		r.Err = err
		return r
	}
	data, err := io.ReadAll(f)
	if err != nil {
		panic(err)
	}
	text := string(data)
	for prefix, err := range map[string]error{
		"!large": imageio.ErrTooLarge, "!format": imageio.ErrFormat, "!variant": imageio.ErrUnsupported, "!corrupt": imageio.ErrCorrupt,
		"!small": imageio.ErrTooSmall, "!other": errors.New("its scores are not finite"),
	} {
		if strings.HasPrefix(text, prefix) {
			r.Err = fmt.Errorf("%s: %w", it.Path, err)
			return r
		}
	}
	if r.Score, _ = strconv.ParseFloat(text, 64); !(math.Abs(r.Score) < 1e30) { // an engine gives no others
		r.Err = fmt.Errorf("%s: its scores are not finite", it.Path)
		return r
	}
	r.Threshold, r.Device = 5, "cpu"
	r.Anomalous = r.Score > r.Threshold
	const h, w = 4, 6
	m := nd.New(h, w)
	nd.Data(m)[7], nd.Data(m)[8], nd.Data(m)[22] = float32(r.Score), float32(r.Score), float32(r.Score)/2
	r.Image = &imageio.Image{Pix: nd.New(1, h, w), Depth: 8, Notes: []string{"is a puppet's"}}
	r.Maps = map[refine.Kind]*tensor.Dense{refine.F2PAD: m}
	r.PixelThreshold = map[refine.Kind]float64{refine.F2PAD: 4}
	r.Seconds = map[refine.Kind]float64{refine.Base: 0.25, refine.F2PAD: 0.5}
	return r
}

// step lets the puppet score the batch that it has, and returns the names in it.
func (p *puppet) step(t *testing.T, goes error) string {
	t.Helper()
	names := <-p.began
	p.goes <- goes
	return names
}

// stage is a server with a puppet, its log and its faults.
type stage struct {
	*Server
	*puppet
	t *testing.T

	mu     sync.Mutex
	log    []Entry
	faults []string
}

func newStage(t *testing.T, o Options) *stage {
	st := &stage{puppet: newPuppet(), t: t}
	o.Version = "v1"
	o.Log = func(e Entry) {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.log = append(st.log, e)
	}
	o.Fault = func(err error) {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.faults = append(st.faults, err.Error())
	}
	st.Server = New(o)
	return st
}

func (st *stage) model(name string) Model {
	return Model{
		Name: name, Engine: st.puppet, SHA256: "5d1c", Method: "padim", Backbone: "scatter", Kind: refine.F2PAD,
		Unlike: func(*imageio.Image) []engine.Difference {
			return []engine.Difference{{Trait: engine.SizeTrait, Text: "is small"}}
		},
	}
}

// start starts with one model, "m".
func (st *stage) start() *stage {
	st.t.Helper()
	require.NoError(st.t, st.Start(st.model("m")))
	return st
}

// end stops the server; nobody may be left.
func (st *stage) end() {
	st.t.Helper()
	require.NoError(st.t, st.Stop(context.Background()))
	st.bodies.mu.Lock()
	defer st.bodies.mu.Unlock()
	require.Equal(st.t, st.bodies.most, st.bodies.free, "what bodies held is given back")
}

// entries waits for nothing: it is what was logged so far.
func (st *stage) entries() []Entry {
	st.mu.Lock()
	defer st.mu.Unlock()
	return append([]Entry{}, st.log...)
}

// reply is an answer, also one that is still to come.
type reply struct {
	*httptest.ResponseRecorder
	t    *testing.T
	req  *http.Request
	done chan struct{}
}

// post sends an image of that name and content.
func (st *stage) post(name, content string) *reply {
	st.t.Helper()
	return st.send(httptest.NewRequest(http.MethodPost, "/v1/score?name="+name, strings.NewReader(content)))
}

func (st *stage) send(req *http.Request) *reply {
	r := &reply{httptest.NewRecorder(), st.t, req, make(chan struct{})}
	go func() {
		defer close(r.done)
		st.ServeHTTP(r, req)
	}()
	return r
}

func (st *stage) get(path string) *reply {
	return st.send(httptest.NewRequest(http.MethodGet, path, nil))
}

// is waits for the answer, and for the status. It must be one that the API describes.
func (r *reply) is(status int) *reply {
	r.t.Helper()
	<-r.done
	require.Equal(r.t, status, r.Code, r.Body.String())
	described(r.t, r.req, r.Code, r.Header().Get("Content-Type"))
	if r.Code == http.StatusTooManyRequests || r.Code == http.StatusServiceUnavailable && r.req.Method == http.MethodPost {
		seconds, err := strconv.Atoi(r.Header().Get("Retry-After"))
		require.NoError(r.t, err)
		require.True(r.t, seconds >= 1 && seconds <= 60)
	}
	return r
}

func (r *reply) answer() (a Answer) {
	r.t.Helper()
	r.is(http.StatusOK)
	require.NoError(r.t, json.Unmarshal(r.Body.Bytes(), &a))
	return a
}

// refused waits for a failure and returns its code and text.
func (r *reply) refused(status int) (code, text string) {
	r.t.Helper()
	r.is(status)
	var f fault
	require.NoError(r.t, json.Unmarshal(r.Body.Bytes(), &f))
	require.NotEmpty(r.t, f.Error)
	return f.Code, f.Error
}

// document is what the tests read of api.json.
type document struct {
	Paths map[string]map[string]struct {
		Responses map[string]apiAnswer
	}
	Components struct {
		Responses map[string]apiAnswer
		Schemas   map[string]struct {
			Required   []string
			Properties map[string]any
		}
	}
}

type apiAnswer struct {
	Ref     string `json:"$ref"`
	Content map[string]any
}

var readAPI = sync.OnceValues(func() (d document, err error) {
	err = json.Unmarshal(api, &d)
	return d, err
})

// described fails unless api.json describes such an answer to a request.
func described(t *testing.T, r *http.Request, status int, media string) {
	t.Helper()
	d, err := readAPI()
	require.NoError(t, err)
	s := New(Options{})
	at, _ := s.find(r.URL.Path)
	if at == nil || r.Method != at.method {
		require.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusOK}, status)
		return
	}
	answer, ok := d.Paths[at.path][strings.ToLower(at.method)].Responses[strconv.Itoa(status)]
	require.True(t, ok, "api.json: %s %s has no %d", at.method, at.path, status)
	if name, ok := strings.CutPrefix(answer.Ref, "#/components/responses/"); ok {
		answer = d.Components.Responses[name]
	}
	media, _, _ = strings.Cut(media, ";")
	require.Contains(t, answer.Content, media, "api.json: %s %s, %d", at.method, at.path, status)
}

// counter reads a metric, all its labels as they are written; -1 if it is not there.
func (st *stage) counter(name string) float64 {
	st.t.Helper()
	r := st.get("/metrics").is(http.StatusOK)
	for line := range strings.Lines(r.Body.String()) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			require.NoError(st.t, err)
			return v
		}
	}
	return -1
}

func form(t testing.TB, parts map[string][2]string, order ...string) (io.Reader, string) {
	t.Helper()
	var b bytes.Buffer
	const boundary = "b0undary"
	for _, name := range order {
		disposition := fmt.Sprintf("form-data; name=%q", name)
		if parts[name][0] != "" {
			disposition += fmt.Sprintf("; filename=%q", parts[name][0])
		}
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: %s\r\n\r\n%s\r\n", boundary, disposition, parts[name][1])
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return &b, formType + "; boundary=" + boundary
}
