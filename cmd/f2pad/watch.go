package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"f2pad.example/cmd/f2pad/ui"
	"f2pad.example/engine"
	"f2pad.example/engine/run"
	"f2pad.example/engine/telemetry"
)

const (
	// metricsEvery is how often the file of --metrics is written: as often as it is likely to be read.
	metricsEvery = 5 * time.Second
	// spentFirst is when a run says for the first time where the time goes. Each time it takes twice as long until the next.
	spentFirst = time.Minute
)

// watch tells how a run of score is doing, to those who look at it and to the file of --metrics.
type watch struct {
	p     *program
	spent engine.Spent
	model string
	file  string         // "": none
	run   *telemetry.Run // nil: there is no file
	now   func() time.Time

	began                     time.Time
	next                      time.Duration // from then, when to say where the time goes
	images, anomalous, failed int
	told                      bool // that the file cannot be written

	stop    chan struct{}
	writing sync.WaitGroup
	ended   sync.Once
}

// watchRun watches a run that begins now and writes to dir. file is that of --metrics, "" for none; it is there when watchRun returns.
func (p *program) watchRun(file, dir, model string) (*watch, error) {
	w := &watch{p: p, model: model, file: file, now: time.Now, began: time.Now(), next: spentFirst, stop: make(chan struct{})}
	if file == "" {
		return w, nil
	}
	if err := writable(file); err != nil {
		return nil, fmt.Errorf("--metrics %w", err)
	}
	w.run = telemetry.NewRun(version(), dir)
	w.run.Model(model)
	if err := w.run.WriteFile(file); err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	w.writing.Go(func() {
		for every := time.NewTicker(metricsEvery); ; {
			select {
			case <-every.C:
				w.write()
			case <-w.stop:
				every.Stop()
				return
			}
		}
	})
	return w, nil
}

// write writes the file. The run is worth more: that it cannot be written is said once.
func (w *watch) write() {
	if err := w.run.WriteFile(w.file); err != nil && !w.told {
		w.told = true
		w.p.ui.Warn(fmt.Sprintf("--metrics: %v; the run goes on", err))
	}
}

// end says that the run has come to its end, or why it did not. The first time counts.
func (w *watch) end(err error) {
	w.ended.Do(func() {
		close(w.stop)
		w.writing.Wait()
		if w.run != nil {
			w.run.End(err == nil)
			w.write()
		}
	})
}

// timer is the engine's and the run's.
func (w *watch) timer() engine.Timer {
	if w.run == nil {
		return w.spent.Add
	}
	counts := w.run.Timer(w.model)
	return func(s engine.Stage, images int, t engine.Took) {
		w.spent.Add(s, images, t)
		counts(s, images, t)
	}
}

// tell passes on what a run tells.
func (w *watch) tell(e run.Event) error {
	switch e := e.(type) {
	case run.Scored:
		w.count(telemetry.Scored(e.Anomalous), e.Device)
	case run.Failed:
		w.count(telemetry.Failed, "")
	case run.Kept:
		if w.run != nil {
			w.run.Kept()
		}
	case run.Progress:
		if w.run != nil {
			w.run.Progress(e.Done, e.Total)
		}
		if since := w.now().Sub(w.began); since >= w.next && w.images > 0 {
			w.next *= 2
			w.p.ui.Note(w.soFar(since))
		}
	}
	return w.p.tellRun(e)
}

func (w *watch) count(r telemetry.Result, device string) {
	w.images++
	switch r {
	case telemetry.Anomalous:
		w.anomalous++
	case telemetry.Failed:
		w.failed++
	}
	if w.run != nil {
		w.run.Image(w.model, r, device)
	}
}

func (w *watch) soFar(since time.Duration) spentMessage {
	return spentMessage{w.images, w.anomalous, w.failed, since.Seconds(), w.spent.Times()}
}

// spentMessage says how a long run is doing, and where its time goes.
type spentMessage struct {
	Images    int                `json:"images"` // done
	Anomalous int                `json:"anomalous"`
	Failed    int                `json:"failed"`
	Seconds   float64            `json:"seconds"`
	Stages    []engine.StageTime `json:"stages"`
}

func (spentMessage) MessageType() string { return "spent" }

// mostNamed is how many stages are named.
const mostNamed = 4

func (m spentMessage) Text(out io.Writer) error {
	sum := 0.
	stages := slices.DeleteFunc(slices.Clone(m.Stages), func(s engine.StageTime) bool { return s.Part })
	for _, s := range stages {
		sum += s.Seconds
	}
	slices.SortStableFunc(stages, func(a, b engine.StageTime) int { return cmp.Compare(b.Seconds, a.Seconds) })
	var named []string
	for _, s := range stages[:min(mostNamed, len(stages))] {
		named = append(named, fmt.Sprintf("%s %.0f %%", s.Stage, 100*s.Seconds/max(sum, 1e-9)))
	}
	_, err := ui.Fprintf(out, "after %s: %s, %d anomalous, %d failed; of the stages' time %s\n",
		roughly(m.Seconds), counted(m.Images, "image"), m.Anomalous, m.Failed, strings.Join(named, ", "))
	return err
}
