// Package run scores inputs into a folder: a line of results for each, and on request their maps, masks and overlays. A run
// that was ended, in whatever way, goes on where it was when it is run again with the same options.
//
//	run.go       Run, and what it is asked for
//	event.go     what it tells on its way
//	inputs.go    what is to be scored, and look.go: what is known of that beforehand
//	turns.go     the order of the inputs, in which lines are written
//	writing.go   several images on their way to the disk, while the engine goes on
//	outputs.go   their maps, masks and overlays
//	journal.go   the results' files: lines.go (what a line is), manifest.go (run.json), scan.go (what earlier runs left),
//	             resume.go (what is kept of it; rest.go: in order), append.go (how lines are added), leftover.go (what is no input any more),
//	             finish.go (how a run is completed)
//	results.go   what a run has written, to be read
//	watch.go     runs of inputs that change, one after the other; notify.go (how changes are heard of)
//	shard.go     a part of the inputs; merge.go (how the results of all parts become those of one run)
//	lock         one program at a time in a folder
//
// docs/scripting.md describes the files.
package run

import (
	"context"
	"errors"
	"iter"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/refine"
)

// Engine scores the inputs: an *engine.Engine that takes fingerprints (engine.Options.Fingerprints).
type Engine interface {
	Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error
	Executor() exec.Info
	Device() device.Info
}

// Options say what a run does, and where it writes.
type Options struct {
	Dir   string      // of the results; made if need be
	Force bool        // throws the results of earlier runs in Dir away
	Kind  refine.Kind // the map that is written and shown, one that the engine makes; "": scores alone, without outputs
	// Info is what decides the results. Refine (that is Kind), Executor and Device (those of the engine) are filled in.
	Info Info
	// Waiting is how many bytes of results may wait to be written while the engine goes on; default 128 MiB. A larger result is
	// written before it does.
	Waiting int64
	// Timer is told how long the writing of each image's files took; it is called from several goroutines. May be nil.
	Timer engine.Timer
	// Tell is told what happens, one event at a time; an error of it ends the run. It must not wait for the run. May be nil.
	Tell func(Event) error

	locked bool // Dir is the caller's already
}

func (o Options) info(e Engine) Info {
	i := o.Info
	i.Refine, i.Executor, i.Device = RefineName(o.Kind), e.Executor(), e.Device()
	return i
}

// Summary is what came of a run.
type Summary struct {
	Images    int     `json:"images"` // inputs in results.jsonl
	Anomalous int     `json:"anomalous"`
	Failed    int     `json:"failed"`
	Kept      int     `json:"kept"` // of the inputs: finished by an earlier run
	Results   string  `json:"results"`
	Seconds   float64 `json:"seconds"`
	// Devices says how many images each computed in this run.
	Devices map[string]int `json:"devices"`
	Info
}

// ErrNoInputs ends a run without inputs.
var ErrNoInputs = errors.New("no inputs")

// Run scores inputs with e into Options.Dir, or what is left of them by an earlier run (ErrOther if that was another one;
// lock.ErrHeld while another program writes there). Inputs that cannot be scored are told, have a line that says why, and do
// not end the run. When ctx ends, what is in hand is finished, and the error is ctx's. The summary is of what was done, also
// with an error.
func Run(ctx context.Context, e Engine, o Options, in Inputs) (Summary, error) {
	began := time.Now()
	info := o.info(e)
	s := &scoring{tell: teller(o.Tell), total: in.Survey.Total, sum: Summary{Info: info}, most: budget{bytes: o.Waiting}}
	var err error
	if s.journal, err = openJournal(o.Dir, info, o.Force, o.locked, s.tell.warn); err != nil {
		return s.sum, err
	}
	defer s.journal.close()
	s.journal.named.exists, s.journal.changing = in.Survey.exists, in.Survey.changing
	s.sum.Results = s.journal.path(ResultsFile)
	if in.Survey.known {
		if err := s.journal.others(in.Survey); err != nil {
			return s.sum, err
		}
	}
	s.out = outputs{
		dir: o.Dir, kind: o.Kind, maps: info.Maps, masks: info.Masks, overlays: info.Overlays, labels: info.Labels, regions: info.Regions,
		claim: s.journal.claim, timer: o.Timer,
	}
	if err := s.out.prepare(); err != nil {
		return s.sum, err
	}
	if err = s.score(ctx, e, in.Items); err == nil {
		err = s.journal.finish(s.all())
	}
	s.sum.Seconds = time.Since(began).Seconds()
	return s.sum, err
}
