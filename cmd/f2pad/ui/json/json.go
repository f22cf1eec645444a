// Package json shows a verb's work to programs: one JSON object per line on standard output, told apart by
// "message_type". docs/scripting.md is the contract.
package json

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"f2pad.example/cmd/f2pad/ui"
)

// every is the least time between two progress messages of a phase.
const every = time.Second

// UI implements ui.UI.
type UI struct {
	mu    sync.Mutex
	w     io.Writer
	meter ui.Meter
}

var _ ui.UI = (*UI)(nil)

// New returns a UI that writes to w, one Write for each line.
func New(w io.Writer) *UI { return &UI{w: w, meter: ui.NewMeter(every)} }

type progress struct {
	Phase            string   `json:"phase"`
	Done             int      `json:"done"`
	Total            int      `json:"total"`
	SecondsElapsed   float64  `json:"seconds_elapsed"`
	SecondsRemaining *float64 `json:"seconds_remaining"`
	Rate             *float64 `json:"rate"`
}

type failure struct {
	Image  string `json:"image"`
	Base64 []byte `json:"image_base64,omitempty"` // of a path that is not UTF-8
	Error  string `json:"error"`
}

type warning struct {
	Warning string `json:"warning"`
}

type fatal struct {
	Error string `json:"error"`
	Code  int    `json:"code"`
}

// Progress implements ui.UI.
func (u *UI) Progress(p ui.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.readings(u.meter.Update(p))
}

// Show implements ui.UI.
func (u *UI) Show(m ui.Message) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.write(m.MessageType(), m)
}

// Note implements ui.UI.
func (u *UI) Note(m ui.Message) { _ = u.Show(m) }

// Failed implements ui.UI.
func (u *UI) Failed(input string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := failure{Image: input, Error: err.Error()}
	if !utf8.ValidString(input) {
		f.Image, f.Base64 = strings.ToValidUTF8(input, "\uFFFD"), []byte(input)
	}
	_ = u.write("error", f)
}

// Warn implements ui.UI.
func (u *UI) Warn(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.write("warning", warning{text})
}

// Error implements ui.UI.
func (u *UI) Error(err error, code int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.write("exit_error", fatal{err.Error(), code})
}

// Close implements ui.UI. It writes nothing, so that the result stays the last line.
func (u *UI) Close() {}

func (u *UI) readings(due []ui.Reading) {
	for _, r := range due {
		p := progress{Phase: r.Phase, Done: r.Done, Total: r.Total, SecondsElapsed: seconds(r.Elapsed)}
		if r.Rate > 0 {
			p.Rate = &r.Rate
		}
		if r.Remaining > 0 {
			left := seconds(r.Remaining)
			p.SecondsRemaining = &left
		}
		_ = u.write("progress", p)
	}
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

var errNotObject = errors.New("json: the message is not an object")

// write puts the type in front of the object's own fields.
func (u *UI) write(messageType string, v any) error {
	head, err := json.Marshal(messageType)
	if err != nil {
		return err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if body[0] != '{' {
		return errNotObject
	}
	line := append([]byte(`{"message_type":`), head...)
	if len(body) > len("{}") {
		line = append(line, ',')
	}
	line = append(append(line, body[1:]...), '\n')
	_, err = u.w.Write(line)
	return err
}
