package cuda

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/exec/arena"
	"f2pad.example/engine/graph"
	"f2pad.example/kernels"
)

// Executor runs networks on a Device. Images of four axes lie with their channels innermost, all others row by row; a value is
// brought into another order where an operator needs it.
//
// A graph is planned once, in elements of one image: a list of launches over one arena, whose buffers are reused as values die
// and are as many times as long as a batch has images. Weights and the kernels' tables are uploaded when a graph is compiled;
// Nets share equal ones. Only what Forward and Backward take and give passes the bus.
//
// In Float16 all convolutions run on float16 with float32 sums, on the tensor cores unless they are depthwise or nearly so, and what
// comes from them stays float16; of what a gradient asks for the sign only (a Relu's) bits are kept. Gradients are scaled by a power
// of two for each image, which is taken back at the end; one that overflows all the same is an error. Everything is computed in
// float32 otherwise.
type Executor struct {
	d         *Device
	precision Precision
	store     store
}

// Precision is what an Executor's convolutions run in.
type Precision string

// The precisions.
const (
	Float32 Precision = "float32"
	Float16 Precision = "float16"
)

var _ exec.Executor = (*Executor)(nil)

// Executor returns an executor on the device, which must stay open for as long as its Nets are.
func (d *Device) Executor(p Precision) *Executor {
	return &Executor{d: d, precision: p, store: store{d: d, all: map[storeKey]*blob{}}}
}

// Info says "cuda" on "cuda:0", and the precision.
func (e *Executor) Info() exec.Info {
	return exec.Info{Executor: "cuda", Device: e.d.info.Device, Precision: string(e.precision), Version: "1"}
}

// Compile validates g, folds its BatchNormalizations, drops what no output needs, plans the launches and uploads weights and
// tables. g is neither changed nor kept. The Net's arena is for the largest batch that it has seen. An operator that there is
// no kernel for is an error that names the node; so is device.ErrOutOfMemory.
func (e *Executor) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	g, err := exec.Prepare(g)
	if err != nil {
		return nil, err
	}
	p := &planner{half: e.precision == Float16, values: map[string][]array{}}
	n := &net{ex: e}
	if !gradient {
		n.forward, err = p.phase(g, len(g.Inputs), nil)
	} else {
		n.forward, n.backward, err = p.both(g)
	}
	if err != nil {
		return nil, err
	}
	if n.arena = arena.Place(p.buffers, alignment); n.arena > graph.MaxElements {
		return nil, fmt.Errorf("cuda: an image takes %d floats at a time, more than %d", n.arena, graph.MaxElements)
	}
	if n.blobs, err = e.store.keep(p.blobs); err != nil {
		return nil, err
	}
	return n, nil
}

// alignment is that of buffers, in elements of an image: 256 bytes.
const alignment = 64

// both plans g and its gradient.
func (p *planner) both(g *graph.Graph) (forward, backward *phase, err error) {
	r, err := autodiff.Gradient(g)
	if err != nil {
		return nil, nil, err
	}
	p.gates, p.signs = gates(r), map[string]array{}
	if forward, err = p.phase(g, len(g.Inputs), r.Saved); err != nil {
		return nil, nil, err
	}
	known := map[string][]array{}
	for i, name := range r.Saved {
		known[r.Graph.Inputs[len(g.Outputs)+i].Name] = p.values[name]
		if s, ok := p.signs[name]; ok {
			known[r.Graph.Inputs[len(g.Outputs)+i].Name] = []array{s}
		}
	}
	p.values, p.gates = known, nil
	backward, err = p.phase(r.Graph, len(g.Outputs), nil)
	return forward, backward, err
}

// gates are the saved values of which a gradient asks only whether they are above 0, as that of a Relu does.
func gates(r *autodiff.Reverse) map[string]bool {
	only := map[string]bool{}
	for _, name := range r.Saved {
		only[name] = true
	}
	for _, n := range r.Graph.Nodes {
		if n.Op == graph.Step && n.Float("min", -infinite) == 0 && !n.HasAttr("max") {
			continue
		}
		for _, name := range n.In {
			delete(only, name)
		}
	}
	return only
}

// blob is a constant on the device: weights, a table, a kernel's form.
type blob struct {
	key   storeKey
	make  func() []byte // until it is there
	at    kernels.Ptr
	users int // Nets
}

type storeKey [sha256.Size]byte

// store keeps equal constants once, as long as a Net uses them.
type store struct {
	d   *Device
	mu  sync.Mutex
	all map[storeKey]*blob
}

// keep brings constants to the device, or gives those that are there their place.
func (s *store) keep(blobs []*blob) ([]*blob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept []*blob
	err := s.d.do(context.Background(), "weights", func(j *job) {
		j.lasting = true
		for _, b := range blobs {
			there := s.all[b.key]
			if there == nil {
				b.at = put(j, b.make())
				if j.err != nil {
					return
				}
				j.keep(b.at)
				there = &blob{key: b.key, at: b.at}
				s.all[b.key] = there
			}
			b.at, b.make = there.at, nil
			there.users++
			kept = append(kept, there)
		}
	})
	if err != nil {
		return nil, errors.Join(err, s.free(kept))
	}
	return kept, nil
}

func (s *store) release(blobs []*blob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free(blobs)
}

func (s *store) free(blobs []*blob) error {
	var errs []error
	for _, b := range blobs {
		if b.users--; b.users == 0 {
			delete(s.all, b.key)
			errs = append(errs, s.d.gpu.Free(b.at))
		}
	}
	return errors.Join(errs...)
}
