package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/internal/openfile"
	"f2pad.example/engine/peak"
	"f2pad.example/engine/perf/machine"
	"f2pad.example/engine/perf/stats"
	"f2pad.example/engine/refine"
)

// Revision is that of Report: one more when a field means something else than before.
const Revision = 2

// MessageType marks a report among other lines of JSON.
const MessageType = "bench"

// Report is a run's rows and what they were measured with.
type Report struct {
	Revision  int           `json:"revision"`
	Program   string        `json:"program"` // version of f2pad
	Go        string        `json:"go"`
	Date      time.Time     `json:"date"`
	Complete  bool          `json:"complete"` // false: the run was interrupted, and rows are missing
	Model     Model         `json:"model"`
	Devices   []device.Info `json:"devices"`   // in the rows' order
	Executors []exec.Info   `json:"executors"` // what the network ran on, by device
	Machine   Machine       `json:"machine"`
	Rates     Rates         `json:"ceilings"`
	Work      *engine.Work  `json:"work"`
	Images    Images        `json:"images"`
	Asked     Asked         `json:"options"`
	Rows      []*Row        `json:"rows"`
	Cold      []*Cold       `json:"cold"`
}

// Model is the model that was measured.
type Model struct {
	Path     string      `json:"path,omitempty"` // "": it was fitted for the run
	SHA256   string      `json:"sha256"`
	Method   string      `json:"method"`
	Profile  string      `json:"profile"`
	Backbone string      `json:"backbone"`
	Size     engine.Size `json:"size"`
}

// Machine is what the run was on.
type Machine struct {
	Processor    string            `json:"processor"`
	Cores        int               `json:"cores"`
	MaxProcs     int               `json:"gomaxprocs"`
	OS           string            `json:"os"`
	Arch         string            `json:"arch"`
	LoadBefore   string            `json:"load_before"` // load average of the last minute; "": not known
	LoadAfter    string            `json:"load_after"`
	ClocksBefore *machine.Clocks   `json:"clocks_before"`
	ClocksAfter  *machine.Clocks   `json:"clocks_after"`
	GPUsBefore   map[string]string `json:"gpus_before,omitempty"` // by device: what nvidia-smi says; "": there is none
	GPUsAfter    map[string]string `json:"gpus_after,omitempty"`
}

// Rates are the processor's ceilings before and after the rows.
type Rates struct {
	Before peak.Rates `json:"before"`
	After  peak.Rates `json:"after"`
}

// Images are what was scored.
type Images struct {
	From      string `json:"from"` // a folder, or what was made
	Count     int    `json:"count"`
	Defective int    `json:"defective"` // of those that were made; -1: not known
	Width     int    `json:"width"`     // px, of the first
	Height    int    `json:"height"`
	SHA256    string `json:"sha256"` // over the files, in their order
}

// Asked is what decides the rows beside the rest.
type Asked struct {
	Scenarios []Scenario    `json:"scenarios"`
	Batches   []int         `json:"batches"`
	Maps      []refine.Kind `json:"maps"`
	Seconds   float64       `json:"seconds"`
	Within    float64       `json:"within"`
	Rate      float64       `json:"rate"`
	Bound     float64       `json:"bound_s"`
	Seed      uint64        `json:"seed"`
	Memory    int           `json:"memory_mib"` // --memory; 0: the program's choice
}

// Cold is how long it takes from the start of a process to its first result on a device.
type Cold struct {
	Device string `json:"device"`
	Error  string `json:"error,omitempty"`
	// Seconds, medians of Runs processes, each measured from the one before.
	Start  float64      `json:"start_s"`   // until the program runs
	Load   float64      `json:"load_s"`    // until the model is read, and its network
	Open   float64      `json:"open_s"`    // until executor and device are open
	Engine float64      `json:"engine_s"`  // until the engine is made
	First  float64      `json:"first_s"`   // the first image: what is compiled and made once is in it
	Next   float64      `json:"next_s"`    // the same image again
	Total  stats.Timing `json:"to_result"` // from the start of the process to the first result
}

