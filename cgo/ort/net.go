//go:build cgo

package ort

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"f2pad/engine/graph"
	"f2pad/engine/nd"

	ort "github.com/yalue/onnxruntime_go"
	"gorgonia.org/tensor"
)

// net is a compiled graph.
type net struct {
	forward, backward *phase
	gradient          bool
	shapes            []graph.Shape
	threads           int
	slots             []*slot
	scratch           [][]int64 // each core's
	images            int       // of the last Forward, if Backward may follow it
	closed            bool
}

// slot holds one image: a tensor for each port.
type slot struct {
	tensors []*ort.Tensor[float32]
	in, out map[*step][]ort.Value
}

func (n *net) steps() (all []*step) {
	all = append(all, n.forward.steps...)
	if n.backward != nil {
		all = append(all, n.backward.steps...)
	}
	return all
}

// open makes the sessions.
func (n *net) open(e *Executor) error {
	for i, threads := range []int{1, cores(n.threads)} {
		settings, err := e.settings(threads)
		if err != nil {
			return err
		}
		defer settings.Destroy()
		for _, s := range n.steps() {
			if s.host != nil {
				continue
			}
			s.session[i], err = ort.NewDynamicAdvancedSessionWithONNXData(s.model, names(s.in), names(s.out), settings)
			if err != nil {
				return fmt.Errorf("ort: %w", err)
			}
		}
	}
	return nil
}

func names(ports []port) (names []string) {
	for _, p := range ports {
		names = append(names, p.name)
	}
	return names
}

// Forward implements exec.Net.
func (n *net) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	if n.closed {
		return errClosed
	}
	images := 0
	if err := check("input", n.forward.in, in, &images); err != nil {
		return err
	}
	if err := check("output", n.forward.out, out, &images); err != nil {
		return err
	}
	n.images = 0
	if err := n.run(ctx, n.forward, images, in, out); err != nil {
		return err
	}
	if n.gradient {
		n.images = images
	}
	return nil
}

// Backward implements exec.Net.
func (n *net) Backward(ctx context.Context, dout, din []*tensor.Dense) error {
	switch {
	case n.closed:
		return errClosed
	case !n.gradient:
		return errors.New("ort: Backward on a net compiled without gradient")
	case n.images == 0:
		return errors.New("ort: Backward without a Forward of its own")
	}
	images := n.images
	if err := check("output gradient", n.backward.in, dout, &images); err != nil {
		return err
	}
	if err := check("input gradient", n.backward.out, din, &images); err != nil {
		return err
	}
	n.images = 0
	return n.run(ctx, n.backward, images, dout, din)
}

// Close implements exec.Net.
func (n *net) Close() error {
	if n.closed {
		return nil
	}
	var errs []error
	for _, s := range n.slots {
		for _, t := range s.tensors {
			errs = append(errs, t.Destroy())
		}
	}
	for _, s := range n.steps() {
		for _, session := range s.session {
			if session != nil {
				errs = append(errs, session.Destroy())
			}
		}
	}
	*n = net{closed: true}
	return errors.Join(errs...)
}

var errClosed = errors.New("ort: the net is closed")

// check compares the caller's tensors with the ports. The first sets the number of images where it is still 0. Where the
// ports are outputs of a gradient a tensor may be nil.
func check(what string, ports []port, ts []*tensor.Dense, images *int) error {
	if len(ts) != len(ports) {
		return fmt.Errorf("ort: %d %ss, want %d", len(ts), what, len(ports))
	}
	for i, t := range ts {
		p := &ports[i]
		if t == nil && what == "input gradient" {
			continue
		}
		if err := nd.Check(what, t, p.shape...); err != nil {
			return fmt.Errorf("ort: %q: %w", p.name, err)
		}
		got := t.Shape()[0]
		if *images == 0 {
			*images = got
		}
		if got != *images || got < 1 {
			return fmt.Errorf("ort: %s %q has %d images, want %d", what, p.name, got, max(*images, 1))
		}
	}
	return nil
}

// Strategy is for experiments.
var Strategy = 0

