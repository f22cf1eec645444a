// Package par runs loops on all cores. What a loop computes never depends on how many there are: bodies write disjoint
// results, and sums are taken in index order by the caller.
package par

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// For calls body(i) for every i in [0,n), on up to GOMAXPROCS goroutines. It returns when all have returned. A panic of a
// body is one of For.
func For(n int, body func(i int)) {
	Workers(runtime.GOMAXPROCS(0), n, func(_, i int) { body(i) })
}

// Workers is For on at most the given number of goroutines; body learns which of them it runs on, 0 <= worker < workers,
// so that each can have a buffer of its own. It does not allocate, except where the runtime needs more goroutines.
func Workers(workers, n int, body func(worker, i int)) {
	workers = min(workers, n)
	if workers <= 1 {
		for i := range n {
			body(0, i)
		}
		return
	}
	l := loops.Get().(*loop)
	l.n, l.body = n, body
	l.next.Store(0)
	l.started.Store(0)
	l.panicked.Store(nil)
	l.done.Add(workers - 1)
	for range workers - 1 {
		go l.help()
	}
	l.work()
	l.done.Wait()
	if p := l.panicked.Load(); p != nil {
		panic(p)
	}
	l.body = nil
	loops.Put(l)
}

// loop is what the goroutines of one Workers share.
type loop struct {
	n             int
	body          func(worker, i int)
	next, started atomic.Int64
	panicked      atomic.Pointer[Panic]
	done          sync.WaitGroup
	help          func() // made once: a go statement with a ready function does not allocate
}

var loops = sync.Pool{New: func() any {
	l := &loop{}
	l.help = func() {
		defer l.done.Done()
		defer l.catch()
		l.work()
	}
	return l
}}

// catch keeps a helper's panic for the caller, in whose goroutine it can be dealt with.
func (l *loop) catch() {
	if v := recover(); v != nil {
		l.panicked.CompareAndSwap(nil, Caught(v))
	}
}

// Panic is a panic of another goroutine, which goes on in the one that waits for it.
type Panic struct {
	Value any
	Stack string // where it began
}

// Caught is what was recovered, to be panicked with elsewhere.
func Caught(v any) *Panic {
	if p, ok := v.(*Panic); ok {
		return p
	}
	return &Panic{v, string(debug.Stack())}
}

func (p *Panic) Error() string { return fmt.Sprintf("%v\n%s", p.Value, p.Stack) }

func (l *loop) work() {
	worker := int(l.started.Add(1)) - 1
	for {
		i := int(l.next.Add(1)) - 1
		if i >= l.n {
			return
		}
		l.body(worker, i)
	}
}

// Range calls body(lo, hi) for consecutive ranges of at most grain indices that cover [0,n).
func Range(n, grain int, body func(lo, hi int)) {
	grain = max(grain, 1)
	For((n+grain-1)/grain, func(i int) { body(i*grain, min((i+1)*grain, n)) })
}

// Err is For with bodies that may fail; it returns the error of the lowest index, so that the message does not depend
// on timing.
func Err(n int, body func(i int) error) error {
	errs := make([]error, n)
	For(n, func(i int) { errs[i] = body(i) })
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
