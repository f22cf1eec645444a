package serve

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Entry is what is logged of a request.
type Entry struct {
	Time    time.Time `json:"time"`
	Remote  string    `json:"remote"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Status  int       `json:"status"` // 499: the client was gone
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
	// Of images that were received.
	Model        string   `json:"model,omitempty"`
	Image        string   `json:"image,omitempty"`
	Bytes        int      `json:"bytes,omitempty"`
	SHA256       string   `json:"sha256,omitempty"`
	QueueSeconds float64  `json:"queue_seconds,omitempty"`
	Batch        int      `json:"batch,omitempty"`
	ImageScore   *float64 `json:"image_score,omitempty"`
	Anomalous    *bool    `json:"anomalous,omitempty"`
}

// statusGone is logged where nobody is left to be answered.
const statusGone = 499

// failure is an answer that is none.
type failure struct {
	status int
	code   string // for programs
	text   string // for people
}

// fault is a failure as it is written.
type fault struct {
	Error string `json:"error"`
	Code  string `json:"code"`
	Image string `json:"image,omitempty"`
}

// exchange is a request and its answer.
type exchange struct {
	s     *Server
	w     writer
	r     *http.Request
	model string // that the path names, "" if it names none
	entry Entry
	gone  bool // nobody is there any more
}

// writer remembers which status was written.
type writer struct {
	http.ResponseWriter
	code int
}

func (w *writer) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *writer) Write(data []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(data)
}

func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (x *exchange) status() int {
	if x.gone {
		return statusGone
	}
	return x.w.code
}

// deadlines are how long reading and writing may take from now on; 0: as long as it takes.
func (x *exchange) deadlines(read, write time.Duration) {
	at := func(d time.Duration) time.Time {
		if d == 0 {
			return time.Time{}
		}
		return time.Now().Add(d)
	}
	// Whoever uses the handler may have a writer that knows no deadlines.
	c := http.NewResponseController(x.w.ResponseWriter)
	_ = c.SetReadDeadline(at(read))
	_ = c.SetWriteDeadline(at(write))
}

// bytes answers with a body.
func (x *exchange) bytes(status int, media string, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body) // who does not read it does not hear of it either
}

// json answers with a value.
func (x *exchange) json(status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		x.s.opts.fault(err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON","code":"internal"}`)
	}
	x.bytes(status, jsonType, append(body, '\n'))
}

// drained is how many times MaxBody is read of a body that nobody wants, so that who sends it comes to read the answer.
const drained = 4

// fail answers with a failure. What is still to come of the body is read, unless the client waits to be asked for it.
func (x *exchange) fail(f failure) {
	if x.r.Body != nil && x.r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, x.r.Body, drained*x.s.opts.MaxBody)
	}
	x.entry.Error = f.text
	x.json(f.status, fault{f.text, f.code, x.entry.Image})
}

// failLater is fail, with the advice to try again in so many seconds.
func (x *exchange) failLater(seconds int, f failure) {
	x.w.Header().Set("Retry-After", strconv.Itoa(seconds))
	x.fail(f)
}
