package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"f2pad.example/engine/artifact"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/internal/fnv"
)

// Watching says which inputs are watched, and how.
type Watching struct {
	Args   []string       // as dataset.Search.Inputs takes them, without a list
	Search dataset.Search // how they are found; Out, Ready, Empty and Entered are set by Watch
	// Rescan is after what time inputs are looked at without word of a change, and what failed is tried again; default 30 s.
	Rescan time.Duration
	// Settle is how long a file must have stayed as it is to count as complete; default 1 s.
	Settle time.Duration
	// Passed, if not nil, is told what came of each pass: the results are those of the inputs as they were then.
	Passed func(Summary) error
}

const (
	defaultRescan = 30 * time.Second
	defaultSettle = time.Second
)

// Watch runs Run again and again, as inputs come, go and change, until ctx ends. After each pass the results are complete: what a
// run of the inputs of that moment gives, in their order. Files that are still being written wait for a later pass. What is there again
// and again is told once: failures with the same reason, warnings. The error is ctx's if it ended a pass, and nil if all was done when
// it ended. The summary is of the last pass; Kept counts what was kept of runs before Watch.
func Watch(ctx context.Context, e Engine, o Options, w Watching) (Summary, error) {
	if slices.Contains(w.Args, list) {
		return Summary{}, errors.New("run: a list is not watched")
	}
	if w.Rescan == 0 {
		w.Rescan = defaultRescan
	}
	if w.Settle == 0 {
		w.Settle = defaultSettle
	}
	w.Search.Out, w.Search.Empty, w.Search.Done = o.Dir, true, ctx.Done()
	_, err := os.Stat(o.Dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(o.Dir, 0o777); err != nil {
		return Summary{}, artifact.Worded(err)
	}
	held, err := takeLock(o.Dir)
	if err != nil {
		return Summary{}, err
	}
	defer func() {
		held.Release()
		if made {
			os.Remove(o.Dir) // which fails if anything was written
		}
	}()
	wt := &watch{Watching: w, engine: e, told: &retold{tell: o.Tell, failed: map[uint64]uint64{}, said: map[uint64]bool{}, scored: map[uint64]bool{}}}
	o.Tell, o.locked = wt.told.event, true
	wt.options = o
	wt.heard, err = listen()
	if err != nil {
		wt.told.warn(fmt.Sprintf("changes are only noticed every %v: %v", w.Rescan, err))
	}
	defer wt.heard.close()
	return wt.run(ctx)
}

// watch is one Watch at work.
type watch struct {
	Watching
	engine  Engine
	options Options
	told    *retold
	heard   *notifier

	unsettled map[string]sighting // files that may still be written, as they were when they were looked at last
	sum       Summary
	passed    bool   // there was a pass
	before    uint64 // what was seen before it
}

// sighting is how a file was found.
type sighting struct {
	size     int64
	modified time.Time
	since    time.Time // that it is so
}

// view is what was seen at a look.
type view struct {
	all     uint64 // a hash of the files that are complete, with their sizes and times
	ready   int    // how many these are
	waiting bool   // there are others
	err     error  // an input is not there
}

func (w *watch) run(ctx context.Context) (Summary, error) {
	rescan := time.NewTicker(w.Rescan)
	defer rescan.Stop()
	retry := false // what failed
	for {
		v, news := w.look()
		if v.err != nil && !w.passed {
			return w.sum, v.err
		}
		if v.err != nil {
			w.told.warn(fmt.Sprintf("%v: nothing is scored until it is back", v.err))
		} else if v.ready > 0 && (!w.passed || v.all != w.before || retry && w.sum.Failed > 0) && ctx.Err() == nil {
			switch err := w.pass(ctx); {
			case errors.Is(err, errGone): // since
				v.waiting = true
			case err != nil:
				return w.sum, err
			default:
				w.passed, w.before = true, v.all
			}
		}
		retry = false
		var soon <-chan time.Time
		if v.waiting || news {
			soon = time.After(w.Settle)
		}
		for waited := false; !waited; {
			select {
			case <-ctx.Done():
				return w.sum, nil
			case <-w.heard.changes():
				if soon == nil {
					soon = time.After(w.Settle) // before, what has changed is not complete
				}
			case <-soon:
				waited = true
			case <-rescan.C:
				retry, waited = true, true
			}
		}
	}
}

// look goes through the inputs without opening them. It reports news if there are folders that nothing was heard of until now.
func (w *watch) look() (v view, news bool) {
	now := time.Now()
	unsettled := map[string]sighting{}
	var dirs []string
	where := w.Search
	where.Left, where.Ignored, where.Took = nil, nil, nil
	where.Entered = func(dir string) { dirs = append(dirs, dir) }
	where.Ready = func(path string, info fs.FileInfo) bool {
		if !w.settled(path, info, now) {
			s := sighting{info.Size(), info.ModTime(), now}
			if before, ok := w.unsettled[path]; ok && before.size == s.size && before.modified.Equal(s.modified) {
				s.since = before.since
			}
			unsettled[path] = s
			v.waiting = true
		} else {
			v.ready++
			v.all = fnv.Of(fmt.Sprintf("%x %q %d %d %s", v.all, path, info.Size(), info.ModTime().UnixNano(), dataset.TagOf(info)))
		}
		return false
	}
	for it, err := range where.Inputs(w.Args, nil) {
		switch {
		case err == nil: // nothing can be said of it, as of a link that leads nowhere
			v.ready++
			v.all = fnv.Of(fmt.Sprintf("%x %q", v.all, it.Path))
		case errors.Is(err, dataset.ErrNamed) && v.err == nil:
			v.err = err
		case err != nil && !errors.Is(err, dataset.ErrNotReady):
			v.all = fnv.Of(fmt.Sprintf("%x %v", v.all, err))
		}
	}
	w.unsettled = unsettled
	for _, arg := range w.Args {
		if !dataset.IsURL(arg) {
			dirs = append(dirs, above(arg))
		}
	}
	news, err := w.heard.set(dirs)
	if err != nil {
		w.told.warn(fmt.Sprintf("some changes are only noticed every %v: %v", w.Rescan, err))
	}
	return v, news
}

// above is the folder that a file or the matches of a pattern are in, or may come to be in.
func above(arg string) string {
	for strings.ContainsAny(arg, "*?[") && filepath.Dir(arg) != arg {
		if _, err := os.Lstat(arg); err == nil {
			break
		}
		arg = filepath.Dir(arg)
	}
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		return arg
	}
	return filepath.Dir(arg)
}

