package run

import (
	"strings"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
)

const (
	// writersPerCore is how many images are being written at once, or wait for their line: more than cores, since writing
	// waits for the disk, too. They are what a killed run does again beside the batch in hand.
	writersPerCore = 2
	mostWaiting    = 1 << 27 // Options.Waiting, unless that is given
)

// work is an image on its way from the engine to its line.
type work struct {
	stem   string
	bytes  int64         // of budget
	closed chan struct{} // when done is true
	done   bool          // what follows is settled
	line   Line
	fault  error // the image's own: it has failed
	fatal  error // ends the run, when the lines before it are written
}

// budget is how much is in work, or may be.
type budget struct {
	images int   // until their lines are written
	bytes  int64 // until their files are
}

// write has the files of a result written, by a goroutine of their own; s.mu is held. It waits while too much is in work, and for a
// result that is too large to be kept beside the engine's work.
func (s *scoring) write(t *turn, r *engine.Result) error {
	w := &work{closed: make(chan struct{}), fault: r.Err}
	size := s.out.size(r)
	w.bytes = min(size, s.most.bytes)
	for s.failure == nil && (s.inWork.images >= s.most.images || s.inWork.bytes > 0 && s.inWork.bytes+w.bytes > s.most.bytes) {
		s.changed.Wait()
	}
	if s.failure != nil {
		return s.failure
	}
	s.inWork.images++
	s.inWork.bytes += w.bytes
	t.work = w
	if r.Err != nil {
		s.settle(w)
		return nil
	}
	w.stem = dataset.OutputName(r.Item.ID, "")
	var first []*work
	for _, t := range s.turns {
		if o := t.work; o != nil && o != w && !o.done && collide(o.stem, w.stem) {
			first = append(first, o)
		}
	}
	s.writers.Go(func() {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.settle(w)
		}()
		s.guard(func() error {
			for _, o := range first {
				<-o.closed
			}
			var err error
			if w.line, err = s.out.write(r); IsNameFault(err) {
				w.fault = err
			} else {
				w.fatal = err
			}
			return nil
		})
	})
	for size > s.most.bytes && !w.done && s.failure == nil {
		s.changed.Wait()
	}
	return s.failure
}

// settle says that an image's files are there, or why not, and gives their memory back; s.mu is held.
func (s *scoring) settle(w *work) {
	w.done = true
	close(w.closed)
	s.inWork.bytes -= w.bytes
	s.changed.Broadcast()
}

// free gives the place of an image back whose line is written.
func (s *scoring) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inWork.images--
	s.changed.Broadcast()
}

// collide reports whether the outputs of two images cannot both be there, since a folder of the one's is called like a file of
// the other's. Then the first one wins, as it does where images are written one after the other.
func collide(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) == len(b) || !strings.EqualFold(a, b[:len(a)]) {
		return false
	}
	rest := strings.ToLower(b[len(a):])
	for _, f := range outputFiles {
		if strings.HasPrefix(rest, f.ext+"/") {
			return true
		}
	}
	return false
}
