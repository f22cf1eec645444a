package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"f2pad.example/engine/device"
	"f2pad.example/engine/internal/par"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
)

// compute is a place where an engine computes, and what it has brought there.
type compute struct {
	place.Place
	spec     sight.Spec
	detector sight.Detector
	refiner  *refine.Refiner

	sole sync.RWMutex // held by who must have a device to himself

	// Of Engine.mu:
	most int // images that it takes at once
	busy int // pixels of the frames that it has been given
}

func newCompute(m *Model, p place.Place, s sight.Spec, most int) (*compute, error) {
	o := m.Info.Refine
	if !o.Current() {
		o = refine.DefaultOptions(m.backbone.Stride()) // the base map is all that is made, and none of them takes part in it
	}
	r, err := refine.New(o)
	if err != nil {
		return nil, err
	}
	r.Pixels, r.Timer = p, s.Timer
	d, err := p.Detector(s)
	if err != nil {
		return nil, fmt.Errorf("engine: %s: %w", p.Info().Device, err)
	}
	return &compute{Place: p, spec: s, detector: d, refiner: r, most: most}, nil
}

// host reports whether the CPU computes.
func (c *compute) host() bool { return c.Info() == device.CPU }

// close frees what the model holds. A lost device holds nothing any more.
func (c *compute) close() error {
	if err := c.detector.Close(); err != nil && !errors.Is(err, device.ErrLost) {
		return err
	}
	return nil
}

// ofDevice reports whether a device is to blame for err: it is lost, or has no room.
func ofDevice(err error) bool {
	return errors.Is(err, device.ErrOutOfMemory) || errors.Is(err, device.ErrLost)
}

// bring brings the model to all places. Those that have no room for it are left out where somebody else takes over.
func (e *Engine) bring(spec sight.Spec) error {
	made, errs := make([]*compute, len(e.opts.Places)), make([]error, len(e.opts.Places))
	par.For(len(made), func(i int) { made[i], errs[i] = newCompute(e.model, e.opts.Places[i], spec, e.opts.Batch) })
	for _, c := range made {
		if c != nil {
			e.at = append(e.at, c)
		}
	}
	without := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	for _, err := range without {
		if e.next == nil || !ofDevice(err) {
			return err
		}
	}
	if len(e.at) == 0 {
		there, err := newCompute(e.model, e.next, spec, e.opts.Batch)
		if err != nil {
			return err
		}
		e.at, e.next = []*compute{there}, nil
	}
	for _, err := range without {
		e.notice(fmt.Sprintf("%s takes over: %v", e.name(), err))
	}
	return nil
}

