package engine

import (
	"context"
	"iter"
	"runtime"
	"time"

	"f2pad.example/engine/internal/par"
)

// idleAfter is how long items have to be waited for until that is told, which has a batch scored that is not full. No result depends on it, so that it has
// to be about right only: far longer than a file system takes to list the next item, or batches would seldom be full, and well below the
// tenth of a second that somebody who gives items one by one would notice. What comes in pages, as a store's listings do, ends each with a batch that is
// not full, if the next one takes longer.
const idleAfter = 20 * time.Millisecond

// made is a value with the bytes that it asked for, or the panic that it ended in.
type made[V any] struct {
	v     V
	bytes int64
	panic *par.Panic
}

func (m *made[V]) of(produce func() V) {
	defer func() {
		if p := recover(); p != nil {
			m.panic = par.Caught(p)
		}
	}()
	m.v = produce()
}

// between is what a consumer does between values, where an error ends it, too. Its functions may be nil.
type between struct {
	// idle is called when everything that was there has been consumed and items has given no more for idleAfter.
	idle func() error
	// ready returns a channel that is closed when landed is to be called, nil if it is not.
	ready  func() <-chan struct{}
	landed func() error
}

// orderedWithin makes values in parallel and consumes them in the order of items, at most ahead of them waiting or in work. It
// ends with the first error of consume or when ctx does, and panics where produce does; what is then in work is dropped,
// and items is not read on. Memory is bounded: produce may ask once for so many bytes of r, and has them until its value has
// been consumed. It is given them in the order of items, so that none waits for those behind it; once nobody wants its value
// any more it gets an error in their place.
func orderedWithin[T, V any](
	ctx context.Context, r *room, items iter.Seq[T], ahead int, produce func(it T, reserve func(bytes int64) error) V, consume func(V) error,
	between between,
) error {
	pending := make(chan chan made[V], max(ahead, 1))
	workers := make(chan struct{}, runtime.GOMAXPROCS(0))
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(pending)
		turn := make(chan struct{}) // closed when all before have been given what they asked for
		close(turn)
		for it := range items {
			out := make(chan made[V], 1) // buffered: the producer never waits for a consumer that has gone
			select {
			case <-stop:
				return
			case pending <- out:
			}
			mine, next := turn, make(chan struct{})
			turn = next
			workers <- struct{}{}
			go func() {
				var m made[V]
				asked := false
				wait := func() error {
					select {
					case <-mine:
						return nil
					case <-stop:
						return errStopped
					}
				}
				m.of(func() V {
					return produce(it, func(bytes int64) (err error) {
						asked = true
						if err = wait(); err == nil {
							m.bytes, err = r.take(bytes, stop)
						}
						close(next)
						return err
					})
				})
				out <- m
				<-workers
				if !asked {
					_ = wait()
					close(next)
				}
			}()
		}
	}()
	timer := time.NewTimer(idleAfter)
	defer timer.Stop()
	var waited <-chan time.Time // nil once idle has been told
	var out chan made[V]        // of the value that is next; nil: not known yet
	for {
		var first chan made[V]
		var next <-chan chan made[V]
		if first = out; first == nil {
			next = pending
		}
		var ready <-chan struct{}
		if between.ready != nil {
			ready = between.ready()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ready:
			if err := between.landed(); err != nil {
				return err
			}
		case <-waited:
			waited = nil
			if err := between.idle(); err != nil {
				return err
			}
		case o, more := <-next:
			if !more {
				return ctx.Err()
			}
			out, waited = o, nil
		case m := <-first:
			out = nil
			if m.panic != nil {
				panic(m.panic)
			}
			if ctx.Err() != nil { // select picks any of what is ready
				return ctx.Err()
			}
			err := consume(m.v)
			r.give(m.bytes)
			if err != nil {
				return err
			}
			if between.idle != nil {
				timer.Reset(idleAfter)
				waited = timer.C
			}
		}
	}
}