func (n *net) run(ctx context.Context, ph *phase, images int, in, out []*tensor.Dense) error {
	cores := cores(n.threads)
	if err := n.grow(images, cores); err != nil {
		return err
	}
	together := images - images%cores
	switch Strategy {
	case 1: // all on one thread sessions
		together = images
	case 2: // many-thread session in parallel
	case 3:
		together = 0
	}
	if err := workers(cores, together, func(core, i int) error {
		at := core
		if n.gradient {
			at = i
		}
		return n.image(ctx, ph, n.slots[at], i, core, 1, in, out)
	}); err != nil {
		return err
	}
	for i := together; i < images; i++ {
		at := 0
		if n.gradient {
			at = i
		}
		if err := n.image(ctx, ph, n.slots[at], i, 0, cores, in, out); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (n *net) image(ctx context.Context, ph *phase, sl *slot, i, core, cores int, in, out []*tensor.Dense) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for k, p := range ph.in {
		t := sl.tensors[p.at].GetData()
		copy(t, nd.Data(in[k])[i*len(t):])
	}
	for _, s := range ph.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.host != nil {
			sl.host(s, n.scratch, core, cores)
			continue
		}
		session := s.session[0]
		if cores > 1 || Strategy == 2 {
			session = s.session[1]
		}
		if err := session.Run(sl.in[s], sl.out[s]); err != nil {
			return fmt.Errorf("ort: %w", err)
		}
	}
	for k, p := range ph.out {
		if out[k] != nil {
			t := sl.tensors[p.at].GetData()
			copy(nd.Data(out[k])[i*len(t):], t)
		}
	}
	return nil
}

func (sl *slot) host(s *step, scratch [][]int64, core, cores int) {
	var in [][]float32
	for _, p := range s.in {
		in = append(in, sl.tensors[p.at].GetData())
	}
	out := sl.tensors[s.out[0].at].GetData()
	planes := s.host.planes
	if cores == 1 {
		s.host.run(in, out, scratch[core], 0, planes)
		return
	}
	grain := (planes + 4*cores - 1) / (4 * cores)
	workers(cores, (planes+grain-1)/grain, func(core, i int) error {
		s.host.run(in, out, scratch[core], i*grain, min((i+1)*grain, planes))
		return nil
	})
}

// grow makes slots for so many images, and scratch for so many cores.
func (n *net) grow(images, cores int) error {
	slots := cores
	if n.gradient {
		slots = images
	}
	for len(n.slots) < slots {
		sl := &slot{in: map[*step][]ort.Value{}, out: map[*step][]ort.Value{}}
		n.slots = append(n.slots, sl)
		for _, shape := range n.shapes {
			dims := ort.Shape{1}
			for _, d := range shape[1:] {
				dims = append(dims, int64(d))
			}
			t, err := ort.NewEmptyTensor[float32](dims)
			if err != nil {
				return fmt.Errorf("ort: %w", err)
			}
			sl.tensors = append(sl.tensors, t)
		}
		for _, s := range n.steps() {
			for _, p := range s.in {
				sl.in[s] = append(sl.in[s], sl.tensors[p.at])
			}
			for _, p := range s.out {
				sl.out[s] = append(sl.out[s], sl.tensors[p.at])
			}
		}
	}
	scratch := 0
	for _, s := range n.steps() {
		if s.host != nil {
			scratch = max(scratch, s.host.scratch)
		}
	}
	for len(n.scratch) < cores {
		n.scratch = append(n.scratch, make([]int64, scratch))
	}
	return nil
}

// workers calls body(core, i) for every i in [0,n) on up to so many goroutines, until one fails.
func workers(cores, n int, body func(core, i int) error) error {
	var next, failed atomic.Int64
	errs := make([]error, n)
	work := func(core int) {
		for failed.Load() == 0 {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if errs[i] = body(core, i); errs[i] != nil {
				failed.Add(1)
			}
		}
	}
	var done sync.WaitGroup
	for core := 1; core < min(cores, n); core++ {
		done.Go(func() { work(core) })
	}
	work(0)
	done.Wait()
	return errors.Join(errs...)
}
