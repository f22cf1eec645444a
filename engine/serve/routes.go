package serve

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine/run"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	_ "embed"
)

// api describes what Server answers, as OpenAPI 3.
//
//go:embed api.json
var api []byte

// route is something to be asked for.
type route struct {
	method string
	path   string // a segment "{model}" is a model's name
	quiet  bool   // it is not logged where all is well: what watches a server asks often
	serve  func(*exchange)
}

func (s *Server) table() []*route {
	metrics := promhttp.HandlerFor(s.opts.Metrics.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return []*route{
		{http.MethodPost, "/v1/score", false, s.score},
		{http.MethodPost, "/v1/models/{model}/score", false, s.score},
		{http.MethodGet, "/v1/models", false, s.models},
		{http.MethodGet, "/healthz", true, s.health},
		{http.MethodGet, "/readyz", true, s.readiness},
		{http.MethodGet, "/metrics", true, func(x *exchange) { metrics.ServeHTTP(&x.w, x.r) }},
		{http.MethodGet, "/openapi.json", false, func(x *exchange) { x.bytes(http.StatusOK, jsonType, api) }},
	}
}

// find is the route to a path, and the model that the path names.
func (s *Server) find(path string) (at *route, model string) {
	is := strings.Split(path, "/")
	for _, r := range s.routes {
		want := strings.Split(r.path, "/")
		model = ""
		if slices.EqualFunc(want, is, func(want, is string) bool {
			if want == "{model}" {
				model = is
				return is != ""
			}
			return want == is
		}) {
			return r, model
		}
	}
	return nil, ""
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: writer{ResponseWriter: w}, r: r, entry: Entry{
		Time: time.Now(), Remote: r.RemoteAddr, Method: r.Method, Path: r.URL.Path,
	}}
	// All that goes over the wire has its time. What is refused may have a body that is still coming.
	x.deadlines(s.opts.ReadTimeout, s.opts.ReadTimeout+s.opts.Timeout+s.opts.WriteTimeout)
	at, model := s.find(r.URL.Path)
	path, quiet := "other", false
	if at != nil {
		path, quiet = at.path, at.quiet
	}
	defer func() {
		x.entry.Seconds = time.Since(x.entry.Time).Seconds()
		x.entry.Status = x.status()
		s.opts.Metrics.Request(path, x.entry.Status, time.Since(x.entry.Time))
		if s.opts.Log != nil && !(quiet && x.entry.Status < http.StatusBadRequest) {
			s.opts.Log(x.entry)
		}
	}()
	err := guarded(func() error {
		switch {
		case at == nil:
			x.fail(failure{http.StatusNotFound, "not_found", fmt.Sprintf("there is no %s; /openapi.json says what there is", r.URL.Path)})
		case r.Method != at.method && !(r.Method == http.MethodHead && at.method == http.MethodGet):
			x.w.Header().Set("Allow", at.method)
			x.fail(failure{http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("%s takes %s, not %s", at.path, at.method, r.Method)})
		default:
			x.model = model
			at.serve(x)
		}
		return nil
	})
	if err != nil {
		s.opts.fault(err)
		if x.w.code == 0 {
			x.fail(failure{http.StatusInternalServerError, "internal", "this is a bug in f2pad; its log has more"})
		}
	}
}

// health says whether the server can do its work as far as it knows: a supervisor starts it anew when it cannot.
func (s *Server) health(x *exchange) {
	_, lines := s.now()
	for _, l := range lines {
		if err := l.fails(); err != nil {
			x.json(http.StatusServiceUnavailable, condition{"failing", fmt.Sprintf("model %s: the last batch failed", l.Name)})
			return
		}
	}
	x.json(http.StatusOK, condition{Status: "ok"})
}

// readiness says whether images are accepted.
func (s *Server) readiness(x *exchange) {
	now, _ := s.now()
	code := http.StatusOK
	if now != ready {
		code = http.StatusServiceUnavailable
		x.w.Header().Set("Retry-After", "1")
	}
	x.json(code, condition{Status: string(now)})
}

// condition is the answer to who asks how the server is.
type condition struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// modelEntry is a model in a list.
type modelEntry struct {
	Model    string   `json:"model"`
	SHA256   string   `json:"model_sha256"`
	Method   string   `json:"method"`
	Backbone string   `json:"backbone"`
	Refine   string   `json:"refine"`
	Outputs  []output `json:"outputs"` // that can be asked for
	Executor any      `json:"executor"`
	Device   any      `json:"device"`
	Accepted int      `json:"accepted"` // requests
	Queue    int      `json:"queue"`    // that may be
}

type modelList struct {
	Models []modelEntry `json:"models"`
}

func (s *Server) models(x *exchange) {
	_, lines := s.now()
	list := modelList{[]modelEntry{}}
	for _, l := range lines {
		e := modelEntry{
			Model: l.Name, SHA256: l.SHA256, Method: l.Method, Backbone: l.Backbone, Refine: run.RefineName(l.Kind), Outputs: []output{},
			Executor: l.Engine.Executor(), Device: l.Engine.Device(), Queue: s.opts.Queue,
		}
		e.Accepted, _ = l.queue.length()
		if l.Kind != "" {
			e.Outputs = outputs()
		}
		list.Models = append(list.Models, e)
	}
	x.json(http.StatusOK, list)
}
