//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"f2pad.example/engine/exec"
	"f2pad.example/engine/graph"

	ort "github.com/yalue/onnxruntime_go"
)

// Executor compiles graphs for ONNX Runtime.
type Executor struct {
	info     exec.Info
	options  Options
	sessions sessions
}

var _ exec.Executor = (*Executor)(nil)

// Open loads the library, which stays in the process and serves every Executor. Where that fails the error is
// ErrNoLibrary; a provider that the library was built without is an error, too.
func Open(o Options) (*Executor, error) {
	if o.Threads < 0 || o.Ordinal < 0 {
		return nil, fmt.Errorf("ort: %d threads, device %d: want 0 or more", o.Threads, o.Ordinal)
	}
	info := exec.Info{Executor: "ort", Device: "cuda:" + strconv.Itoa(o.Ordinal), Precision: "float32"}
	switch o.Provider {
	case "", CPU:
		o.Provider, info.Device = CPU, CPU
	case CUDA:
	case TensorRT:
		if os.Getenv("NVIDIA_TF32_OVERRIDE") != "0" { // ONNX Runtime has no say in it
			info.Precision = "tf32"
		}
	default:
		return nil, fmt.Errorf("ort: unknown provider %q: want %s, %s or %s", o.Provider, CPU, CUDA, TensorRT)
	}
	var err error
	if _, info.Version, err = load(o.Library); err != nil {
		return nil, err
	}
	e := &Executor{info: info, options: o}
	s, err := e.settings(1)
	if err != nil {
		return nil, err
	}
	return e, s.Destroy()
}

// Info says "ort", "cpu" or "cuda:0", "float32" and the library's version. TensorRT's precision is "tf32" unless
// NVIDIA_TF32_OVERRIDE=0 keeps it from that.
func (e *Executor) Info() exec.Info { return e.info }

// Compile validates g, folds its BatchNormalizations, drops what no output needs and makes sessions of it and, with
// gradient, of its gradient. g is neither changed nor kept, but its constants are shared; the sessions have copies, in a
// layout of their own, which Nets of graphs that differ only in the size of their images share. The Net holds what passes between sessions for each image of the largest batch it has seen with
// gradient, else for one per core.
func (e *Executor) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	g, err := exec.Prepare(g)
	if err != nil {
		return nil, err
	}
	p := &planner{}
	forward, backward, err := p.plan(g, gradient)
	if err != nil {
		return nil, err
	}
	if floats := p.floats(); floats > graph.MaxElements {
		return nil, fmt.Errorf("ort: an image takes %d floats at a time, more than %d", floats, graph.MaxElements)
	}
	guard, err := exec.NewGuard("ort", g, gradient)
	if err != nil {
		return nil, err
	}
	n := &net{ex: e, guard: guard, planner: p, forward: forward, backward: backward}
	for _, s := range p.steps {
		if s.host != nil {
			continue
		}
		if s.session, err = e.session(s, 1); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// settings are those of a session on so many threads. The memory that a session works in is its own and goes with it.
func (e *Executor) settings(threads int) (*ort.SessionOptions, error) {
	s, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("ort: %w", err)
	}
	if err := errors.Join(
		s.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		s.SetExecutionMode(ort.ExecutionModeSequential),
		s.SetIntraOpNumThreads(threads),
		s.SetInterOpNumThreads(1),
		s.SetLogSeverityLevel(ort.LoggingLevelFatal),
		s.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		e.provide(s),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("ort: provider %s: %w", e.options.Provider, err), s.Destroy())
	}
	return s, nil
}

// provide gives a session its provider: a GPU runs all of a graph or refuses it, and CUDA chooses its algorithms by shapes,
// not by the clock.
func (e *Executor) provide(s *ort.SessionOptions) error {
	if e.options.Provider == CPU {
		return nil
	}
	options := map[string]string{"device_id": strconv.Itoa(e.options.Ordinal)}
	if err := s.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1"); err != nil {
		return err
	}
	if e.options.Provider == TensorRT {
		o, err := ort.NewTensorRTProviderOptions()
		if err != nil {
			return err
		}
		return errors.Join(o.Update(options), s.AppendExecutionProviderTensorRT(o), o.Destroy())
	}
	options["use_tf32"], options["cudnn_conv_algo_search"] = "0", "HEURISTIC"
	o, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	return errors.Join(o.Update(options), s.AppendExecutionProviderCUDA(o), o.Destroy())
}
