package method

import (
	"context"
	"time"

	"f2pad/engine/artifact"
	"f2pad/engine/exec"
)

// Family is a kind of detector: how it is fitted and loaded.
type Family struct {
	Name     string   // what Method.Name returns
	Profiles []string // the named sets of options, the default first
	Device   bool     // Method.On moves it to a device; otherwise it computes on the CPU, whatever the rest does
	Revisits bool     // Fit visits the features more than once
	// Fit learns from f.Features. The same f gives the same model, bit for bit.
	Fit func(ctx context.Context, f Fitting) (Method, error)
	// Load reads what Method.Save wrote.
	Load func(f *artifact.File) (Method, error)
}

// Fitting is what a method is fitted with.
type Fitting struct {
	Profile  string
	Seed     uint64 // of every random choice
	Native   bool   // images have their own sizes
	Features Features

	Executor   exec.Executor  // of what is trained; nil: pure Go
	Progress   func(Progress) // told from Fit's goroutine how far the work is; may be nil
	Checkpoint Checkpoint     // where unfinished work is kept; may be nil
	KCentre    KCentre        // chooses PatchCore's bank in the CPU's place; may be nil
}

// KCentre chooses centres in x [P,d] greedily; see patchcore.KCentre.
type KCentre func(ctx context.Context, x []float32, d, want int, starts []int, progress func(done, total int)) ([]int, error)

// Progress is a step of long work.
type Progress struct {
	Phase       string
	Done, Total int
	Loss        float64       // of what is trained
	Left        time.Duration // an estimate; 0: not known
}

// Checkpoint keeps unfinished work, so that a fit that was killed goes on where it was when it is started again. A method
// recognises its own work, on the same features with the same options, and leaves other work alone.
type Checkpoint interface {
	// Load returns what was saved last, nil if there is nothing.
	Load() (*artifact.File, error)
	// Save replaces what was saved.
	Save(w *artifact.Writer) error
}
