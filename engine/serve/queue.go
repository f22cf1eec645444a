package serve

import (
	"errors"
	"slices"
	"sync"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
)

// Why a queue takes nobody.
var (
	errFull     = errors.New("the queue is full")
	errStopping = errors.New("the server is stopping")
)

// job is an image that waits, is being scored, or has been.
type job struct {
	item     dataset.Item
	received time.Time
	began    time.Time // its batch
	batch    int       // images in that

	done   chan struct{} // closed when what follows is there
	result *engine.Result
	err    error // of the batch
}

func newJob(it dataset.Item) *job {
	return &job{item: it, received: time.Now(), done: make(chan struct{})}
}

func (j *job) finish(r *engine.Result, err error) {
	j.result, j.err = r, err
	close(j.done)
}

// queue is who waits for a model. A request has a place in it from its acceptance to the end of its answer: that bounds what all of
// them hold. It is safe for concurrent use.
type queue struct {
	most int
	tell func(places int) // may be nil

	mu       sync.Mutex
	changed  sync.Cond
	places   int
	coming   int    // places whose image is being received
	waiting  []*job // images that have been, in that order
	stopping bool
}

func newQueue(most int, tell func(int)) *queue {
	q := &queue{most: most, tell: tell}
	q.changed.L = &q.mu
	return q
}

// place is that of one request.
type place struct {
	q      *queue
	coming bool
	job    *job
	left   bool
}

// enter takes a place for an image that is being received; errFull or errStopping if there is none.
func (q *queue) enter() (*place, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.stopping:
		return nil, errStopping
	case q.places >= q.most:
		return nil, errFull
	}
	q.coming++
	q.count(1)
	return &place{q: q, coming: true}, nil
}

func (q *queue) count(n int) {
	q.places += n
	if q.tell != nil {
		q.tell(q.places)
	}
}

// put gives the image that was received.
func (p *place) put(j *job) {
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	p.arrived()
	p.job = j
	p.q.waiting = append(p.q.waiting, j)
}

func (p *place) arrived() {
	if p.coming {
		p.coming = false
		p.q.coming--
		p.q.changed.Broadcast()
	}
}

// leave gives the place back, also where nothing was put, or what was has not been scored: then it will not be.
func (p *place) leave() {
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	if p.left {
		return
	}
	p.left = true
	p.arrived()
	if at := slices.Index(p.q.waiting, p.job); p.job != nil && at >= 0 {
		p.q.waiting = slices.Delete(p.q.waiting, at, at+1)
		p.job.item.Release()
	}
	p.q.count(-1)
	p.q.changed.Broadcast()
}

// take waits for an image and returns those to be scored together, at most so many: what is there. While others are being
// received it waits for those, too, but not longer than wait from when the first was. So who comes alone is not kept waiting, and
// under load batches are full, since images gather while the batch before is scored. It returns nil when the queue was stopped and
// nobody is left.
func (q *queue) take(most int, wait time.Duration) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var armed *job // whose time the timer is for
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		n := len(q.waiting)
		switch {
		case n == 0 && q.stopping && q.coming == 0:
			return nil
		case n == 0:
		case n >= most || q.coming == 0 || time.Since(q.waiting[0].received) >= wait:
			batch := slices.Clone(q.waiting[:min(n, most)])
			q.waiting = slices.Delete(q.waiting, 0, len(batch))
			now := time.Now()
			for _, j := range batch {
				j.began, j.batch = now, len(batch)
			}
			return batch
		case armed != q.waiting[0]:
			if timer != nil {
				timer.Stop()
			}
			armed = q.waiting[0]
			timer = time.AfterFunc(wait-time.Since(armed.received), func() {
				q.mu.Lock() // so that it is not missed by who is about to wait
				defer q.mu.Unlock()
				q.changed.Broadcast()
			})
		}
		q.changed.Wait()
	}
}

// stop takes nobody any more.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopping = true
	q.changed.Broadcast()
}

// empty waits until no place is taken.
func (q *queue) empty() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.places > 0 {
		q.changed.Wait()
	}
}

// length is how many places are taken, and how many images wait.
func (q *queue) length() (places, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.places, len(q.waiting)
}

// bodies is the memory that requests' bodies may take, until they are decoded.
type bodies struct {
	mu   sync.Mutex
	free int64
	most int64
	tell func(held int64)
}

// take reports whether there is room for n bytes.
func (b *bodies) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.free {
		return false
	}
	b.free -= n
	b.tell(b.most - b.free)
	return true
}

func (b *bodies) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.tell(b.most - b.free)
}