// run makes the engine's maps of frames of one size, in whatever place has the least to do. Where that has no room for all of them it
// goes on with half as many at a time. Where it is lost, those that are there take over what it was given, and where it has no
// room for one frame they try that; then the fallback takes over if there is one. Otherwise a frame that there is no room for has
// found.err set, and so has one that the network gives no finite values for: the rest of its batch is scored without it, as if it
// had not been there.
func (e *Engine) run(ctx context.Context, frames []*sight.Frame) ([]found, error) {
	var all []found
	var full []*compute // without room for the first of the frames
	for len(frames) > 0 {
		c, part := e.take(frames, full)
		out, err := e.runBeside(ctx, c, part)
		e.give(c, part)
		if bad := (*sight.BadFrames)(nil); errors.As(err, &bad) {
			out, err = e.without(ctx, part, bad)
		} else if err != nil && !c.host() && ofDevice(err) {
			switch {
			case errors.Is(err, device.ErrLost):
				err = e.lose(c, err)
			case len(part) > 1:
				e.halve(c, (len(part)+1)/2, err)
				err = nil
			default:
				full = append(full, c)
				out, err = e.noRoom(full, err)
			}
			if err == nil && out == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		all, frames, full = append(all, out...), frames[len(part):], nil
	}
	return all, nil
}

// take returns the place that has the least to do, one that is not full if there is one, and the first of the frames, as many as it
// takes at once. They are to be given back.
func (e *Engine) take(frames []*sight.Frame, full []*compute) (*compute, []*sight.Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	load := func(c *compute) int {
		if slices.Contains(full, c) {
			return math.MaxInt
		}
		return c.busy
	}
	c := slices.MinFunc(e.at, func(a, b *compute) int { return cmp.Compare(load(a), load(b)) })
	part := frames[:min(len(frames), c.most)]
	c.busy += pixelsOf(part)
	return c, part
}

func (e *Engine) give(c *compute, part []*sight.Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.busy -= pixelsOf(part)
}

// pixelsOf is how many pixels frames of one size have.
func pixelsOf(frames []*sight.Frame) int {
	h, w := frames[0].Size()
	return len(frames) * h * w
}

// runBeside is runOn beside other batches, but for one frame on a device: that there is no room for it then says that there never is.
func (e *Engine) runBeside(ctx context.Context, c *compute, frames []*sight.Frame) ([]found, error) {
	if !c.host() && len(frames) == 1 {
		c.sole.Lock()
		defer c.sole.Unlock()
	} else {
		c.sole.RLock()
		defer c.sole.RUnlock()
	}
	return e.runOn(ctx, c, frames)
}

// without runs the frames that are not to blame.
func (e *Engine) without(ctx context.Context, frames []*sight.Frame, bad *sight.BadFrames) ([]found, error) {
	var good []*sight.Frame
	for i, f := range frames {
		if bad.Why[i] == nil {
			good = append(good, f)
		}
	}
	scored, err := e.run(ctx, good)
	if err != nil {
		return nil, err
	}
	all := make([]found, len(frames))
	for i := range all {
		if all[i].err = bad.Why[i]; all[i].err == nil {
			all[i], scored = scored[0], scored[1:]
		}
	}
	return all, nil
}

// places are those where the engine computes at the moment.
func (e *Engine) places() (all []place.Place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.at {
		all = append(all, c.Place)
	}
	return all
}

// halve remembers that only so many images at once fit a device.
func (e *Engine) halve(c *compute, most int, why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Contains(e.at, c) && most < c.most {
		c.most = most
		e.notice(fmt.Sprintf("%s: %d images at once from now on: %v", c.Info().Device, most, why))
	}
}

// lose goes on without a device: in the places that are left, or in the one that takes over. The error is why if there is neither.
func (e *Engine) lose(c *compute, why error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.Index(e.at, c)
	switch {
	case i < 0: // another goroutine has seen to it
		return nil
	case len(e.at) == 1:
		return e.fallBack(why)
	}
	e.at, e.left = slices.Delete(e.at, i, i+1), append(e.left, c)
	e.notice(fmt.Sprintf("%s: %s takes over its images: %v", c.Info().Device, e.name(), why))
	return nil
}

// noRoom goes on with a frame for which the places that are full have no room: in another one, or, where there is none, in the one that
// takes over. If there is neither, the frame is found to have failed.
func (e *Engine) noRoom(full []*compute, why error) ([]found, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case slices.ContainsFunc(e.at, func(c *compute) bool { return !slices.Contains(full, c) }):
		return nil, nil
	case e.next == nil:
		return []found{{err: why}}, nil
	}
	return nil, e.fallBack(why)
}

// fallBack moves the engine to the place that takes over, or returns why where there is none. e.mu is held.
func (e *Engine) fallBack(why error) error {
	if e.next == nil {
		return why
	}
	there, err := newCompute(e.model, e.next, e.at[0].spec, e.opts.Batch)
	if err != nil {
		return err
	}
	before := e.name()
	e.left, e.at, e.next = append(e.left, e.at...), []*compute{there}, nil
	e.notice(fmt.Sprintf("%s: %s takes over the remaining images: %v", before, e.name(), why))
	return nil
}

// name is that of the places where the engine computes, in a sentence. e.mu is held.
func (e *Engine) name() string {
	var all []place.Place
	for _, c := range e.at {
		all = append(all, c.Place)
	}
	d, _ := place.Together(all)
	return nameOf(d)
}

// nameOf is a device in a sentence.
func nameOf(i device.Info) string {
	if i == device.CPU {
		return "the CPU"
	}
	return i.Device
}

func (e *Engine) notice(text string) {
	if e.opts.Notice != nil {
		e.opts.Notice(text)
	}
}
