package run

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"f2pad/engine"
	"f2pad/engine/dataset"
)

// scoring is one Run at work.
type scoring struct {
	tell    *listener
	out     outputs
	journal *journal
	sum     Summary
	total   int // inputs to score; 0: not known
	done    int

	mu    sync.Mutex
	turns []turn // inputs that have been read, until their line is written
	any   bool   // there was an input
	found int    // inputs with a line of an earlier run
	err   error  // ended the reading of inputs
}

// turn is an input on its way: its line is written when those before it are.
type turn struct {
	item dataset.Item
	// err is why it is no image. Such inputs go through the engine, which fails on them: so their lines keep their place.
	err  error
	kept *kept // its line of an earlier run; nil: it is being scored
}

// todo returns the inputs that are left to be scored. The others get their turn where they stand between them.
func (s *scoring) todo(next func() (input, bool)) iter.Seq[dataset.Item] {
	return func(yield func(dataset.Item) bool) {
		began := false
		for in, more := next(); more; in, more = next() {
			t := turn{item: in.item, err: in.err}
			k, ok, err := s.journal.keep(in.item)
			if ok {
				t.kept = &k
			}
			s.mu.Lock()
			if ok {
				s.found++
			} else if !began && err == nil {
				began = true
				err = s.tell.event(Progress{Total: max(0, s.total-s.found)})
			}
			s.any = true
			if s.err = err; err == nil {
				s.turns = append(s.turns, t)
			}
			s.mu.Unlock()
			if err != nil || !ok && !yield(in.item) {
				return
			}
		}
	}
}

// pass gives those their turn whose lines were kept, up to the next input that was scored, and returns that; none where all
// have had theirs.
func (s *scoring) pass() (turn, bool, error) {
	for {
		s.mu.Lock()
		if len(s.turns) == 0 {
			s.mu.Unlock()
			return turn{}, false, nil
		}
		t := s.turns[0]
		s.turns = s.turns[1:]
		s.mu.Unlock()
		if t.kept == nil {
			return t, true, nil
		}
		if err := s.journal.copy(*t.kept); err != nil {
			return turn{}, false, err
		}
		s.sum.Kept++
		s.count(t.kept.anomalous)
		if err := s.tell.event(Kept{t.item.Path, t.kept.anomalous}); err != nil {
			return turn{}, false, err
		}
	}
}

// end gives the last inputs their turn.
func (s *scoring) end() error {
	if _, _, err := s.pass(); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	if !s.any {
		return ErrNoInputs
	}
	return nil
}

func (s *scoring) count(anomalous bool) {
	s.sum.Images++
	if anomalous {
		s.sum.Anomalous++
	}
}

// emit writes what was found in an image: its outputs first, then its line, so that a line stands for finished work.
// An output whose name is the image's fault is that image's failure; any other error ends the run.
func (s *scoring) emit(r *engine.Result) error {
	t, ok, err := s.pass()
	if err != nil {
		return err
	}
	if !ok || t.item.Path != r.Item.Path {
		return fmt.Errorf("%s: its result came out of turn, which is a bug in f2pad", r.Item.Path)
	}
	if t.err != nil {
		r.Err = t.err
	}
	if r.Err == nil && r.File.SHA256 == "" {
		return errors.New("run: the engine takes no fingerprints")
	}
	var line Line
	if r.Err == nil {
		line, r.Err = s.out.write(r)
		if r.Err != nil && !isNameFault(r.Err) {
			return r.Err
		}
	}
	if r.Err != nil {
		if err := s.journal.add(unscored{nameOf(r.Item.Path), r.Err.Error()}); err != nil {
			return err
		}
		s.sum.Failed++
		err = s.tell.event(Failed{r.Item.Path, r.Err})
	} else {
		if err := s.journal.add(line); err != nil {
			return err
		}
		err = s.tell.event(Scored{line})
	}
	if err != nil {
		return err
	}
	s.count(r.Err == nil && r.Anomalous)
	s.done++
	s.mu.Lock()
	left := s.total - s.found
	s.mu.Unlock()
	if s.total > 0 {
		left = max(left, s.done) // there may be more than there were
	}
	return s.tell.event(Progress{Done: s.done, Total: max(0, left)})
}
