package run

import "sync"

// Event is what a run tells on its way: Scored, Failed, Kept, Progress or Warning. Of inputs they come in the inputs' order, each
// when its line has been written.
type Event interface{ event() }

// Scored is an input that was scored.
type Scored struct{ Line }

// Failed is an input that could not be scored. Err names it, and the reason.
type Failed struct {
	Path string
	Err  error
}

// Kept is an input that an earlier run has scored.
type Kept struct {
	Path      string
	Anomalous bool
}

// Progress is how far the run is, without what was kept.
type Progress struct {
	Done, Total int // Total is 0 where it is not known
}

// Warning is what should be known though the run goes on.
type Warning struct{ Text string }

func (Scored) event()   {}
func (Failed) event()   {}
func (Kept) event()     {}
func (Progress) event() {}
func (Warning) event()  {}

// listener tells one event at a time.
type listener struct {
	mu   sync.Mutex
	tell func(Event) error // may be nil
	err  error             // the first; nothing is told after it
}

func teller(tell func(Event) error) *listener { return &listener{tell: tell} }

func (l *listener) event(e Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tell != nil && l.err == nil {
		l.err = l.tell(e)
	}
	return l.err
}

// warn is for those who go on in any case: the error is found by the next event.
func (l *listener) warn(text string) { _ = l.event(Warning{text}) }
