// Package stage names what scoring an image is made of, and times it.
package stage

import (
	"runtime"
	"sync"
	"time"

	"f2pad.example/engine/peak"
)

// Stage is a part of the work on images. Those of a batch follow one another, but for Decode and Write, which run beside, as
// another batch does.
type Stage string

// The stages in the order of an image's way.
const (
	Decode    Stage = "decode"
	Frame     Stage = "frame"          // the image at the model's size
	Features  Stage = "features"       // the network on the images as they were given
	Scores    Stage = "scores"         // the method on the features
	Maps      Stage = "base maps"      // the method's own maps
	Regions   Stage = "regions, fills" // steps 1 and 2 of the refinement
	Evidence  Stage = "residual"       // step 3
	Optimise  Stage = "optimisation"   // step 4
	Gradients Stage = "its gradients"  // of that: the network and the method, forward and back
	Explain   Stage = "fills scored"   // what the detector finds in fills, step 5
	Looks     Stage = "looks"          // the moved images of step 5
	Asked     Stage = "their network"  // of these two: the network and the method
	Join      Stage = "join"           // steps 6 and 7
	Restore   Stage = "back to size"   // maps at the images' own size
	Write     Stage = "write"          // maps, masks and overlays, encoded and stored
)

// Network reports whether the stage is the network's and the method's work, and none of the host's beside it.
func (s Stage) Network() bool { return s == Features || s == Scores || s == Gradients || s == Asked }

// Part reports whether the stage is a part of those that Order names before it.
func (s Stage) Part() bool { return s == Gradients || s == Asked }

// Order is all stages in their order.
func Order() []Stage {
	return []Stage{
		Decode, Frame, Features, Scores, Maps, Regions, Evidence, Optimise, Gradients, Explain, Looks, Asked, Join, Restore, Write,
	}
}

// Took is how long a stage took.
type Took struct {
	Wall time.Duration
	// CPU is the time of the processor, whatever else it had to do meanwhile. It is known, on Linux, where GOMAXPROCS is 1, in which case
	// all that a stage does is done by one goroutine, and where that is pinned; 0: it is not.
	CPU time.Duration
}

// Timer is told what a stage took for the images that it worked on. nil is told nothing. It is called from several goroutines.
type Timer func(s Stage, images int, t Took)

// Start returns a function that tells the timer of the time since it was last called, or Start was, and its caller of the wall time.
func (t Timer) Start(images int) (lap func(Stage) time.Duration) {
	last, busy := time.Now(), t.busy()
	return func(s Stage) time.Duration {
		d := time.Since(last)
		last = last.Add(d)
		if t != nil {
			now := t.busy()
			t(s, images, Took{d, now - busy})
			busy = now
		}
		return d
	}
}

// busy is the processor time of this thread, 0 where it is not that of the stage.
func (t Timer) busy() time.Duration {
	if t == nil || runtime.GOMAXPROCS(0) > 1 {
		return 0
	}
	return peak.Thread()
}

// Pin keeps the goroutine on its thread until release is called: it may be told of the processor's time from now on.
func (t Timer) Pin() (release func()) {
	if t == nil || runtime.GOMAXPROCS(0) > 1 {
		return func() {}
	}
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// Spent adds up what a Timer is told: its Add is one. The zero value is ready, and safe for concurrent use.
type Spent struct {
	mu  sync.Mutex
	sum map[Stage]Took
}

// Time is a stage's sum.
type Time struct {
	Stage   Stage   `json:"stage"`
	Part    bool    `json:"part"` // of the stages before it, which have its time, too
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds,omitempty"` // see Took; 0: not known
}

// Add is a Timer.
func (s *Spent) Add(stage Stage, _ int, t Took) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum == nil {
		s.sum = map[Stage]Took{}
	}
	sum := s.sum[stage]
	s.sum[stage] = Took{sum.Wall + t.Wall, sum.CPU + t.CPU}
}

// Times are the sums of the stages that took time, in Order; an empty list is not nil.
func (s *Spent) Times() []Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := []Time{}
	for _, stage := range Order() {
		if t := s.sum[stage]; t.Wall > 0 {
			times = append(times, Time{stage, stage.Part(), t.Wall.Seconds(), t.CPU.Seconds()})
		}
	}
	return times
}

// Reset forgets all.
func (s *Spent) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sum)
}
