package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/internal/fnv"
	"f2pad.example/engine/run/lock"
)

// place is where the line of an earlier run begins, and what is known of it: eight bytes, since there may be millions.
type place int64

const (
	inOld     place = 1 << iota // it is in OldFile; otherwise where the earlier run's results are
	used                        // the present run has come to it
	noResult                    // a claim: what stood at these outputs is not to be trusted
	placeBits = iota
)

func placeOf(at int64, old bool) place {
	p := place(at << placeBits)
	if old {
		p |= inOld
	}
	return p
}

func (p place) at() int64 { return int64(p >> placeBits) }

// is reports whether one of these is said of the line.
func (p place) is(what place) bool { return p&what != 0 }

// journal holds a run's results, one line for each input, in the order of the inputs. They gather in PartFile, which is
// renamed to ResultsFile when all are there. A run that was ended, in whatever way, is continued: lines are kept that were
// made of the same content as the inputs have now and whose outputs are there. They stay where they are as long as they
// are those of the first inputs; the first input without such a line moves all that follow to OldFile, from where they
// are copied back when their turn comes. As long as the inputs are those of the lines, one after the other, nothing is remembered of
// either (rest.go); otherwise of each line that is left, and of those in OldFile, some 30 bytes.
//
// It is safe for one goroutine that finds lines (keep), one that adds them (copy, add), and any number that write outputs (claim): a
// claim stands before any file is touched that an older line may name, and a line is added when its files stand, so in whatever order
// images in hand are written, no line is ever there that is not true.
type journal struct {
	dir  string
	made bool // dir was made for this run
	held *lock.Lock
	run  Info
	warn func(string)

	mu    sync.Mutex
	main  *os.File // the lines of the run before; nil if there are none
	name  string   // of that file: PartFile, or ResultsFile if that run was complete
	at    int64    // end of the lines that are kept where they are
	good  int64    // end of the whole lines
	size  int64
	old   *os.File         // nil: none is needed
	oldAt int64            // its end
	part  *os.File         // where lines go; nil while they are kept where they are
	rest  *rest            // lines that the inputs come to in their order; nil: all are known
	known map[uint64]place // by their slots, lines of OldFile, and those that the inputs did not come to in order or that do not hold for them

	found    files  // as they were before anything was done to them
	named    listed // inputs of the present run that have no result, or are another shard's, as far as lines of earlier runs are left
	partial  bool   // some inputs failed or could not be listed: what is known of them stays known
	changing bool   // inputs come and go: one that is there again was not when they were listed
	complete bool
	closed   bool // by a run that ended while its inputs were still read
	synced   time.Time
}

// openJournal starts or continues the run in the folder dir and, unless its caller has done so, locks it. With force, the results of earlier runs are
// thrown away. warn is told what had to be mended.
func openJournal(dir string, run Info, force, locked bool, warn func(string)) (_ *journal, err error) {
	j := &journal{
		dir: dir, run: run, warn: warn, name: PartFile, known: map[uint64]place{}, named: newListed(),
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		j.made = true
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, artifact.Worded(err)
	}
	if !locked {
		if j.held, err = takeLock(dir); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	j.found = filesIn(dir)
	if force {
		for _, name := range []string{ResultsFile, PartFile, OldFile, RunFile} {
			if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, artifact.Worded(err)
			}
		}
	}
	if _, err := os.Stat(j.path(ResultsFile)); err == nil {
		j.name = ResultsFile
	}
	if j.main, err = reopen(j.path(j.name)); err != nil {
		return nil, artifact.Worded(err)
	}
	if j.old, err = reopen(j.path(OldFile)); err != nil {
		return nil, artifact.Worded(err)
	}
	if j.main == nil && j.old == nil {
		return j, nil
	}
	if err := j.checkRun(run); err != nil {
		return nil, err
	}
	return j, j.scan()
}

// takeLock makes the folder a run's own.
func takeLock(dir string) (*lock.Lock, error) {
	held, err := lock.Take(filepath.Join(dir, LockFile))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, artifact.Worded(err))
	}
	return held, nil
}

// reopen opens a file that may not be there.
func reopen(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// slot is where a line is known: that of its outputs, which are those of one line at a time, or of its image if it has none. The same image
// may be scored twice, into two outputs. Lines found by a hash are compared with what was looked for.
func slot(image, stem string) uint64 {
	if stem == "" {
		return fnv.Of("\x00" + image) // no output's name
	}
	return fnv.Of(strings.ToLower(stem))
}

func (j *journal) path(name string) string { return filepath.Join(j.dir, filepath.FromSlash(name)) }

// close leaves the run as it is, to be continued, and gives the folder free. A folder that was made for a run that wrote
// nothing is removed.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	wrote := j.part != nil || j.complete
	j.closed = true
	err := errors.Join(closeAll(&j.main, &j.old, &j.part), j.held.Release())
	j.held = nil
	if j.made && !wrote {
		os.Remove(j.dir)
	}
	return err
}

// closeAll closes files that are open.
func closeAll(files ...**os.File) error {
	var errs []error
	for _, f := range files {
		if *f != nil {
			errs = append(errs, (*f).Close())
			*f = nil
		}
	}
	return errors.Join(errs...)
}
