package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"
	"f2pad.example/engine/telemetry"
)

// line is a model and who waits for it.
type line struct {
	Model
	opts  Options
	queue *queue

	mu      sync.Mutex
	pace    float64 // seconds for an image in each of the engine's places, of late
	failing error   // that the last batch ended in
}

func newLine(m Model, o Options) *line {
	o.Metrics.Model(m.Name, o.Queue)
	return &line{Model: m, opts: o, queue: newQueue(o.Queue, func(n int) { o.Metrics.Accepted(m.Name, n) })}
}

// run scores batch after batch until the queue is stopped and empty. As many do so at once as the engine has places.
func (l *line) run() {
	for {
		batch := l.queue.take(l.opts.Batch, l.opts.MaxWait)
		if batch == nil {
			return
		}
		l.score(batch)
	}
}

// score scores the images of a batch, each of which is finished in any case.
func (l *line) score(batch []*job) {
	waited := make([]time.Duration, len(batch))
	for i, j := range batch {
		waited[i] = j.began.Sub(j.received)
	}
	l.opts.Metrics.Batch(l.Name, waited)
	done := 0
	items := func(yield func(dataset.Item) bool) {
		for _, j := range batch {
			if !yield(j.item) {
				return
			}
		}
	}
	err := guarded(func() error {
		return l.Engine.Score(context.Background(), items, func(r *engine.Result) error {
			// Nobody may get the verdict on another one's image.
			if done == len(batch) || r.Item.Source != batch[done].item.Source {
				return fmt.Errorf("%s: its result came out of turn, which is a bug in f2pad", r.Item.Path)
			}
			r.Item.Release() // an engine need not do so
			l.opts.Metrics.Image(l.Name, resultOf(r), r.Device)
			batch[done].finish(r, nil)
			done++
			return nil
		})
	})
	if err == nil && done < len(batch) {
		err = errors.New("the engine gave no result, which is a bug in f2pad")
	}
	for _, j := range batch[done:] {
		j.item.Release()
		l.opts.Metrics.Image(l.Name, telemetry.Failed, "")
		j.finish(nil, err)
	}
	if err != nil {
		l.opts.fault(fmt.Errorf("model %s: %w", l.Name, err))
	}
	l.note(time.Since(batch[0].began).Seconds()/float64(len(batch)), err)
}

func resultOf(r *engine.Result) telemetry.Result {
	if r.Err != nil {
		return telemetry.Failed
	}
	return telemetry.Scored(r.Anomalous)
}

// note remembers how a batch went.
func (l *line) note(pace float64, err error) {
	const latest = 0.2
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pace == 0 {
		l.pace = pace
	}
	l.pace += latest * (pace - l.pace)
	l.failing = err
}

// fails is what the last batch ended in; nil: its images were scored, or could not be for what they are.
func (l *line) fails() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing
}

// retryAfter is in how many seconds, 1 to 60, those who are here now will have been answered.
func (l *line) retryAfter() int {
	places, _ := l.queue.length()
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(min(60, max(1, math.Ceil(float64(places)*l.pace/float64(l.Engine.Places())))))
}

// upload is an image that was sent. What it holds is given back once it is decoded.
type upload struct {
	mu   sync.Mutex
	data []byte
	gone func() // called once
}

func (u *upload) Open() (fs.File, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.data == nil {
		return nil, fs.ErrClosed
	}
	return dataset.Bytes(u.data, time.Time{}).Open()
}

// Release lets go of the bytes.
func (u *upload) Release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.data != nil {
		u.data = nil
		u.gone()
	}
}
