package main

import (
	"io"
	"sync"
	"time"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
)

// profile adds up how long the stages of the work on images take.
type profile struct {
	mu    sync.Mutex
	spent map[engine.Stage]time.Duration
}

func (p *profile) add(s engine.Stage, _ int, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spent == nil {
		p.spent = map[engine.Stage]time.Duration{}
	}
	p.spent[s] += d
}

// stageTime is a line of a profile.
type stageTime struct {
	Stage   engine.Stage `json:"stage"`
	Part    bool         `json:"part"` // of the stages before it, which have its time, too
	Seconds float64      `json:"seconds"`
}

// profileTable is the result of --profile.
type profileTable struct {
	Images  int         `json:"images"`  // that were scored
	Seconds float64     `json:"seconds"` // of the whole run
	Stages  []stageTime `json:"stages"`
}

// table is of a run that scored so many images.
func (p *profile) table(images int, seconds float64) profileTable {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := profileTable{Images: images, Seconds: seconds, Stages: []stageTime{}}
	for _, s := range engine.Stages() {
		if d := p.spent[s]; d > 0 {
			t.Stages = append(t.Stages, stageTime{s, s.Part(), d.Seconds()})
		}
	}
	return t
}

func (profileTable) MessageType() string { return "profile" }

func (t profileTable) Text(w io.Writer) error {
	each := func(seconds float64) float64 { return 1e3 * seconds / float64(max(t.Images, 1)) }
	if _, err := ui.Fprintf(w, "where the time went, in ms for each of %s; stages run beside others, decode, frame and write beside all\n",
		counted(t.Images, "image")); err != nil {
		return err
	}
	for _, s := range t.Stages {
		name := string(s.Stage)
		if s.Part {
			name = "  " + name
		}
		if _, err := ui.Fprintf(w, "  %-18s %9.2f\n", name, each(s.Seconds)); err != nil {
			return err
		}
	}
	_, err := ui.Fprintf(w, "  %-18s %9.2f\n", "the whole run", each(t.Seconds))
	return err
}
