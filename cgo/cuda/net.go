package cuda

import (
	"context"
	"errors"
	"fmt"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/nd"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// net is a network for callers on the host.
type net struct {
	*network     // nil when it is closed
	images   int // of the last Forward, if Backward may follow it
}

var errClosed = errors.New("cuda: the net is closed")

// Forward implements exec.Net.
func (n *net) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	if n.network == nil {
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
	if _, err := n.pass(ctx, n.forward, images, in, out); err != nil {
		return err
	}
	n.images = images
	return nil
}

// Backward implements exec.Net.
func (n *net) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	switch {
	case n.network == nil:
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
	powers, err := n.pass(ctx, n.backward, images, dout, din)
	if err != nil {
		return err
	}
	for i, p := range powers {
		for _, t := range din {
			if t != nil && p != 0 && !finite(imageOf(t, i)) { // else what came in was no number
				return fmt.Errorf("cuda: the gradient of image %d of %d overflows float16", i, images)
			}
		}
	}
	return nil
}

func finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// imageOf is an image's part of a tensor.
func imageOf(t *tensor.Dense, i int) []float32 {
	n := nd.Size(t.Shape()[1:]...)
	return nd.Data(t)[i*n:][:n]
}

// Close implements exec.Net.
func (n *net) Close() error {
	if n.network == nil {
		return nil
	}
	err := n.close()
	n.network = nil
	return err
}

// pass uploads a phase's inputs, launches its steps and downloads its outputs, and the powers of two of its gradients if it has any.
func (n *net) pass(ctx context.Context, ph *phase, images int, in, out []*tensor.Dense) (powers []float32, err error) {
	if err := n.grow(images); err != nil {
		return nil, err
	}
	err = n.ex.d.do(ctx, "network", func(j *job) {
		for i, p := range ph.in {
			j.write(n.on(p, images), kernels.Bytes(nd.Data(in[i])))
		}
		if j.err == nil {
			j.err = ctx.Err()
		}
		if j.err == nil {
			j.err = n.run(j.Stream, ph, images, 0)
		}
		for i, p := range ph.out {
			if out[i] != nil {
				get(j, nd.Data(out[i]), n.on(p, images))
			}
		}
		if ph.powers.buffer != nil {
			powers = make([]float32, images)
			get(j, powers, n.on(port{value: ph.powers}, images))
		}
		if j.err == nil {
			j.err = ctx.Err()
		}
	})
	return powers, err
}
