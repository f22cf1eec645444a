package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"f2pad/engine/artifact"
	"f2pad/engine/device"
	"f2pad/engine/exec"
)

// The files of a run in its folder.
const (
	runFile     = "run.json"           // what was asked for
	resultsFile = "results.jsonl"      // the results, once they are complete
	partFile    = "results.jsonl.part" // the results so far
)

// runInfo is what decides a run's results beside its inputs. A run is only ever continued with the same.
type runInfo struct {
	Version  string      `json:"version"`
	Model    string      `json:"model_sha256"`
	Refine   string      `json:"refine"`
	Maps     bool        `json:"maps"`
	Masks    bool        `json:"masks"`
	Overlays bool        `json:"overlays"`
	Executor exec.Info   `json:"executor"`
	Device   device.Info `json:"device"` // that the run began with
}

// scored is the line of an image that was scored. Paths of outputs are relative to the run's folder.
type scored struct {
	Image          string   `json:"image"`
	ImageScore     float64  `json:"image_score"`
	Threshold      float64  `json:"threshold"`
	Anomalous      bool     `json:"anomalous"`
	Refined        bool     `json:"refined"`
	Device         string   `json:"device"`
	PixelThreshold *float64 `json:"pixel_threshold"`
	Map            *string  `json:"map"`
	Mask           *string  `json:"mask"`
	Overlay        *string  `json:"overlay"`
	Seconds        float64  `json:"seconds"`
}

// unscored is the line of an image that could not be scored.
type unscored struct {
	Image string `json:"image"`
	Error string `json:"error"`
}

// finished is what a run that is continued has to know of a line.
type finished struct {
	Image     string `json:"image"`
	Error     string `json:"error"`
	Anomalous bool   `json:"anomalous"`
	Map       string `json:"map"`
	Mask      string `json:"mask"`
	Overlay   string `json:"overlay"`
}

// journal holds a run's results, one line for each input, in the order of the inputs. They gather in partFile, which is
// renamed to resultsFile when all are there. A run that was ended, in whatever way, is continued: lines whose outputs
// are there are kept as long as they match the inputs, and what a dying process left half-written is cut off.
type journal struct {
	dir    string
	read   *os.File      // the lines of the run before; nil when they have been gone through
	lines  *bufio.Reader // over read
	name   string        // of the file that holds them: partFile, or resultsFile if that run was complete
	end    int64         // of the lines kept
	kept   int
	part   *os.File // where new lines go; nil while lines are kept
	synced time.Time
}

// openJournal starts or continues the run in the folder dir. With force, the results of earlier runs are thrown away.
func openJournal(dir string, run runInfo, force bool) (*journal, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	j := &journal{dir: dir, name: partFile}
	if force {
		for _, name := range []string{resultsFile, partFile, runFile} {
			if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
		}
	}
	if _, err := os.Stat(j.path(resultsFile)); err == nil {
		j.name = resultsFile
	}
	f, err := os.Open(j.path(j.name))
	if errors.Is(err, os.ErrNotExist) {
		return j, j.writeRun(run)
	}
	if err != nil {
		return nil, err
	}
	if err := j.checkRun(run); err != nil {
		f.Close()
		return nil, err
	}
	j.read, j.lines = f, bufio.NewReader(f)
	return j, nil
}

func (j *journal) path(name string) string { return filepath.Join(j.dir, name) }

func (j *journal) writeRun(run runInfo) error {
	return artifact.WriteFileAtomic(j.path(runFile), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(run)
	})
}

// otherwise ends the message of an error that keeps a run from being continued.
const otherwise = "choose another --out, or --force to throw its results away"

