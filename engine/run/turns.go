package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/internal/par"
)

// scoring is one Run at work. Three parts of it go on beside each other: the engine takes inputs from todo and gives results to
// emit; their files are written by goroutines of their own (writing.go); and commit writes the lines, each when all
// before it stand.
type scoring struct {
	tell    *listener
	out     outputs
	journal *journal
	sum     Summary // of commit, while that runs
	total   int     // inputs to score; 0: not known
	done    int

	mu      sync.Mutex
	changed sync.Cond      // there is a turn more, one is ready, or one is free
	turns   []*turn        // inputs that have been read, until their line is written
	scored  []*turn        // those of them that the engine has not given back
	most    budget         // that may be in work; what is 0 is set by score
	inWork  budget         // what is
	writers sync.WaitGroup // the goroutines that write them
	ended   bool           // there will be no more results
	any     bool           // there was an input
	found   int            // inputs with a line of an earlier run
	inputs  summer         // of all shards
	err     error          // ended the reading of inputs
	failure error          // ended the run
	panic   *par.Panic     // of a goroutine of the run
	cancel  context.CancelFunc
}

// turn is an input on its way: its line is written when those before it are.
type turn struct {
	path string
	// err is why it is no image. Such inputs go through the engine, which fails on them: so their lines keep their place.
	err  error
	kept *kept // its line of an earlier run; nil: it is being scored
	work *work // what the engine found; nil: nothing yet
}

// score scores what is left of the inputs, and returns when all that was begun is written.
func (s *scoring) score(ctx context.Context, e Engine, inputs iter.Seq2[dataset.Item, error]) (err error) {
	s.changed.L = &s.mu
	s.sum.Devices = map[string]int{}
	if s.most.images == 0 {
		s.most.images = writersPerCore * runtime.GOMAXPROCS(0)
	}
	if s.most.bytes == 0 {
		s.most.bytes = mostWaiting
	}
	ctx, s.cancel = context.WithCancel(ctx) // so that inputs are no longer read when the run has ended
	defer s.cancel()
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		s.guard(s.commit)
	}()
	defer func() { // also when the engine panics
		s.mu.Lock()
		s.ended = true
		s.changed.Broadcast()
		s.mu.Unlock()
		<-committed
		s.writers.Wait()
		s.mu.Lock() // what reads the inputs may still be at it
		defer s.mu.Unlock()
		switch {
		case s.panic != nil:
			panic(s.panic)
		case s.failure != nil: // before what the engine says of the end that it brought
			err = s.failure
		case err == nil && s.err != nil:
			err = s.err
		case err == nil && !s.any:
			err = ErrNoInputs
		}
	}()
	return e.Score(ctx, s.todo(feed(ctx, inputs)), s.emit)
}

// guard runs a goroutine's work. What it ends in, error or panic, ends the run.
func (s *scoring) guard(do func() error) {
	defer func() {
		if p := recover(); p != nil {
			s.fail(fmt.Errorf("run: %v", p), par.Caught(p))
		}
	}()
	if err := do(); err != nil {
		s.fail(err, nil)
	}
}

// fail ends the run. The first to do so is heard.
func (s *scoring) fail(err error, p *par.Panic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure, s.panic = err, p
	}
	s.cancel()
	s.changed.Broadcast()
}

// todo returns the inputs that are left to be scored. The others get their turn where they stand between them.
func (s *scoring) todo(next func() (input, bool)) iter.Seq[dataset.Item] {
	return func(yield func(dataset.Item) bool) {
		began := false
		for in, more := next(); more; in, more = next() {
			if in.err != nil {
				in.item = dataset.Item{Path: in.item.Path} // it has no outputs
			}
			if s.elsewhere(in) {
				continue
			}
			if errors.Is(in.err, dataset.ErrNotReady) {
				if err := s.journal.leave(in.item); err != nil {
					s.fail(err, nil)
					return
				}
				continue
			}
			k, ok, err := s.journal.keep(in.item)
			if err == nil && !ok && !began {
				began = true
				err = s.tell.event(Progress{Total: s.left(0)})
			}
			s.mu.Lock()
			s.any = true
			if s.err = err; err == nil {
				t := &turn{path: in.item.Path, err: in.err}
				if ok {
					t.kept = &k
					s.found++
				} else {
					s.scored = append(s.scored, t)
				}
				s.turns = append(s.turns, t)
				s.changed.Broadcast()
			}
			s.mu.Unlock()
			if err != nil || ok {
				in.item.Release()
			}
			if err != nil || !ok && !yield(in.item) {
				return
			}
		}
	}
}

