package cuda

import (
	"errors"
	"fmt"

	"f2pad.example/cgo/gpu"
	"f2pad.example/kernels"
)

// network is a compiled graph on the device. What goes in and comes out lies in its arena, where kernels before and after it in
// a stream write and read it: running it copies nothing, and waits for nothing. forward and backward work on the same arena: what
// forward gave is there until backward has begun. It is for one stream at a time.
type network struct {
	ex                *Executor
	forward, backward *phase // backward is nil without gradient
	blobs             []*blob
	arena             int // floats an image
	memory            kernels.Ptr
	capacity          int // images that the memory is for
}

// occasion is what a phase is run on.
type occasion struct {
	images int
	memory kernels.Ptr
	lower  int // powers of two by which gradients are smaller than usual in float16
}

// batch is a run of a phase, and the queue that it goes to.
type batch struct {
	kernels.Queue
	occasion
}

// at is where a value lies.
func (b *occasion) at(v array) kernels.Ptr {
	if v.data != nil {
		return v.data.at
	}
	return b.memory.Plus(v.buffer.Offset * b.images)
}

// on says where a port of a batch of so many images lies, once there is room for them.
func (n *network) on(p port, images int) kernels.Ptr {
	o := occasion{images: images, memory: n.memory}
	return o.at(p.value)
}

// worthRecording is how many runs in a row of one number of images make a recording worth its time.
const worthRecording = 3

// run enqueues a phase's steps, or all of them at once if they have been recorded for such an occasion: they are short, and a graph
// of them takes a fraction of the host's time.
func (n *network) run(s *gpu.Stream, ph *phase, images, lower int) error {
	o := occasion{images, n.memory, lower}
	if ph.runs++; ph.last != o {
		ph.last, ph.runs = o, 1
		if err := ph.forget(); err != nil {
			return err
		}
	}
	if ph.graph == nil && ph.runs < worthRecording {
		return ph.enqueue(&batch{s, o})
	}
	if ph.graph == nil {
		var err error
		ph.graph, err = s.Capture(func(q kernels.Queue) error { return ph.enqueue(&batch{q, o}) })
		if err != nil {
			return err
		}
	}
	return ph.graph.Launch(s)
}

func (ph *phase) enqueue(b *batch) error {
	for _, s := range ph.steps {
		err := s.enqueue(b)
		if err != nil && s.node != nil {
			err = fmt.Errorf("node %q (%s): %w", s.node.Name, s.node.Op, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget frees what was recorded.
func (ph *phase) forget() error {
	if ph == nil || ph.graph == nil {
		return nil
	}
	err := ph.graph.Close()
	ph.graph = nil
	return err
}

// grow makes room for a batch.
func (n *network) grow(images int) error {
	if images <= n.capacity {
		return nil
	}
	if err := n.drop(); err != nil {
		return err
	}
	memory, err := n.ex.d.gpu.Alloc(4 * n.arena * images)
	if err != nil {
		return fmt.Errorf("network on %s: %w", n.ex.d.info.Device, err)
	}
	n.memory, n.capacity = memory, images
	return nil
}

// drop frees the arena, and the recordings, which have its address.
func (n *network) drop() error {
	err := errors.Join(n.forward.forget(), n.backward.forget())
	if n.memory != 0 {
		err = errors.Join(err, n.ex.d.gpu.Free(n.memory))
	}
	n.memory, n.capacity = 0, 0
	return err
}

func (n *network) close() error { return errors.Join(n.drop(), n.ex.store.release(n.blobs)) }
