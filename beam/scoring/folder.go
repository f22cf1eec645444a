package scoring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/run"
)

// The files of a folder of results beside the shards. What begins with _ or . is no data for those who read such folders.
const (
	runFile     = "_run.json" // what was asked for
	successFile = "_SUCCESS"  // what came of it, once all shards are written
	LockFile    = run.LockFile
)

// asked is what runFile holds.
type asked struct {
	run.Info
	Shards int `json:"shards"`
}

func (j *Job) path(name string) string { return filepath.Join(j.Out, name) }

func (j *Job) shardPath(i int64) string {
	return j.path(fmt.Sprintf("results-%05d-of-%05d.parquet", i, j.Shards))
}

func (j *Job) shards() ([]string, error) { return filepath.Glob(j.path("results-*.parquet")) }

// prepareFolder makes the folder ready for the job's results.
func (j *Job) prepareFolder(force bool) error {
	if err := artifact.WritableFolder(j.Out); err != nil {
		return err
	}
	there, err := j.shards()
	if err != nil {
		return err
	}
	if !force {
		if err := j.checkFolder(len(there) > 0); err != nil {
			return err
		}
	} else {
		for _, path := range there {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(j.path(successFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeJSON(j.path(runFile), asked{j.Info, j.Shards})
}

// checkFolder refuses the results of another job. Those of the same are replaced, shard by shard.
func (j *Job) checkFolder(results bool) error {
	data, err := os.ReadFile(j.path(runFile))
	if errors.Is(err, fs.ErrNotExist) && !results {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s holds %w (%w)", j.Out, run.ErrOther, err)
	}
	now, err := json.Marshal(asked{j.Info, j.Shards})
	if err != nil {
		return err
	}
	var before, after map[string]any
	if err := errors.Join(json.Unmarshal(data, &before), json.Unmarshal(now, &after)); err != nil {
		return fmt.Errorf("%s: %w", j.path(runFile), err)
	}
	for key, value := range after {
		if !reflect.DeepEqual(before[key], value) {
			return fmt.Errorf("%s holds %w (%s was %v, is %v)", j.Out, run.ErrOther, key, before[key], value)
		}
	}
	return nil
}

func (j *Job) writeSummary(t Tally) error { return writeJSON(j.path(successFile), t) }

// Summary is what came of the job, once it is done.
func (j *Job) Summary() (t Tally, _ error) {
	data, err := os.ReadFile(j.path(successFile))
	if err != nil {
		return t, artifact.Worded(err)
	}
	return t, json.Unmarshal(data, &t)
}

func writeJSON(path string, v any) error {
	return artifact.WriteFileAtomic(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}
