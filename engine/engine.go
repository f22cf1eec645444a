// Package engine is the public face of F2PAD: fit a detector on normal images, load it, score batches of images, refine
// their maps.
package engine

import (
	"context"
	"errors"
	"iter"

	"f2pad/engine/artifact"
	"f2pad/engine/backbone"
	"f2pad/engine/dataset"
	"f2pad/engine/exec"
	"f2pad/engine/imageio"
	"f2pad/engine/method"
	"f2pad/engine/refine"

	"gorgonia.org/tensor"
)

// Size says what a model does with an image's size.
type Size struct {
	Px         int  `json:"px"`          // side of the square that images are resized to; 0: native
	KeepAspect bool `json:"keep_aspect"` // pad to the square by reflection instead of stretching
}

// Native reports whether images are run at their own size.
func (s Size) Native() bool { return s.Px == 0 }

// FitOptions configure Fit. The zero value of each field but Method means its default.
type FitOptions struct {
	Method   string // padim, patchcore
	Profile  string // f2pad (default), paper, anomalib
	Backbone string // scatter
	Size     Size   // default: native
	Seed     uint64
	HoldOut  float64 // share of the normal images kept back for calibration; default 0.2
	ImageFPR float64 // false-positive rate of the image threshold on normal images; default 0.05
	PixelFPR float64 // false-positive rate of the pixel thresholds on pixels of normal images; default 0.001
	Refine   *refine.Options
	Executor exec.Executor
	// Progress, if set, is told how far the work is; phases come in order.
	Progress func(Progress)
}

// Progress is one step of long work.
type Progress struct {
	Phase string // "backbone", "features", "method", "calibration"
	Done  int
	Total int // 0: unknown
}

// Model is a fitted detector with all that scoring needs.
type Model struct {
	Info     ModelInfo
	backbone backbone.Backbone
	method   method.Method
	memory   []*tensor.Dense
}

// ModelInfo is what a model records about itself.
type ModelInfo struct{}

// Fit learns a model from normal images. Images that cannot be used are reported to skip (file and reason) and left out;
// Fit fails if too few remain.
func Fit(ctx context.Context, items []dataset.Item, o FitOptions, skip func(dataset.Item, error)) (*Model, error) {
	return nil, errors.New("being written")
}

// Save writes the model file atomically and returns its SHA-256.
func (m *Model) Save(path string) (string, error) { return "", errors.New("being written") }

// Load reads a model file.
func Load(path string) (*Model, error) { return nil, errors.New("being written") }

// FromArtifact reads a model from an opened artifact.
func FromArtifact(f *artifact.File) (*Model, error) { return nil, errors.New("being written") }

// Options configure an Engine.
type Options struct {
	Executor  exec.Executor // default: pure Go
	Batch     int           // images per batch; default 8
	Maps      []refine.Kind // maps to compute; none: scores only
	MaxPixels int           // pixels of the largest window that the network runs on at once
}

// Engine scores images with a model.
type Engine struct{}

// New returns an engine for m.
func New(m *Model, o Options) (*Engine, error) { return nil, errors.New("being written") }

// Result is what the engine found in one image.
type Result struct {
	Item       dataset.Item
	Err        error // the image could not be scored; nothing below is set
	Image      *imageio.Image
	Score      float64                       // image score
	Threshold  float64                       // image threshold at the model's false-positive rate
	Anomalous  bool                          // Score > Threshold
	Refined    bool                          // the refinement found a suspicious region
	Maps       map[refine.Kind]*tensor.Dense // [H,W] at the image's own size
	Thresholds map[refine.Kind]float64       // label-free pixel thresholds
	Seconds    float64                       // scoring and refining, decoding left out; the batch's time shared evenly
}

// Score streams items through the model in batches and calls emit for each, in order. An image that fails is emitted with
// Err set and the rest goes on. When ctx is cancelled the images in hand are finished and emitted, then Score returns
// ctx.Err(). An error of emit ends the run.
func (e *Engine) Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*Result) error) error {
	return errors.New("being written")
}
