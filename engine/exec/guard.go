package exec

import (
	"errors"
	"fmt"

	"f2pad.example/engine/graph"

	"gorgonia.org/tensor"
)

// Guard is what every Net refuses: tensors that its graph does not take, and calls in an order that makes no sense.
type Guard struct {
	name     string // of the executor, which errors begin with
	in, out  []port
	gradient bool
	open     bool
	images   int // of the last Forward, if Backward may follow it
}

// port is an input or output of a graph.
type port struct {
	name  string
	shape graph.Shape
}

// Value is for Check.
func (p port) Value() (string, graph.Shape) { return p.name, p.shape }

// NewGuard returns the Guard of a Net of g, for the executor of that name.
func NewGuard(executor string, g *graph.Graph, gradient bool) (Guard, error) {
	shapes, err := g.Infer()
	if err != nil {
		return Guard{}, err
	}
	guard := Guard{name: executor, gradient: gradient, open: true}
	for _, v := range g.Inputs {
		guard.in = append(guard.in, port{v.Name, v.Shape})
	}
	for _, name := range g.Outputs {
		guard.out = append(guard.out, port{name, shapes[name]})
	}
	return guard, nil
}

var errClosed = errors.New("the net is closed")

// Forward checks a call of Forward, and returns its number of images. Done follows if it succeeds. What is refused changes nothing.
func (g *Guard) Forward(in, out []*tensor.Dense) (images int, err error) {
	if !g.open {
		return 0, g.wrap(errClosed)
	}
	if err := Check(Input, g.in, in, &images); err != nil {
		return 0, g.wrap(err)
	}
	if err := Check(Output, g.out, out, &images); err != nil {
		return 0, g.wrap(err)
	}
	g.images = 0
	return images, nil
}

// Closed is the Guard of the Net when it is closed.
func (g *Guard) Closed() Guard { return Guard{name: g.name} }

// Done says that a Forward of so many images has succeeded.
func (g *Guard) Done(images int) { g.images = images }

// Backward checks a call of Backward, and returns its number of images. A Forward serves one.
func (g *Guard) Backward(dout, din []*tensor.Dense) (images int, err error) {
	images = g.images
	switch {
	case !g.open:
		return 0, g.wrap(errClosed)
	case !g.gradient:
		return 0, g.wrap(errors.New("Backward on a net compiled without gradient"))
	case images == 0:
		return 0, g.wrap(errors.New("Backward without a Forward of its own"))
	}
	if err := Check(OutputGradient, g.out, dout, &images); err != nil {
		return 0, g.wrap(err)
	}
	if err := Check(InputGradient, g.in, din, &images); err != nil {
		return 0, g.wrap(err)
	}
	g.images = 0
	return images, nil
}

func (g *Guard) wrap(err error) error { return fmt.Errorf("%s: %w", g.name, err) }
