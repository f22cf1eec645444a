// Package stage names what scoring an image is made of, and times it.
package stage

import (
	"sync"
	"time"
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

// Part reports whether the stage is a part of those that Order names before it.
func (s Stage) Part() bool { return s == Gradients || s == Asked }

// Order is all stages in their order.
func Order() []Stage {
	return []Stage{
		Decode, Frame, Features, Scores, Maps, Regions, Evidence, Optimise, Gradients, Explain, Looks, Asked, Join, Restore, Write,
	}
}

// Timer is told how long a stage took for the images that it worked on. nil is told nothing. It is called from several goroutines.
type Timer func(s Stage, images int, d time.Duration)

// Start returns a function that tells the timer, and its caller, of the time since it was last called, or Start was.
func (t Timer) Start(images int) (lap func(Stage) time.Duration) {
	last := time.Now()
	return func(s Stage) time.Duration {
		d := time.Since(last)
		last = last.Add(d)
		if t != nil {
			t(s, images, d)
		}
		return d
	}
}

// Spent adds up what a Timer is told: its Add is one. The zero value is ready, and safe for concurrent use.
type Spent struct {
	mu  sync.Mutex
	sum map[Stage]time.Duration
}

// Time is a stage's sum.
type Time struct {
	Stage   Stage   `json:"stage"`
	Part    bool    `json:"part"` // of the stages before it, which have its time, too
	Seconds float64 `json:"seconds"`
}

// Add is a Timer.
func (s *Spent) Add(stage Stage, _ int, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum == nil {
		s.sum = map[Stage]time.Duration{}
	}
	s.sum[stage] += d
}

// Times are the sums of the stages that took time, in Order; an empty list is not nil.
func (s *Spent) Times() []Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := []Time{}
	for _, stage := range Order() {
		if d := s.sum[stage]; d > 0 {
			times = append(times, Time{stage, stage.Part(), d.Seconds()})
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