// elsewhere counts an input, and reports whether it is another shard's.
func (s *scoring) elsewhere(in input) bool {
	shard := s.sum.Shard
	if shard == nil {
		return false
	}
	s.mu.Lock()
	here := shard.has(s.inputs.count)
	s.inputs.add(in.item.Path)
	s.any = true
	s.mu.Unlock()
	if here {
		return false
	}
	s.journal.pass(in.item, in.err != nil)
	in.item.Release()
	return true
}

// left is how many inputs there are to be scored when so many have been, 0 if that is not known.
func (s *scoring) left(done int) int {
	if s.total == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, done, s.total-s.found) // there may be more than there were
}

// emit takes what the engine found in the next input, and has it written.
func (s *scoring) emit(r *engine.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.scored) == 0 || s.scored[0].path != r.Item.Path {
		return fmt.Errorf("%s: its result came out of turn, which is a bug in f2pad", r.Item.Path)
	}
	t := s.scored[0]
	s.scored[0] = nil
	s.scored = s.scored[1:]
	r.Item.Release() // an engine need not do so
	if t.err != nil {
		r.Err = t.err
	}
	if r.Err == nil && r.File.SHA256 == "" {
		return errors.New("run: the engine takes no fingerprints")
	}
	return s.write(t, r)
}

// commit writes the lines of the inputs in their order, and says so, until the run ends.
func (s *scoring) commit() error {
	for {
		t := s.next()
		if t == nil {
			return nil
		}
		if t.kept != nil {
			if err := s.journal.copy(*t.kept); err != nil {
				return err
			}
			s.sum.Kept++
			s.count(t.kept.anomalous)
			if err := s.tell.event(Kept{t.path, t.kept.anomalous}); err != nil {
				return err
			}
			continue
		}
		if err := s.line(t.path, t.work); err != nil {
			return err
		}
	}
}

// next waits for the first of the turns, and takes it. It returns nil when the run is at its end.
func (s *scoring) next() *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.failure != nil:
			return nil
		case len(s.turns) > 0 && s.turns[0].ready():
			t := s.turns[0]
			s.turns[0] = nil
			s.turns = s.turns[1:]
			return t
		case s.ended && (len(s.turns) == 0 || s.turns[0].kept == nil && s.turns[0].work == nil):
			return nil
		}
		s.changed.Wait()
	}
}

func (t *turn) ready() bool { return t.kept != nil || t.work != nil && t.work.done }

// line writes the line of an input that went through the engine, and says what came of it.
func (s *scoring) line(path string, w *work) error {
	defer s.free()
	if w.fatal != nil {
		return w.fatal
	}
	var line any = w.line
	var event Event = Scored{w.line}
	if w.fault != nil {
		line, event = unscored{nameOf(path), w.fault.Error()}, Failed{path, w.fault}
		s.sum.Failed++
	} else {
		s.sum.Devices[w.line.Device]++
	}
	if err := s.journal.add(line); err != nil {
		return err
	}
	s.count(w.fault == nil && w.line.Anomalous)
	if err := s.tell.event(event); err != nil {
		return err
	}
	s.done++
	return s.tell.event(Progress{Done: s.done, Total: s.left(s.done)})
}

func (s *scoring) count(anomalous bool) {
	s.sum.Images++
	if anomalous {
		s.sum.Anomalous++
	}
}
