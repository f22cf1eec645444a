package cuda

import (
	"context"
	"fmt"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/sight"
	"f2pad.example/kernels"

	"gorgonia.org/tensor"
)

// net is a network for callers on the host.
type net struct {
	*network
	guard exec.Guard
}

// Forward implements exec.Net.
func (n *net) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	images, err := n.guard.Forward(in, out)
	if err != nil {
		return err
	}
	if _, err := n.pass(ctx, n.forward, images, in, out); err != nil {
		return err
	}
	n.guard.Done(images)
	return nil
}

// Backward implements exec.Net.
func (n *net) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	images, err := n.guard.Backward(dout, din)
	if err != nil {
		return err
	}
	powers, err := n.pass(ctx, n.backward, images, dout, din)
	if err != nil {
		return err
	}
	for i, p := range powers {
		for _, t := range din {
			if t != nil && p != 0 && !sight.Finite(imageOf(t, i)) { // else what came in was no number
				return fmt.Errorf("cuda: the gradient of image %d of %d overflows float16", i, images)
			}
		}
	}
	return nil
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
	*n = net{guard: n.guard.Closed()}
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
				collect(j, n.on(p, images), nd.Data(out[i]))
			}
		}
		if ph.powers.buffer != nil {
			powers = make([]float32, images)
			collect(j, n.on(port{value: ph.powers}, images), powers)
		}
	})
	if err == nil {
		err = ctx.Err()
	}
	return powers, err
}
