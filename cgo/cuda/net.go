package cuda

import (
	"context"
	"errors"
	"fmt"
	"math"

	"f2pad.example/cgo/gpu"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// net is a compiled graph. forward and backward work on the same arena.
type net struct {
	ex                *Executor
	forward, backward *phase // backward is nil without gradient
	blobs             []*blob
	arena             int // floats an image
	memory            kernels.Ptr
	capacity          int // images that the memory is for
	images            int // of the last Forward, if Backward may follow it
	closed            bool
}

var errClosed = errors.New("cuda: the net is closed")

// batch is a run of a phase, and the queue that it goes to.
type batch struct {
	kernels.Queue
	images int
	memory kernels.Ptr
}

// at is where a value lies.
func (b *batch) at(v array) kernels.Ptr {
	if v.data != nil {
		return v.data.at
	}
	return b.memory.Plus(v.buffer.Offset * b.images)
}

// Forward implements exec.Net.
func (n *net) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	if n.closed {
		return errClosed
	}
	images := 0
	if err := exec.Check(exec.Input, n.forward.in, in, &images); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	if err := exec.Check(exec.Output, n.forward.out, out, &images); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	n.images = 0
	if err := n.run(ctx, n.forward, images, in, out); err != nil {
		return err
	}
	n.images = images
	return nil
}

// Backward implements exec.Net.
func (n *net) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	switch {
	case n.closed:
		return errClosed
	case n.backward == nil:
		return errors.New("cuda: Backward on a net compiled without gradient")
	case n.images == 0:
		return errors.New("cuda: Backward without a Forward of its own")
	}
	images := n.images
	if err := exec.Check(exec.OutputGradient, n.backward.in, dout, &images); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	if err := exec.Check(exec.InputGradient, n.backward.out, din, &images); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	n.images = 0
	if n.ex.precision != Float16 {
		return n.run(ctx, n.backward, images, dout, din)
	}
	scales := make([]float32, images)
	for i := range scales {
		scales[i] = gradientScale(dout, i)
	}
	if err := n.run(ctx, n.backward, images, scaledImages(dout, scales), din); err != nil {
		return err
	}
	for i, s := range scales {
		for _, t := range din {
			if t == nil {
				continue
			}
			dx := imageOf(t, i)
			for j, v := range dx {
				if s != 0 && v-v != 0 {
					return fmt.Errorf("cuda: the gradient of image %d of %d overflows float16", i, images)
				}
				if s != 0 {
					dx[j] = v / s
				}
			}
		}
	}
	return nil
}

// largestGradient is what the largest gradient that comes in becomes in float16, or up to half of it. Gradients grow on their way
// through a network: a Wide-ResNet-50-2 with random weights overflowed from 64, and did not from here.
const largestGradient = 1.0 / 16

// gradientScale is a power of two for an image's gradients, 0 where they are no numbers, and are left alone.
func gradientScale(dout []*tensor.Dense, image int) float32 {
	most := 0.0
	for _, t := range dout {
		for _, v := range imageOf(t, image) {
			if v-v != 0 {
				return 0
			}
			most = max(most, math.Abs(float64(v)))
		}
	}
	if most == 0 {
		return 1
	}
	_, e := math.Frexp(largestGradient / most)
	return float32(math.Ldexp(1, min(max(e-1, -126), 126)))
}

// scaledImages are copies of tensors with each image's values times its scale, unless that is 0.
func scaledImages(ts []*tensor.Dense, scales []float32) []*tensor.Dense {
	copies := make([]*tensor.Dense, len(ts))
	for k, t := range ts {
		copies[k] = nd.New(t.Shape()...)
		for i, s := range scales {
			to := imageOf(copies[k], i)
			copy(to, imageOf(t, i))
			for j := range to {
				if s != 0 {
					to[j] *= s
				}
			}
		}
	}
	return copies
}

// imageOf is an image's part of a tensor.
func imageOf(t *tensor.Dense, i int) []float32 {
	n := nd.Size(t.Shape()[1:]...)
	return nd.Data(t)[i*n:][:n]
}

// Close implements exec.Net.
func (n *net) Close() error {
	if n.closed {
		return nil
	}
	err := errors.Join(n.forget(), n.ex.store.release(n.blobs))
	if n.memory != 0 {
		err = errors.Join(err, n.ex.d.gpu.Free(n.memory))
	}
	*n = net{closed: true}
	return err
}

// run uploads a phase's inputs, launches its steps and downloads its outputs.
func (n *net) run(ctx context.Context, ph *phase, images int, in, out []*tensor.Dense) error {
	if err := n.grow(images); err != nil {
		return err
	}
	return n.ex.d.do(ctx, "network", func(j *job) {
		b := &batch{j, images, n.memory}
		for i, p := range ph.in {
			j.write(b.at(p.value), kernels.Bytes(nd.Data(in[i])))
		}
		if j.err == nil {
			j.err = ctx.Err()
		}
		if j.err == nil {
			j.err = ph.launch(j.Stream, b)
		}
		for i, p := range ph.out {
			if out[i] != nil {
				get(j, nd.Data(out[i]), b.at(p.value))
			}
		}
		if j.err == nil {
			j.err = ctx.Err()
		}
	})
}

// worthRecording is how many runs in a row of one number of images make a recording worth its time.
const worthRecording = 3

// launch enqueues the steps, or all of them at once if they have been recorded for as many images: they are short, and a graph
// of them takes a fraction of the host's time.
func (ph *phase) launch(s *gpu.Stream, b *batch) error {
	if ph.runs++; ph.images != b.images {
		ph.images, ph.runs = b.images, 1
		if err := ph.forget(); err != nil {
			return err
		}
	}
	if ph.graph == nil && ph.runs < worthRecording {
		return ph.enqueue(b)
	}
	if ph.graph == nil {
		var err error
		ph.graph, err = s.Capture(func(q kernels.Queue) error { return ph.enqueue(&batch{q, b.images, b.memory}) })
		if err != nil {
			return err
		}
	}
	return ph.graph.Launch(s)
}

func (ph *phase) enqueue(b *batch) error {
	for _, s := range ph.steps {
		if err := s.enqueue(b); err != nil {
			return fmt.Errorf("node %q (%s): %w", s.node.Name, s.node.Op, err)
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

func (n *net) forget() error { return errors.Join(n.forward.forget(), n.backward.forget()) }

// grow makes room for a batch.
func (n *net) grow(images int) error {
	if images <= n.capacity {
		return nil
	}
	if n.memory != 0 { // which recordings have the addresses of
		memory := n.memory
		n.memory, n.capacity = 0, 0
		if err := errors.Join(n.forget(), n.ex.d.gpu.Free(memory)); err != nil {
			return err
		}
	}
	memory, err := n.ex.d.gpu.Alloc(4 * n.arena * images)
	if err != nil {
		return fmt.Errorf("network on %s: %w", n.ex.d.info.Device, err)
	}
	n.memory, n.capacity = memory, images
	return nil
}
