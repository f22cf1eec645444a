package engine

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/device"
	"f2pad.example/engine/place"
	"f2pad.example/engine/refine"
	"f2pad.example/engine/sight"
)

// compute is where an engine computes at the moment, and what it has brought there.
type compute struct {
	place.Place
	spec     sight.Spec
	detector sight.Detector
	refiner  *refine.Refiner
}

func newCompute(m *Model, p place.Place, s sight.Spec) (*compute, error) {
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
	return &compute{p, s, d, r}, nil
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

// run makes the engine's maps of frames of one size. Where the device has no room for all of them it goes on with half as
// many at a time; where it is lost, or has no room for one, the fallback takes over if there is one. Otherwise a
// frame that the device has no room for has found.err set, and so has one that the network gives no finite values for: the
// rest of its batch is scored without it, as if it had not been there.
func (e *Engine) run(ctx context.Context, frames []*sight.Frame) ([]found, error) {
	var all []found
	for len(frames) > 0 {
		c, most := e.current()
		part := frames[:min(len(frames), most)]
		out, err := e.runBeside(ctx, c, part)
		if err == nil {
			all, frames = append(all, out...), frames[len(part):]
			continue
		}
		if bad := (*sight.BadFrames)(nil); errors.As(err, &bad) {
			out, err := e.without(ctx, part, bad)
			if err != nil {
				return nil, err
			}
			all, frames = append(all, out...), frames[len(part):]
			continue
		}
		full, lost := errors.Is(err, device.ErrOutOfMemory), errors.Is(err, device.ErrLost)
		switch {
		case c.host() || !full && !lost:
			return nil, err
		case full && len(part) > 1:
			e.halve(c, (len(part)+1)/2, err)
		case e.opts.Fallback != nil:
			if err := e.fallBack(c, err); err != nil {
				return nil, err
			}
		case full:
			all, frames = append(all, found{err: err}), frames[1:]
		default:
			return nil, err
		}
	}
	return all, nil
}

// runBeside is runOn beside other batches, but for one frame on a device: that there is no room for it then says that there never is.
func (e *Engine) runBeside(ctx context.Context, c *compute, frames []*sight.Frame) ([]found, error) {
	if !c.host() && len(frames) == 1 {
		e.sole.Lock()
		defer e.sole.Unlock()
	} else {
		e.sole.RLock()
		defer e.sole.RUnlock()
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

// current returns where to compute and how many images fit there at once.
func (e *Engine) current() (*compute, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.compute, e.most
}

// halve remembers that only so many images at once fit the device.
func (e *Engine) halve(c *compute, most int, why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.compute == c && most < e.most {
		e.most = most
		e.notice(fmt.Sprintf("%s: %d images at once from now on: %v", c.Info().Device, most, why))
	}
}

// fallBack moves the engine to the place that takes over, if another goroutine has not done so already.
func (e *Engine) fallBack(c *compute, why error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.compute != c {
		return nil
	}
	there, err := newCompute(e.model, e.opts.Fallback, c.spec)
	if err != nil {
		return err
	}
	e.left, e.compute, e.most = append(e.left, c), there, e.opts.Batch
	e.notice(fmt.Sprintf("%s: %s takes over the remaining images: %v", c.Info().Device, nameOf(there), why))
	return nil
}

// nameOf is a place in a sentence.
func nameOf(p place.Place) string {
	if i := p.Info(); i != device.CPU {
		return i.Device
	}
	return "the CPU"
}

func (e *Engine) notice(text string) {
	if e.opts.Notice != nil {
		e.opts.Notice(text)
	}
}
