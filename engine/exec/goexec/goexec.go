// Package goexec runs graphs and their gradients on the CPU's cores: in Go, with assembly where the processor has
// AVX2 or AVX-512, and without cgo.
//
// Every operator works on each image alone, so a graph is planned for one image: a list of steps over one arena whose
// buffers are reused as values die. A batch runs the plan once per image, images side by side on the cores; the images
// that do not fill all cores run one after another, with each step cut up instead. No sum depends on the cut, and none on
// where in an image it stands: the same input neighbourhood gives the same bits in windows of any size.
// Sums are made of multiply-adds as package gemm rounds them: fused on x86 with AVX2, else not.
package goexec

import (
	"fmt"

	"f2pad.example/engine/autodiff"
	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"
	"f2pad.example/engine/internal/gemm"
)

// Executor compiles graphs for the CPU.
type Executor struct {
	isa    *gemm.ISA
	store  store
	memory arenas
}

// New returns an executor that uses the best of the processor's instruction sets.
func New() *Executor { return &Executor{isa: gemm.Best()} }

// Info says "go" on "cpu" in "float32".
func (*Executor) Info() exec.Info {
	return exec.Info{Executor: "go", Device: "cpu", Precision: "float32", Version: "3"}
}

// Compile validates g, folds its BatchNormalizations, drops what no output needs and plans the buffers. g is neither
// changed nor kept, but its constants are shared. While it runs, and from a Forward to its Backward, the Net has one arena per
// image with gradient, else one per core; after the first run of a batch size it does not allocate. Nets of one Executor share
// equal weights, and the arenas of those that wait.
func (e *Executor) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	g, err := exec.Prepare(g)
	if err != nil {
		return nil, err
	}
	p := &planner{isa: e.isa, store: &e.store}
	n := &net{gradient: gradient, memory: &e.memory}
	if n.guard, err = exec.NewGuard("goexec", g, gradient); err != nil {
		return nil, err
	}
	if !gradient {
		if n.forward, err = p.phase(g, len(g.Inputs), map[string]int{}, nil); err != nil {
			return nil, err
		}
	} else {
		r, err := autodiff.Gradient(g)
		if err != nil {
			return nil, err
		}
		if n.forward, err = p.phase(g, len(g.Inputs), map[string]int{}, r.Saved); err != nil {
			return nil, err
		}
		if n.backward, err = p.reverse(g, r, n.forward); err != nil {
			return nil, err
		}
	}
	if n.arena, n.scratch = p.place(); n.arena > graph.MaxElements {
		return nil, fmt.Errorf("goexec: an image takes %d floats at a time, more than %d", n.arena, graph.MaxElements)
	}
	n.init()
	return n, nil
}
