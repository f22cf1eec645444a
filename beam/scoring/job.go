// Package scoring is 'f2pad score' as a pipeline of Apache Beam: a list of inputs is spread over workers, each process of which scores
// with one engine, and the lines of results are written as Parquet.
//
//	job.go       what is asked for
//	pipeline.go  list, score, write
//	engines.go   the engine of a process
//	rows.go      lines as rows of Parquet
//	folder.go    the folder of results
//
// The model, the inputs and the folder are at the same paths for whoever launches a pipeline and for its workers.
package scoring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
	"f2pad.example/engine/run"
)

// Job is what a pipeline does. It travels to the workers as JSON, which holds no strings but of UTF-8: inputs need not be that.
type Job struct {
	Computing
	Inputs  [][]byte       // as dataset.Search takes them
	List    []byte         // what "-" among them stands for: paths, one per line
	Out     string         // folder of the results
	Shards  int            // files that they are in
	Regions region.Options // of the masks
	Info    run.Info       // filled in by Prepare
}

// Computing is what decides about an engine, and so which workers share one.
type Computing struct {
	Model, Backbone           string      // files; Backbone may be ""
	SHA256                    string      // of Model; filled in by Prepare
	Kind                      refine.Kind // map to make, "" for none
	Threshold, PixelThreshold *float64    // in place of the model's; nil: the model's
	ROI                       string      // file; may be ""
	Batch                     int         // images in work at once
	ImageMemory               int64       // bytes that an image may take while it is decoded
	Executor                  string      // of networks: GoExecutor or ORTExecutor
	Library                   string      // of ONNX Runtime; "": the one that is found
}

// The executors of Computing.
const (
	GoExecutor  = "go"
	ORTExecutor = "ort"
)

// stdin among the inputs is the list.
const stdin = "-"

// Prepare makes sure that the job can be done, as far as can be seen from here, completes it, and makes its folder ready: one that holds
// results of another job is an error (run.ErrOther) unless force throws them away. version is the program's.
func (j *Job) Prepare(version string, force bool) error {
	if j.Shards < 1 {
		return errors.New("results are in at least one file")
	}
	for _, path := range []string{j.Out, j.Model, j.Backbone, j.ROI, j.Library} {
		if !utf8.ValidString(path) {
			return fmt.Errorf("%q: is not UTF-8, in which paths of models and results travel to workers", path)
		}
	}
	args := j.args()
	if _, err := run.Look(dataset.Search{Out: j.Out}, args, nil); err != nil {
		return err
	}
	if slices.Equal(args, []string{stdin}) && len(bytes.TrimSpace(j.List)) == 0 {
		return run.ErrNoInputs
	}
	m, err := engine.LoadWith(j.Model, j.Backbone)
	if err != nil {
		return err
	}
	if j.Kind != "" {
		if err := m.Makes(j.Kind); err != nil {
			return err
		}
	}
	j.SHA256 = m.SHA256()
	e, err := j.engine()
	if err != nil {
		return err
	}
	j.Info = run.Info{
		Version: version, Model: j.SHA256, Refine: run.RefineName(j.Kind), Threshold: j.Threshold, PixelThreshold: j.PixelThreshold,
		Regions: j.Regions, Executor: e.Executor(), Device: e.Device(),
	}
	if j.ROI != "" {
		print, err := engine.TakeFingerprint(j.ROI)
		if err != nil {
			return fmt.Errorf("%s: %w", j.ROI, err)
		}
		j.Info.ROI = &print.SHA256
	}
	return j.prepareFolder(force)
}

func (j *Job) args() (args []string) {
	for _, arg := range j.Inputs {
		args = append(args, string(arg))
	}
	return args
}

// key tells engines apart.
func (c Computing) key() (string, error) {
	key, err := json.Marshal(c)
	return string(key), err
}
