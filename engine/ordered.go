package engine

import (
	"context"
	"iter"
	"runtime"
	"time"
)

// idleAfter is how long items have to be waited for until that is told: longer than a file system takes to list the next
// one, and shorter than anybody who gives them by hand would notice.
const idleAfter = 20 * time.Millisecond

// ordered makes values in parallel and consumes them in the order of items, at most ahead of them waiting or in work. It
// ends with the first error of consume or when ctx does; what is then in work is dropped, and items is not read on.
func ordered[T, V any](ctx context.Context, items iter.Seq[T], ahead int, produce func(T) V, consume func(V) error) error {
	return orderedIdle(ctx, items, ahead, produce, consume, nil)
}

// orderedIdle is ordered that calls idle, if it is not nil, when everything that was there has been consumed and items has
// given no more for idleAfter; its error ends it, too.
func orderedIdle[T, V any](ctx context.Context, items iter.Seq[T], ahead int, produce func(T) V, consume func(V) error, idle func() error) error {
	pending := make(chan chan V, max(ahead, 1))
	workers := make(chan struct{}, runtime.GOMAXPROCS(0))
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(pending)
		for it := range items {
			out := make(chan V, 1) // buffered: the producer never waits for a consumer that has gone
			select {
			case <-stop:
				return
			case pending <- out:
			}
			workers <- struct{}{}
			go func() {
				out <- produce(it)
				<-workers
			}()
		}
	}()
	timer := time.NewTimer(idleAfter)
	defer timer.Stop()
	var waited <-chan time.Time // nil once idle has been told
	for {
		var out chan V
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
		case v := <-out:
			if ctx.Err() != nil { // select picks any of what is ready
				return ctx.Err()
			}
			if err := consume(v); err != nil {
				return err
			}
		}
		if idle != nil {
			timer.Reset(idleAfter)
			waited = timer.C
		}
	}
}
