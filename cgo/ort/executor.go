//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"f2pad/engine/exec"
	"f2pad/engine/graph"

	ort "github.com/yalue/onnxruntime_go"
)

// Executor compiles graphs for ONNX Runtime.
type Executor struct {
	info    exec.Info
	options Options
}

// Open loads the library, which stays in the process: every Executor uses the same one. Without it the error is an
// ErrNoLibrary.
func Open(o Options) (*Executor, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("ort: %d threads", o.Threads)
	}
	if o.Provider == "" {
		o.Provider = CPU
	}
	device := o.Provider
	switch o.Provider {
	case CPU:
	case CUDA, TensorRT:
		device = "cuda:" + strconv.Itoa(o.Ordinal)
	default:
		return nil, fmt.Errorf("ort: unknown provider %q: want %s, %s or %s", o.Provider, CPU, CUDA, TensorRT)
	}
	_, version, err := load(o.Library)
	if err != nil {
		return nil, err
	}
	e := &Executor{exec.Info{Executor: "ort", Device: device, Precision: "float32", Version: version}, o}
	s, err := e.settings(1) // does the library have the provider?
	if err != nil {
		return nil, err
	}
	return e, s.Destroy()
}

// Info says "ort", "cpu" or "cuda:0", "float32" and the library's version.
func (e *Executor) Info() exec.Info { return e.info }

// Compile validates g, folds its BatchNormalizations, drops what no output needs and makes sessions of it and, with
// gradient, of its gradient. g is neither changed nor kept; the sessions have weights of their own.
func (e *Executor) Compile(g *graph.Graph, gradient bool) (exec.Net, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	g = g.Clone()
	g.Prune()
	if err := g.Fold(); err != nil {
		return nil, err
	}
	g.Prune()
	p := &planner{}
	forward, backward, err := p.plan(g, gradient)
	if err != nil {
		return nil, err
	}
	n := &net{forward: forward, backward: backward, gradient: gradient, shapes: p.shapes, threads: e.options.Threads}
	if err := n.open(e); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// settings are those of a session that uses so many threads.
func (e *Executor) settings(threads int) (*ort.SessionOptions, error) {
	s, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("ort: %w", err)
	}
	err = errors.Join(
		s.SetGraphOptimizationLevel(ort.GraphOptimizationLevelEnableAll),
		s.SetExecutionMode(ort.ExecutionModeSequential),
		s.SetIntraOpNumThreads(threads),
		s.SetInterOpNumThreads(1),
		s.SetLogSeverityLevel(ort.LoggingLevelFatal),
		s.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		e.provide(s),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ort: %w", err), s.Destroy())
	}
	return s, nil
}

// provide gives a session its provider. A GPU computes float32 as such, with algorithms that are chosen by shape and not by
// the clock, and everything or nothing.
func (e *Executor) provide(s *ort.SessionOptions) error {
	ordinal := strconv.Itoa(e.options.Ordinal)
	switch e.options.Provider {
	case CUDA:
		o, err := ort.NewCUDAProviderOptions()
		if err != nil {
			return err
		}
		defer o.Destroy()
		return errors.Join(
			o.Update(map[string]string{"device_id": ordinal, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
			s.AppendExecutionProviderCUDA(o),
			s.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1"))
	case TensorRT:
		o, err := ort.NewTensorRTProviderOptions()
		if err != nil {
			return err
		}
		defer o.Destroy()
		return errors.Join(
			o.Update(map[string]string{"device_id": ordinal}),
			s.AppendExecutionProviderTensorRT(o),
			s.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1"))
	}
	return nil
}

func cores(threads int) int {
	if threads > 0 {
		return threads
	}
	return runtime.GOMAXPROCS(0)
}
