package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/region"
)

// The files of a run in its folder.
const (
	RunFile     = "run.json"           // what was asked for
	ResultsFile = "results.jsonl"      // the results, once they are complete
	PartFile    = "results.jsonl.part" // the results so far
	OldFile     = "results.jsonl.old"  // lines of earlier runs that the present one has not come to yet
	LockFile    = ".f2pad.lock"        // held by the program that writes to the folder
)

// Info is what decides a run's results beside its inputs. A run is only ever continued with the same.
type Info struct {
	Version  string `json:"version"`
	Model    string `json:"model_sha256"`
	Refine   string `json:"refine"`
	Maps     bool   `json:"maps"`
	Masks    bool   `json:"masks"`
	Overlays bool   `json:"overlays"`
	Labels   bool   `json:"labels"`
	// Thresholds in place of the model's; null: the model's.
	Threshold      *float64       `json:"threshold"`
	PixelThreshold *float64       `json:"pixel_threshold"`
	Regions        region.Options `json:"regions"`
	ROI            *string        `json:"roi"` // SHA-256 of its file; null: the model's
	Executor       exec.Info      `json:"executor"`
	Device         device.Info    `json:"device"` // that the run began with; of several GPUs, see place.Together
	Shard          *Shard         `json:"shard"`  // null: all inputs
}

// manifest is what RunFile holds.
type manifest struct {
	Info
	// Inputs are those of all shards, in a shard that is complete; Merge compares them.
	Inputs *inputsSum `json:"inputs,omitempty"`
}

// RefineName is Info.Refine of a map, or of none ("").
func RefineName(kind refine.Kind) string {
	if kind == refine.Base || kind == "" {
		return "none"
	}
	return string(kind)
}

func (j *journal) writeRun(m manifest) error { return m.write(j.path(RunFile)) }

func (m manifest) write(path string) error {
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(m)
	})
}

// ErrOther means that a folder holds the results of another run, or of other inputs: they are to be thrown away by Options.Force,
// or another folder is to be taken.
var ErrOther = errors.New("results of another run")

// other marks an error as ErrOther; its text stays.
type other struct{ error }

func (other) Is(target error) bool { return target == ErrOther }
func (o other) Unwrap() error      { return o.error }

// deciding is what of a field of RunFile decides the results. A GPU does by its kind: neither which of them it is nor how many there are
// changes what an image gets.
func deciding(key string, v any) any {
	field, ok := v.(map[string]any)
	if !ok || key != "device" && key != "executor" {
		return v
	}
	on, _ := field["device"].(string)
	kind, _, ok := strings.Cut(on, ":")
	if !ok {
		return v
	}
	field = maps.Clone(field)
	field["device"] = kind
	return field
}

// checkRun refuses to continue a run that asked for something else.
func (j *journal) checkRun(run Info) error {
	data, err := os.ReadFile(j.path(RunFile))
	if err != nil {
		return other{fmt.Errorf("%s holds results of an unknown run (%w)", j.dir, err)}
	}
	var before, now map[string]any
	if err := json.Unmarshal(data, &before); err != nil {
		return other{fmt.Errorf("%s: %w", j.path(RunFile), err)}
	}
	if data, err = json.Marshal(run); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &now); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if !reflect.DeepEqual(deciding(key, before[key]), deciding(key, now[key])) {
			return other{fmt.Errorf("%s holds results of another run (%s was %v, is %v)", j.dir, key, before[key], now[key])}
		}
	}
	return nil
}