// settled reports whether a file is complete: it has not changed for a while, by its time or, where that is of another clock, by what
// was seen of it. Objects are always.
func (w *watch) settled(path string, info fs.FileInfo, now time.Time) bool {
	if dataset.IsURL(path) || now.Sub(info.ModTime()) >= w.Settle {
		return true
	}
	s, ok := w.unsettled[path]
	return ok && s.size == info.Size() && s.modified.Equal(info.ModTime()) && now.Sub(s.since) >= w.Settle
}

var errGone = errors.New("an input is gone")

// pass scores the inputs as they are now, errGone if one that was named is not there.
func (w *watch) pass(ctx context.Context) error {
	where, seen := w.Search, *w // which later looks leave as it is: the inputs may still be read then
	now := time.Now()           // before they are looked at: what is written to since is not complete
	where.Ready = func(path string, info fs.FileInfo) bool { return seen.settled(path, info, now) }
	if left := w.Search.Left; left != nil {
		where.Left = func(why string) { w.told.once("left "+why, func() { left(why) }) }
	}
	if ignored := w.Search.Ignored; ignored != nil {
		where.Ignored = func(path string) { w.told.once("ignored "+path, func() { ignored(path) }) }
	}
	if took := w.Search.Took; took != nil {
		where.Took = func(c dataset.Column) { w.told.once(fmt.Sprintf("took %+v", c), func() { took(c) }) }
	}
	survey, err := Look(where, w.Args, nil)
	switch {
	case err != nil && !w.passed:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return errGone
	case err != nil || w.passed: // such as an archive without images, which is an input that fails
		survey.known = false
	}
	survey.changing = true
	o := w.options
	o.Force = o.Force && !w.passed
	w.told.begin()
	sum, err := Run(ctx, w.engine, o, Inputs{Items: where.Inputs(w.Args, nil), Survey: survey})
	sum.Kept = w.told.kept
	if errors.Is(err, ErrNoInputs) { // they are gone since
		return nil
	}
	w.sum = sum
	if err == nil && w.Passed != nil {
		err = w.Passed(sum)
	}
	return err
}

// retold tells what passes tell, but for what they repeat. What there may be much of is kept as hashes.
type retold struct {
	tell   func(Event) error // may be nil
	scored map[uint64]bool   // images
	kept   int               // in this pass, of those that were not scored since the watch began

	failed map[uint64]uint64 // reasons of failures that were told, by image

	mu   sync.Mutex
	said map[uint64]bool // what is said once: inputs may still be read when a pass has ended
}

// begin begins a pass.
func (r *retold) begin() { r.kept = 0 }

func (r *retold) event(e Event) error {
	switch e := e.(type) {
	case Scored:
		r.scored[fnv.Of(e.Path())] = true
		delete(r.failed, fnv.Of(e.Path()))
	case Kept:
		if !r.scored[fnv.Of(e.Path)] {
			r.kept++
		}
	case Failed:
		image, reason := fnv.Of(e.Path), fnv.Of(e.Err.Error())
		if told, ok := r.failed[image]; ok && told == reason {
			return nil
		}
		r.failed[image] = reason
	}
	if r.tell == nil {
		return nil
	}
	return r.tell(e)
}

// once says what has not been said before.
func (r *retold) once(text string, say func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.said[fnv.Of(text)] {
		r.said[fnv.Of(text)] = true
		say()
	}
}

func (r *retold) warn(text string) {
	if r.tell != nil {
		r.once("warning "+text, func() { _ = r.tell(Warning{text}) })
	}
}
