//go:build cgo

package ort

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/nd"

	ort "github.com/yalue/onnxruntime_go"
	"gorgonia.org/tensor"
)

// net is a compiled graph.
//
// Every image is a run of its own on sessions that know of no other: first as many as fill all cores, side by side, each on
// one thread. If few are left, each of them has all cores, on sessions that were found to give the same bits.
type net struct {
	ex    *Executor
	guard exec.Guard
	*planner
	forward, backward *phase // backward is nil without gradient
	slots             []*slot
	scratch           [][]int64 // for the steps in Go, one for each core
	widened           bool      // the sessions for all cores have been made where they can be had
}

// slot holds what steps pass on for one image.
type slot struct {
	data    [][]float32 // by port
	tensors []ort.Value // over data
	in, out [][]ort.Value
}

// Forward implements exec.Net.
func (n *net) Forward(ctx context.Context, in, out []*tensor.Dense) error {
	images, err := n.guard.Forward(in, out)
	if err != nil {
		return err
	}
	if err := n.run(ctx, n.forward, images, in, out); err != nil {
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
	return n.run(ctx, n.backward, images, dout, din)
}

// Close implements exec.Net.
func (n *net) Close() error {
	var errs []error
	for _, sl := range n.slots {
		errs = append(errs, sl.close())
	}
	if n.planner == nil {
		return nil
	}
	for _, s := range n.steps {
		for _, session := range []*session{s.session, s.wide} {
			if session != nil {
				errs = append(errs, session.close())
			}
		}
	}
	*n = net{guard: n.guard.Closed()}
	return errors.Join(errs...)
}

func (n *net) run(ctx context.Context, ph *phase, images int, in, out []*tensor.Dense) error {
	cores := n.ex.options.Threads
	if cores == 0 {
		cores = runtime.GOMAXPROCS(0)
	}
	if err := n.grow(images, cores); err != nil {
		return err
	}
	apart := images % cores // images that have all cores
	if 2*apart > cores || cores == 1 || n.ex.options.Provider != CPU {
		apart = 0
	}
	if apart > 0 {
		if err := n.widen(ctx, cores); err != nil {
			return err
		}
	}
	job := func(i, core, cores int) error {
		sl := n.slots[core]
		if n.backward != nil {
			sl = n.slots[i]
		}
		for k, p := range ph.in {
			copy(sl.data[p.at], nd.Data(in[k])[i*len(sl.data[p.at]):])
		}
		for _, s := range ph.steps {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := n.step(s, sl, core, cores); err != nil {
				return err
			}
		}
		for k, p := range ph.out {
			if out[k] != nil {
				copy(nd.Data(out[k])[i*len(sl.data[p.at]):], sl.data[p.at])
			}
		}
		return ctx.Err()
	}
	if err := spread(cores, images-apart, func(core, i int) error { return job(i, core, 1) }); err != nil {
		return err
	}
	for i := images - apart; i < images; i++ {
		if err := job(i, 0, cores); err != nil {
			return err
		}
	}
	return nil
}

// step runs a step on a slot, on one core or on so many.
func (n *net) step(s *step, sl *slot, core, cores int) error {
	if s.host == nil {
		session := s.session
		if cores > 1 && s.wide != nil {
			session = s.wide
		}
		return sl.run(s, session)
	}
	in, out := make([][]float32, len(s.in)), sl.data[s.out[0].at]
	for i, p := range s.in {
		in[i] = sl.data[p.at]
	}
	if cores == 1 {
		s.host.run(in, out, n.scratch[core], 0, s.host.planes)
		return nil
	}
	const pieces = 4 // for each core, so that a slow one does not hold up the rest
	count := min(s.host.planes, pieces*cores)
	return spread(cores, count, func(core, i int) error {
		s.host.run(in, out, n.scratch[core], i*s.host.planes/count, (i+1)*s.host.planes/count)
		return nil
	})
}

// run runs a session of a step. A slot is in use by one caller at a time, sessions by any number.
func (sl *slot) run(s *step, session *session) error {
	if err := session.Run(sl.in[s.at], sl.out[s.at]); err != nil {
		return fmt.Errorf("ort: %w", err)
	}
	return nil
}

// grow makes the slots for a run of so many images on so many cores, and their scratch.
func (n *net) grow(images, cores int) error {
	slots := cores
	if n.backward != nil {
		slots = images
	}
	for len(n.slots) < slots {
		sl, err := n.slot()
		if err != nil {
			return err
		}
		n.slots = append(n.slots, sl)
	}
	scratch := 0
	for _, s := range n.steps {
		if s.host != nil {
			scratch = max(scratch, s.host.scratch)
		}
	}
	for len(n.scratch) < cores {
		n.scratch = append(n.scratch, make([]int64, scratch))
	}
	return nil
}

func (n *net) slot() (*slot, error) {
	sl := &slot{}
	for _, p := range n.ports {
		dims := ort.Shape{1}
		for _, d := range p.shape[1:] {
			dims = append(dims, int64(d))
		}
		t, err := ort.NewEmptyTensor[float32](dims)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("ort: %q: %w", p.name, err), sl.close())
		}
		sl.data, sl.tensors = append(sl.data, t.GetData()), append(sl.tensors, t)
	}
	values := func(ports []port) (vs []ort.Value) {
		for _, p := range ports {
			vs = append(vs, sl.tensors[p.at])
		}
		return vs
	}
	for _, s := range n.steps {
		sl.in, sl.out = append(sl.in, values(s.in)), append(sl.out, values(s.out))
	}
	return sl, nil
}

func (sl *slot) close() error {
	var errs []error
	for _, t := range sl.tensors {
		errs = append(errs, t.Destroy())
	}
	return errors.Join(errs...)
}

// spread calls body(core, i) for every i in [0,n), on so many goroutines, until one fails. It returns the error of the
// lowest i that failed.
func spread(cores, n int, body func(core, i int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, n)
	work := func(core int) {
		for !failed.Load() {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if errs[i] = body(core, i); errs[i] != nil {
				failed.Store(true)
			}
		}
	}
	var others sync.WaitGroup
	for core := 1; core < min(cores, n); core++ {
		others.Go(func() { work(core) })
	}
	work(0)
	others.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
