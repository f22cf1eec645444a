// Package text shows a verb's work to people: results on standard output, everything else on standard error.
package text

import (
	"fmt"
	"io"
	"sync"
	"time"

	"f2pad.example/cmd/f2pad/ui"

	"github.com/schollz/progressbar/v3"
)

// plainEvery is how often progress is told where there is no terminal to draw a bar on: rarely enough for a log.
const plainEvery = 5 * time.Second

// UI implements ui.UI.
type UI struct {
	mu       sync.Mutex
	out, err io.Writer
	progress progress
}

var _ ui.UI = (*UI)(nil)

// progress shows steps of work on standard error.
type progress interface {
	update(ui.Progress)
	hide() // makes room for a line of text
	end()
}

// New returns a UI that writes results to out and the rest to err. With terminal set, err is a terminal and gets a
// progress bar; otherwise it gets a plain line at intervals.
func New(out, err io.Writer, terminal bool) *UI {
	u := &UI{out: out, err: err}
	if terminal {
		u.progress = &bar{w: err}
	} else {
		u.progress = &lines{w: err, meter: ui.NewMeter(plainEvery)}
	}
	return u
}

// Progress implements ui.UI.
func (u *UI) Progress(p ui.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.update(p)
}

// Show implements ui.UI.
func (u *UI) Show(m ui.Message) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.hide()
	return m.Text(u.out)
}

// Note implements ui.UI.
func (u *UI) Note(m ui.Message) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.hide()
	_ = m.Text(u.err)
}

// Failed implements ui.UI.
func (u *UI) Failed(_ string, err error) { u.say("error: " + ui.Printable(err.Error())) }

// Warn implements ui.UI.
func (u *UI) Warn(text string) { u.say("warning: " + ui.Printable(text)) }

// Error implements ui.UI.
func (u *UI) Error(err error, _ int) { u.say("f2pad: " + ui.Reason(err)) }

func (u *UI) say(line string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.hide()
	fmt.Fprintln(u.err, line)
}

// Close implements ui.UI.
func (u *UI) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.end()
}

// lines tells progress in plain lines.
type lines struct {
	w     io.Writer
	meter ui.Meter
}

func (l *lines) update(p ui.Progress) { l.print(l.meter.Update(p)) }
func (l *lines) hide()                {}
func (l *lines) end()                 { l.print(l.meter.Flush()) }

func (l *lines) print(due []ui.Reading) {
	for _, r := range due {
		fmt.Fprintf(l.w, "%s: %d", r.Phase, r.Done)
		if r.Total > 0 {
			fmt.Fprintf(l.w, "/%d", r.Total)
		}
		if r.Rate > 0 {
			fmt.Fprintf(l.w, ", %.3g/s", r.Rate)
		}
		if r.Remaining > 0 {
			fmt.Fprintf(l.w, ", %s left", r.Remaining.Round(time.Second))
		}
		fmt.Fprintln(l.w)
	}
}

// bar draws progress on a terminal.
type bar struct {
	w      io.Writer
	last   ui.Progress
	bar    *progressbar.ProgressBar
	hidden bool
}

func (b *bar) update(p ui.Progress) {
	if b.bar == nil || p.Phase != b.last.Phase || p.Done < b.last.Done {
		b.end()
		total := p.Total
		if total == 0 {
			total = -1 // a spinner
		}
		b.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription(fmt.Sprintf("%-12s", p.Phase)),
			progressbar.OptionSetWidth(30),
			progressbar.OptionSetTheme(progressbar.ThemeASCII),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetSpinnerChangeInterval(0), // it turns with the work
		)
		b.last = ui.Progress{}
	}
	// Drawing may fail only as writing to the terminal does; then there is nobody to tell.
	_ = b.bar.Add(p.Done - b.last.Done)
	b.last, b.hidden = p, false
}

func (b *bar) hide() {
	switch {
	case b.bar == nil || b.hidden:
	case b.bar.IsFinished():
		b.end()
	default:
		_ = b.bar.Clear()
		b.hidden = true
	}
}

func (b *bar) end() {
	if b.bar != nil && !b.hidden {
		fmt.Fprintln(b.w)
	}
	b.bar, b.hidden = nil, false
}
