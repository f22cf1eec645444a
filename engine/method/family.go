package method

import (
	"context"
	"time"

	"f2pad.example/engine/artifact"
)

// Family is a kind of detector: how it is fitted and loaded.
type Family struct {
	Name     string   // what Method.Name returns
	Profiles []string // the named sets of options, the default first
	Revisits bool     // Fit visits the features more than once
	// Fit learns from f.Features. The same f gives the same model, bit for bit.
	Fit func(ctx context.Context, f Fitting) (Method, error)
	// Load reads what Method.Save wrote.
	Load func(f *artifact.File) (Method, error)
	// Plan says what fitting will take: on images whose layers have [D,h,w] values each, finest first.
	Plan func(f Fitting, layers [][3]int, images int) (Plan, error)
}

// Plan is what a fit takes, as far as its options and numbers say.
type Plan struct {
	Bytes   int64   // of memory at the most, beside images and network
	Work    float64 // in units of the method's own, of what is done once the features are collected: that of one fit is to that of another as their times
	Patches int     // that the Bank is chosen from; 0: the method has none
	Bank    int
}

// Fitting is what a method is fitted with.
type Fitting struct {
	Profile  string
	Seed     uint64 // of every random choice
	Native   bool   // images have their own sizes
	Features Features
	// Where says which cells, of a grid of h x w that covers the image that Features is visiting, are learned from; nil, or a nil
	// slice: all. A method with a state of its own for each location may learn from all cells whatever it says.
	Where func(h, w int) []bool

	Progress   func(Progress) // told from Fit's goroutine how far the work is; may be nil
	Checkpoint Checkpoint     // where unfinished work is kept; may be nil
	KCentre    KCentre        // chooses PatchCore's bank in the CPU's place; may be nil
}

// Learns reports whether cell i of a grid of h x w is learned from.
func (f *Fitting) Learns(h, w int) func(i int) bool {
	var where []bool
	if f.Where != nil {
		where = f.Where(h, w)
	}
	return func(i int) bool { return where == nil || where[i] }
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
