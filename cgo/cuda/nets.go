package cuda

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/device"
	"f2pad.example/engine/exec"
)

// sized is a detector's network for windows of h x w pixels. done is the end of its latest work, behind which a stream has to wait
// before it uses it again.
type sized struct {
	*network
	of       *detector
	h, w     int
	gradient bool
	done     *gpu.Event
}

func (s *sized) close() error { return errors.Join(s.network.close(), s.done.Close()) }

// nets are the networks of all detectors that wait for windows of their size, least recently used first.
type nets struct {
	mu   sync.Mutex
	idle []*sized
}

// idleNetworks bounds how many wait. Most of them differ in their tables only.
const idleNetworks = 64

// find takes one out.
func (n *nets) find(fits func(s *sized) bool) *sized {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range slices.Backward(n.idle) {
		if fits(s) {
			n.idle = slices.Delete(n.idle, i, i+1)
			return s
		}
	}
	return nil
}

// put lets a network wait, and closes the one that has waited longest if there are too many.
func (n *nets) put(s *sized) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle = append(n.idle, s)
	if len(n.idle) <= idleNetworks {
		return nil
	}
	oldest := n.idle[0]
	n.idle = slices.Delete(n.idle, 0, 1)
	return oldest.close()
}

// drop frees the arena of the network that has waited longest; false: none has any.
func (n *nets) drop() (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.idle {
		if s.memory != 0 {
			return true, s.network.drop()
		}
	}
	return false, nil
}

// withRoom tries what may find no memory, again as long as networks that wait, or normal images, can give theirs.
func (d *Device) withRoom(try func() error) error {
	for {
		err := try()
		if !errors.Is(err, device.ErrOutOfMemory) {
			return err
		}
		if dropped, e := d.nets.drop(); e != nil || !dropped && !d.normals.giveUp() {
			return errors.Join(err, e)
		}
	}
}

// take returns a network for so many windows of h x w pixels, in the job's stream. give hands it back.
func (t *detector) take(j *job, h, w int, gradient bool, windows int) *sized {
	if j.err != nil {
		return nil
	}
	s := t.d.nets.find(func(s *sized) bool { return s.of == t && s.h == h && s.w == w && s.gradient == gradient })
	err := func() (err error) {
		if s != nil {
			err = j.Wait(s.done)
		} else {
			s, err = t.compile(h, w, gradient)
		}
		if err != nil {
			return err
		}
		return t.d.withRoom(func() error { return s.grow(windows) })
	}()
	if err != nil {
		j.err = fmt.Errorf("%s at %dx%d pixels: %w", t.backbone.Name(), w, h, err)
		if s != nil {
			j.err = errors.Join(j.err, s.close())
		}
		return nil
	}
	return s
}

func (t *detector) compile(h, w int, gradient bool) (*sized, error) {
	g, err := t.backbone.Graph(h, w)
	if err != nil {
		return nil, err
	}
	if g, err = exec.Prepare(g); err != nil {
		return nil, err
	}
	s := &sized{of: t, h: h, w: w, gradient: gradient}
	if err := t.d.withRoom(func() (err error) { s.network, err = t.ex.network(g, gradient, true); return err }); err != nil {
		return nil, err
	}
	if s.done, err = t.d.gpu.NewEvent(); err != nil {
		return nil, errors.Join(err, s.network.close())
	}
	return s, nil
}

// give hands a network back when all its work is in the job's stream.
func (t *detector) give(j *job, s *sized) {
	if s == nil {
		return
	}
	err := j.Record(s.done)
	if err == nil {
		err = t.d.nets.put(s)
	} else {
		err = errors.Join(err, s.close())
	}
	if j.err == nil {
		j.err = err
	}
}
