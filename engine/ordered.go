package engine

import (
	"context"
	"iter"
	"runtime"
	"time"

	"f2pad/engine/internal/par"
)

// idleAfter is how long items have to be waited for until that is told: longer than a file system takes to list the next
// one, and shorter than anybody who gives them by hand would notice.
const idleAfter = 20 * time.Millisecond

// ordered makes values in parallel and consumes them in the order of items, at most ahead of them waiting or in work. It
// ends with the first error of consume or when ctx does, and panics where produce does; what is then in work is dropped,
// and items is not read on.
func ordered[T, V any](ctx context.Context, items iter.Seq[T], ahead int, produce func(T) V, consume func(V) error) error {
	return orderedIdle(ctx, items, ahead, produce, consume, nil)
}

// made is a value, or the panic that it ended in.
type made[V any] struct {
	v     V
	panic *par.Panic
}

func produced[T, V any](produce func(T) V, it T) (m made[V]) {
	defer func() {
		if p := recover(); p != nil {
			m.panic = par.Caught(p)
		}
	}()
	m.v = produce(it)
	return m
}

// orderedIdle is ordered that calls idle, if it is not nil, when everything that was there has been consumed and items has
// given no more for idleAfter; its error ends it, too.
func orderedIdle[T, V any](ctx context.Context, items iter.Seq[T], ahead int, produce func(T) V, consume func(V) error, idle func() error) error {
	pending := make(chan chan made[V], max(ahead, 1))
	workers := make(chan struct{}, runtime.GOMAXPROCS(0))
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(pending)
		for it := range items {
			out := make(chan made[V], 1) // buffered: the producer never waits for a consumer that has gone
			select {
			case <-stop:
				return
			case pending <- out:
			}
			workers <- struct{}{}
			go func() {
				out <- produced(produce, it)
				<-workers
			}()
		}
	}()
	timer := time.NewTimer(idleAfter)
	defer timer.Stop()
	var waited <-chan time.Time // nil once idle has been told
	for {
		var out chan made[V]
		var more bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case out, more = <-pending:
		case <-waited:
			waited = nil
			if err := idle(); err != nil {
				return err
			}
			continue
		}
		if !more {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-out:
			if m.panic != nil {
				panic(m.panic)
			}
			if ctx.Err() != nil { // select picks any of what is ready
				return ctx.Err()
			}
			if err := consume(m.v); err != nil {
				return err
			}
		}
		if idle != nil {
			timer.Reset(idleAfter)
			waited = timer.C
		}
	}
}
