package sight

import (
	"context"

	"f2pad.example/engine/backbone"
	"f2pad.example/engine/internal/stage"
	"f2pad.example/engine/loop"
	"f2pad.example/engine/method"
	"f2pad.example/engine/refine"

	"gorgonia.org/tensor"
)

// Detector is a network and a method where they are computed: on the host (NewHost), or on a GPU. It is safe for concurrent use.
// What an image gets does not depend on the others.
type Detector interface {
	// Begin runs the network on the images x [N,3,H,W], normalised with norms, and the method on its features: it fills r as
	// method.Method's Score does. x and norms stay as they are until the Batch is closed.
	Begin(ctx context.Context, x *tensor.Dense, norms []backbone.Affine, r *method.Result) (Batch, error)
	// Maps makes the method's own maps dst [n,H,W] of the scores s [n,h,w] at the wanted pixels [n,H,W]; nil: all. The others in dst stay
	// as they are.
	Maps(s []float32, n, h, w, H, W int, wanted []bool, dst []float32) error
	// Close frees what the Detector holds.
	Close() error
}

// Batch is images that a Detector has scored, with what is asked of them further: they do not come again. It is for one goroutine.
type Batch interface {
	// Score is Begin's of variants of the images, with their normalisations.
	Score(ctx context.Context, x refine.Variants, r *method.Result) error
	// Costs compares candidates for fills with the images; see refine.Filler.
	Costs(searches []refine.Search) error
	// Optimise runs the loop on the images, problem i on image i, the data term being of the scores on scale: see loop.Run. Images to
	// blame for values that are not finite are a BadFrames.
	Optimise(ctx context.Context, problems []loop.Problem, scale Scale, o *loop.Options) ([][]loop.Iteration, error)
	// Close frees what the Batch holds.
	Close()
}

// Timer is told how long stages take; nil is one, too.
type Timer = stage.Timer

// The stages that a Detector tells a Timer of: the network and the method on images as they were given, and on those that change.
const (
	StageFeatures  = stage.Features
	StageScores    = stage.Scores
	StageGradients = stage.Gradients
)

// Spec says what a Detector is made of.
type Spec struct {
	Backbone           backbone.Backbone
	Method             method.Method
	MaxPixels, Context int   // see NewWindows
	Timer              Timer // told how long the network and the method take; may be nil
}

// Windows are the Detector's.
func (s Spec) Windows() Windows { return NewWindows(s.Backbone, s.MaxPixels, s.Context) }