// checkRun refuses to continue a run that asked for something else.
func (j *journal) checkRun(run runInfo) error {
	data, err := os.ReadFile(j.path(runFile))
	if err != nil {
		return fmt.Errorf("%s holds results of an unknown run (%w): %s", j.dir, err, otherwise)
	}
	var before, now map[string]any
	if err := json.Unmarshal(data, &before); err != nil {
		return fmt.Errorf("%s: %w: %s", j.path(runFile), err, otherwise)
	}
	if data, err = json.Marshal(run); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &now); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if !reflect.DeepEqual(before[key], now[key]) {
			return fmt.Errorf("%s holds results of another run (%s was %v, is %v): %s", j.dir, key, before[key], now[key], otherwise)
		}
	}
	return nil
}

// keep returns the line of the run before for the next input, if there is one that can be kept. After the first false,
// lines are added.
func (j *journal) keep(image string) (finished, bool, error) {
	var l finished
	if j.part != nil {
		return l, false, nil
	}
	n, ok, err := j.next(&l)
	if err != nil {
		return l, false, err
	}
	if ok && l.Image != asJSON(image) {
		return l, false, fmt.Errorf("%s holds results of other inputs (number %d was %s, is %s): %s",
			j.dir, j.kept+1, l.Image, image, otherwise)
	}
	if !ok || !j.written(l) {
		return l, false, j.startAdding()
	}
	j.end += int64(n)
	j.kept++
	return l, true, nil
}

// next reads a line and says how many bytes it has. What is not a whole line is what a dying process left.
func (j *journal) next(l *finished) (int, bool, error) {
	if j.read == nil {
		return 0, false, nil
	}
	line, err := j.lines.ReadBytes('\n')
	if err == io.EOF {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return len(line), json.Unmarshal(line, l) == nil && l.Image != "", nil
}

// written reports whether the outputs that a line names are there.
func (j *journal) written(l finished) bool {
	for _, name := range []string{l.Map, l.Mask, l.Overlay} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(j.path(name)); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// startAdding opens partFile behind the lines that are kept.
func (j *journal) startAdding() error {
	if j.read != nil {
		j.read.Close()
		j.read = nil
	}
	if j.name == resultsFile { // it is not complete for these inputs
		if err := os.Rename(j.path(resultsFile), j.path(partFile)); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.path(partFile), os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	if err := f.Truncate(j.end); err != nil {
		f.Close()
		return err
	}
	if _, err := f.Seek(j.end, io.SeekStart); err != nil {
		f.Close()
		return err
	}
	j.part, j.synced = f, time.Now()
	return nil
}

// syncEvery is how much work may be lost when the machine, not only the process, dies.
const syncEvery = time.Second

// add writes the next input's line (scored or unscored). It is safe from the death of the process at once.
func (j *journal) add(line any) error {
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if _, err := j.part.Write(append(data, '\n')); err != nil {
		return err
	}
	if time.Since(j.synced) < syncEvery {
		return nil
	}
	j.synced = time.Now()
	return j.part.Sync()
}

// finish says that the inputs are at their end: the results are complete.
func (j *journal) finish() error {
	if j.part == nil {
		var l finished
		if _, more, err := j.next(&l); err != nil {
			return err
		} else if more {
			return fmt.Errorf("%s holds results of more inputs (number %d is %s): %s", j.dir, j.kept+1, l.Image, otherwise)
		}
		if j.name == resultsFile {
			return nil
		}
		if err := j.startAdding(); err != nil {
			return err
		}
	}
	if err := j.part.Sync(); err != nil {
		return err
	}
	if err := j.close(); err != nil {
		return err
	}
	return os.Rename(j.path(partFile), j.path(resultsFile))
}

// close leaves the run as it is, to be continued.
func (j *journal) close() error {
	var errs []error
	if j.read != nil {
		errs = append(errs, j.read.Close())
		j.read = nil
	}
	if j.part != nil {
		errs = append(errs, j.part.Close())
		j.part = nil
	}
	return errors.Join(errs...)
}

// asJSON returns s as it reads after it was written to JSON: bytes that are not UTF-8 are replaced.
func asJSON(s string) string { return string(bytes.Runes([]byte(s))) }
