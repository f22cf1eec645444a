package run

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/run/lock"
)

// Results are what a run has written, to be read: its folder is locked until they are closed, so that no run goes on in it.
type Results struct {
	Dir      string
	Info     Info
	Finished bool // otherwise they are those so far
	Lines    int  // how many there are

	from *results
}

// Outcome is a line of the results: that of an image that was scored, or, with an Error, the name of one that could not be.
type Outcome struct {
	Line
	Error string `json:"error"`
}

// ErrUnfinished means that a run has not been finished.
var ErrUnfinished = errors.New("the run is not finished")

// ErrBrokenLine means that what is there is no line of results.
var ErrBrokenLine = errors.New("broken line")

// OpenResults opens the results in the folder dir: those of a run of any version that is finished, or with unfinished also the lines that one
// has written so far. A folder without results is an error that says so, a run that is not finished ErrUnfinished, and one at
// work lock.ErrHeld.
func OpenResults(dir string, unfinished bool) (*Results, error) {
	from, err := openResults(dir, false)
	if err != nil {
		return nil, err
	}
	r := &Results{Dir: dir, Info: from.Info, Finished: from.file != nil, from: from}
	switch {
	case r.Finished:
	case !unfinished:
		err = fmt.Errorf("%s: %w", dir, ErrUnfinished)
	default:
		if from.file, err = os.Open(filepath.Join(dir, PartFile)); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: no line has been written yet", dir)
		}
	}
	if err == nil {
		r.Lines, err = from.count()
	}
	if err != nil {
		from.close()
		return nil, artifact.Worded(err)
	}
	return r, nil
}

// Close gives the folder free.
func (r *Results) Close() error { return r.from.close() }

// All reads the lines in the order of the inputs. One that is broken is an error that names it, ErrBrokenLine, and the next ones follow; at the
// end of a run that is not finished, one that is not whole is none.
func (r *Results) All() iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		from := r.from
		from.rewind()
		for {
			var o Outcome
			l, err := from.next()
			if err == nil {
				if err = json.Unmarshal(l.raw, &o); err != nil {
					err = fmt.Errorf("%w: %w", ErrBrokenLine, err)
				}
			} else if err != ErrBrokenLine {
				if err != io.EOF {
					yield(o, artifact.Worded(err))
				}
				return
			} else if !r.Finished && from.read > r.Lines {
				return
			}
			if err != nil {
				o, err = Outcome{}, fmt.Errorf("%s: line %d: %w", from.file.Name(), from.read, err)
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// Owns reports whether a path is that of one of the run's own files, or in a folder of its outputs, by whatever name.
func (r *Results) Owns(path string) (bool, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	own := []string{RunFile, ResultsFile, PartFile, OldFile, LockFile}
	for _, f := range outputFiles {
		own = append(own, f.folder)
	}
	for dir := filepath.Dir(path); ; path, dir = dir, filepath.Dir(dir) {
		if same(dir, r.Dir) && slices.Contains(own, filepath.Base(path)) {
			return true, nil
		}
		if dir == filepath.Dir(dir) {
			return false, nil
		}
	}
}

// results is a folder of results that is being read.
type results struct {
	dir string
	manifest
	raw   map[string]any // the manifest
	held  *lock.Lock     // where the folder can be written to
	file  *os.File       // ResultsFile; nil if the run is not finished
	lines *bufio.Reader
	read  int // lines
}

// openResults opens and locks the results in a folder. In strict reading, run.json says nothing that is not known.
func openResults(dir string, strict bool) (_ *results, err error) {
	r := &results{dir: dir}
	if _, err := os.Stat(filepath.Join(dir, RunFile)); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s: holds no results of score (there is no %s)", dir, RunFile)
	}
	if r.held, err = lock.Take(filepath.Join(dir, LockFile)); errors.Is(err, lock.ErrHeld) {
		return nil, fmt.Errorf("%s: %w", dir, err)
	} // one that cannot be written to is not being written to
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	data, err := os.ReadFile(filepath.Join(dir, RunFile))
	if err != nil {
		return nil, artifact.Worded(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := errors.Join(dec.Decode(&r.manifest), json.Unmarshal(data, &r.raw)); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, RunFile), err)
	}
	if r.file, err = os.Open(filepath.Join(dir, ResultsFile)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return r, artifact.Worded(err)
}

func (r *results) close() error { return errors.Join(closeAll(&r.file), r.held.Release()) }

// rewind begins with the first line.
func (r *results) rewind() {
	r.lines, r.read = bufio.NewReaderSize(io.NewSectionReader(r.file, 0, 1<<62), 1<<16), 0
}

// next reads a line; io.EOF is the end, ErrBrokenLine what is none.
func (r *results) next() (finished, error) {
	line, err := r.lines.ReadBytes('\n')
	if len(line) == 0 || err != nil && err != io.EOF {
		return finished{}, err
	}
	r.read++
	l, ok := parseLine(line)
	if !ok || l.Claim {
		return finished{}, ErrBrokenLine
	}
	return l, nil
}

// count counts the lines that are whole.
func (r *results) count() (n int, err error) {
	from, buf := io.NewSectionReader(r.file, 0, 1<<62), make([]byte, 1<<16)
	for {
		k, err := from.Read(buf)
		n += bytes.Count(buf[:k], []byte{'\n'})
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
