package engine

import (
	"context"

	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/nd"
)

// mostLanes is how many batches are in work at once in a place: while one waits for its slowest image, for one core, or for a device,
// the other computes. Together they hold Options.Batch images.
const mostLanes = 2

// lanes takes images in, works on batches of them side by side, and emits what was found in the order in which they came. With several
// places as many as are in work may have ended and wait for one before them: a batch that takes long in one keeps those of the others
// from being emitted, not from being worked on. In one place what is lost when the program is killed is worth more.
type lanes struct {
	ctx  context.Context // when it ends nothing is begun any more
	work func([]decoded) error
	emit func(*Result) error

	most   func() int // batches in work at once
	held   func() int // those that have not been emitted
	each   limits     // of a batch
	all    limits     // of those that have not been emitted, together
	open   batch
	flying []*batch      // those that have not been emitted, in their order
	ended  chan struct{} // tells of one that has
	err    error         // that ended it
}

// limits bound batches; 0: not in that.
type limits struct {
	images int
	pixels int // of the frames
	values int // of the images as they are
}

// batch is images that are worked on together.
type batch struct {
	images []decoded
	pixels int // of their frames
	values int // of the images as they are

	done  chan struct{} // closed when the work has ended:
	err   error
	panic *par.Panic
}

// lanes returns those of one Score. Work that has begun is finished also when ctx ends: nobody is left with half of it.
func (e *Engine) lanes(ctx context.Context, emit func(*Result) error) *lanes {
	beside := min(mostLanes, e.opts.Batch)
	if e.opts.alone {
		beside = 1
	}
	n, values := beside*e.memory.Places, batchValues*max(1, e.memory.Pixels/batchPixels)
	most := func() int { return beside * e.Places() } // some may be lost
	held := most
	if e.memory.Places > 1 {
		held = func() int { return 2 * most() }
	}
	return &lanes{
		ctx:  ctx,
		work: func(b []decoded) error { return e.scoreBatch(context.WithoutCancel(ctx), b) },
		emit: func(r *Result) error {
			if r.Err == nil {
				e.opts.warn(r.Item, r.Image.Notes)
				e.opts.unlike(r.Item, e.model.Unlike(r.Image))
			}
			return emit(r)
		},
		most:  most,
		held:  held,
		each:  limits{(e.opts.Batch + beside - 1) / beside, e.memory.Pixels / n, values / n},
		all:   limits{pixels: e.memory.Pixels, values: values},
		ended: make(chan struct{}, 1),
	}
}

// add takes an image into the open batch, and starts that when it is full.
func (l *lanes) add(d decoded) error {
	b := &l.open
	b.images = append(b.images, d)
	if d.frame != nil {
		b.pixels += nd.Size(d.frame.Y.Shape()[1:]...)
		b.values += nd.Size(d.res.Image.Pix.Shape()...)
	}
	if len(b.images) < l.each.images && b.pixels < l.each.pixels && b.values < l.each.values {
		return nil
	}
	return l.start()
}

// start puts the open batch to work. It first waits for those before it where there is no lane, or no room for their images
// together; what is larger than that room is worked on alone.
func (l *lanes) start() error {
	if len(l.open.images) == 0 {
		return nil
	}
	b := l.open
	l.open = batch{}
	for most := l.most(); len(l.flying) > 0; most = l.most() {
		if l.flying[0].over() || len(l.flying) >= l.held() || l.full(&b) {
			if err := l.land(); err != nil {
				return err
			}
			continue
		}
		if l.working() < most {
			break
		}
		<-l.ended
	}
	if err := l.ctx.Err(); err != nil {
		return err
	}
	b.done = make(chan struct{})
	l.flying = append(l.flying, &b)
	go func() {
		defer func() {
			close(b.done)
			select {
			case l.ended <- struct{}{}:
			default: // it is told already that one has
			}
		}()
		defer func() {
			if p := recover(); p != nil {
				b.panic = par.Caught(p)
			}
		}()
		b.err = l.work(b.images)
	}()
	return nil
}

// full reports whether b has too many pixels to be worked on beside the batches that are.
func (l *lanes) full(b *batch) bool {
	pixels, values := b.pixels, b.values
	for _, o := range l.flying {
		pixels, values = pixels+o.pixels, values+o.values
	}
	return pixels > l.all.pixels || values > l.all.values
}

// working is how many batches are in work.
func (l *lanes) working() (n int) {
	for _, b := range l.flying {
		if !b.over() {
			n++
		}
	}
	return n
}

// over reports whether the work has ended.
func (b *batch) over() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// ready is closed when the oldest batch in work can land; nil: there is none.
func (l *lanes) ready() <-chan struct{} {
	if len(l.flying) == 0 {
		return nil
	}
	return l.flying[0].done
}

// land waits for the oldest batch in work and emits what was found in it. After an error nothing is emitted any more.
func (l *lanes) land() error {
	if l.err != nil {
		return l.err
	}
	b := l.flying[0]
	l.flying = l.flying[1:]
	<-b.done
	l.err = b.err
	if b.panic != nil {
		panic(b.panic)
	}
	for i := 0; i < len(b.images) && l.err == nil; i++ {
		r := b.images[i].res
		b.images[i] = decoded{}
		l.err = l.emit(r)
	}
	return l.err
}

// landAll emits all that is in work.
func (l *lanes) landAll() error {
	for len(l.flying) > 0 {
		if err := l.land(); err != nil {
			return err
		}
	}
	return l.err
}

// finish also works on what is left.
func (l *lanes) finish() error {
	if err := l.start(); err != nil {
		return err
	}
	return l.landAll()
}

// wait returns when nothing is in work any more; what was found is dropped.
func (l *lanes) wait() {
	for _, b := range l.flying {
		<-b.done
	}
	l.flying = nil
}