// Read reads a report from a file: of f2pad bench --out, or the standard output of f2pad bench --json, whose last report counts.
// The error names the file and what is wrong with it.
func Read(path string) (*Report, error) {
	const most = 64 << 20
	text, err := openfile.ReadAll(path, most)
	if err != nil {
		return nil, err
	}
	r, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func parse(text []byte) (*Report, error) {
	var last json.RawMessage
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var raw json.RawMessage
		err := d.Decode(&raw)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not a report of f2pad bench: %w", err)
		}
		var head struct {
			MessageType string `json:"message_type"`
		}
		if json.Unmarshal(raw, &head) == nil && head.MessageType == MessageType { // other values are no objects
			last = raw
		}
	}
	if last == nil {
		return nil, errors.New(`not a report of f2pad bench: nothing in it has "message_type":"bench"`)
	}
	r := &Report{}
	if err := json.Unmarshal(last, r); err != nil {
		return nil, fmt.Errorf("not a report of f2pad bench: %w", err)
	}
	if r.Revision < 1 || r.Revision > Revision {
		return nil, fmt.Errorf("a report of revision %d; this program reads up to %d", r.Revision, Revision)
	}
	seen := map[string]bool{}
	for i, row := range r.Rows {
		if row == nil {
			return nil, fmt.Errorf("row %d is null", i)
		}
		if err := row.check(); err != nil {
			return nil, fmt.Errorf("row %d (%s): %w", i, row.Name(), err)
		}
		if seen[row.Name()] {
			return nil, fmt.Errorf("row %d (%s) is there twice", i, row.Name())
		}
		seen[row.Name()] = true
	}
	return r, nil
}

// check refuses what Run does not measure.
func (r *Row) check() error {
	positive := func(name string, all ...float64) error {
		for i, v := range all {
			if !(v > 0) || math.IsInf(v, 0) {
				return fmt.Errorf("%s[%d] is %g", name, i, v)
			}
		}
		return nil
	}
	switch {
	case !slices.Contains(Scenarios(), r.Scenario):
		return fmt.Errorf("unknown scenario %q", r.Scenario)
	case r.Error != "":
		return nil
	case r.Scenario == Server && r.Server == nil:
		return errors.New("it says nothing of the server")
	case r.Scenario != Server && len(r.Samples) == 0:
		return errors.New("it has no samples")
	case r.ImagesPerSecond < 0 || r.Scenario != Server && r.ImagesPerSecond == 0:
		return fmt.Errorf("images_per_s is %g", r.ImagesPerSecond)
	}
	err := errors.Join(positive("samples_s", r.Samples...), positive("image_s", r.ImageSeconds...))
	if s, ok := r.Seconds(); ok {
		err = errors.Join(err, positive("its time", s))
	}
	return err
}

// networks says something of what the network ran on, by device.
func (r *Report) networks(of func(exec.Info) string) string {
	var all []string
	for _, e := range r.Executors {
		all = append(all, of(e))
	}
	return strings.Join(all, ", ")
}

// WriteJSON writes the report on lines of its own, marked as Read wants it.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(struct {
		MessageType string `json:"message_type"`
		*Report
	}{MessageType, r})
}

// WriteGo writes the rows in the format of Go's benchmarks, which benchstat and other tools read: one line for each round, so that
// their number and spread are known there. The unit ns/op is of an image.
func (r *Report) WriteGo(w io.Writer) error {
	var b strings.Builder
	line := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: f2pad.example/cmd/f2pad\ncpu: %s\n", r.Machine.OS, r.Machine.Arch, line(r.Machine.Processor))
	fmt.Fprintf(&b, "f2pad: %s\nmodel: %s\nmethod: %s\nbackbone: %s\nsize: %s\nexecutor: %s\n",
		line(r.Program), r.Model.SHA256, r.Model.Method, line(r.Model.Backbone), line(r.Model.Size.String()), line(r.networks(func(e exec.Info) string { return e.Executor })))
	n := float64(r.Images.Count)
	for _, row := range r.Rows {
		each, ok := row.Seconds()
		if !ok {
			continue
		}
		scenario, rest, _ := strings.Cut(row.Name(), "/")
		name := fmt.Sprintf("Benchmark%s%s/%s-%d", strings.ToUpper(scenario[:1]), scenario[1:], rest, r.Machine.MaxProcs)
		if len(row.Samples) == 0 {
			fmt.Fprintf(&b, "%s %d %.0f ns/op\n", name, row.Server.Asked, 1e9*each)
		}
		for _, s := range row.Samples {
			fmt.Fprintf(&b, "%s %d %.0f ns/op %.4g images/s\n", name, r.Images.Count, 1e9*s/n, n/s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
